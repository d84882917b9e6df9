package adminapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/api"
	"trestle/homeserver/reports"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// reportsAPI is what users have reported.
type reportsAPI struct {
	reports *reports.Service
	rooms   *rooms.Service
}

func (a *reportsAPI) routes() []api.Route {
	list := []api.Route{
		api.Endpoint("GET", v1+"/event_reports", api.Admin, a.events),
		api.Endpoint("GET", v1+"/room_reports", api.Admin, a.ofRooms),
		api.Endpoint("GET", v1+"/user_reports", api.Admin, a.users),
	}
	for _, kind := range []string{reports.Event, reports.Room, reports.User} {
		path := v1 + "/" + kind + "_reports/{reportId}"
		list = append(list,
			api.Endpoint("GET", path, api.Admin, func(ctx context.Context, _ api.Caller, req *reportRequest) (*shownReport, error) {
				return a.show(ctx, kind, req.ID)
			}),
			api.Endpoint("DELETE", path, api.Admin, func(ctx context.Context, _ api.Caller, req *reportRequest) (*struct{}, error) {
				return nil, a.reports.Delete(ctx, kind, req.ID)
			}),
		)
	}
	return list
}

type reportRequest struct {
	ID int64 `path:"reportId"`
}

// A shownReport is a report of any kind; what does not apply is left out.
type shownReport struct {
	ID             int64           `json:"id"`
	ReceivedAt     int64           `json:"received_ts"`
	Reporter       matrix.UserID   `json:"user_id"`
	Reason         *string         `json:"reason"`
	Score          *int64          `json:"score,omitempty"`
	Room           matrix.RoomID   `json:"room_id,omitempty"`
	Name           *string         `json:"name,omitempty"`
	CanonicalAlias *string         `json:"canonical_alias,omitempty"`
	Event          matrix.EventID  `json:"event_id,omitempty"`
	Sender         matrix.UserID   `json:"sender,omitempty"`
	Target         matrix.UserID   `json:"target_user_id,omitempty"`
	EventJSON      json.RawMessage `json:"event_json,omitempty"`
}

func (a *reportsAPI) shown(ctx context.Context, r *reports.Report) (*shownReport, error) {
	s := &shownReport{ID: r.ID, ReceivedAt: r.ReceivedAt, Reporter: r.Reporter, Reason: r.Reason, Score: r.Score, Room: r.Room, Event: r.Event}
	if r.Kind == reports.Event {
		s.Sender = r.User
	} else {
		s.Target = r.User
	}
	if r.Room == "" {
		return s, nil
	}
	info, err := a.rooms.Info(ctx, r.Room)
	if matrix.Code(err) == "M_NOT_FOUND" {
		return s, nil // it is gone
	}
	if err != nil {
		return nil, err
	}
	room, err := a.rooms.Summary(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	s.Name, s.CanonicalAlias = optionalText(room.Name), optionalText(room.CanonicalAlias)
	return s, nil
}

func (a *reportsAPI) show(ctx context.Context, kind string, id int64) (*shownReport, error) {
	r, err := a.reports.Find(ctx, kind, id)
	if err != nil {
		return nil, err
	}
	s, err := a.shown(ctx, r)
	if err != nil || r.Event == "" {
		return s, err
	}
	e, err := a.rooms.Stored(ctx, r.Room, r.Event)
	if matrix.Code(err) == "M_NOT_FOUND" {
		return s, nil
	}
	if err == nil {
		s.EventJSON = e.AppendClient(nil, matrix.ClientOptions{})
	}
	return s, err
}

type listReportsRequest struct {
	page
	Dir      string `query:"dir"`
	Reporter string `query:"user_id"`
	Room     string `query:"room_id"`
	Sender   string `query:"event_sender_user_id"`
	Target   string `query:"target_user_id"`
}

func (a *reportsAPI) list(ctx context.Context, kind string, req *listReportsRequest) (list []*shownReport, next *int64, total int64, err error) {
	from, limit, err := req.bounds()
	if err != nil {
		return nil, nil, 0, err
	}
	q := reports.Query{Kind: kind, Reporter: req.Reporter, Room: req.Room, User: req.Target, From: from, Limit: limit}
	if kind == reports.Event {
		q.User = req.Sender
	}
	// The newest first, unless the other way round is asked for.
	if req.Dir != "" {
		newest, err := backward(req.Dir)
		if err != nil {
			return nil, nil, 0, err
		}
		q.Oldest = !newest
	}
	found, total, err := a.reports.List(ctx, q)
	if err != nil {
		return nil, nil, 0, err
	}
	list = []*shownReport{}
	for i := range found {
		s, err := a.shown(ctx, &found[i])
		if err != nil {
			return nil, nil, 0, err
		}
		list = append(list, s)
	}
	if end := from + int64(len(found)); end < total {
		next = &end
	}
	return list, next, total, nil
}

type listEventReportsResponse struct {
	Reports []*shownReport `json:"event_reports"`
	Next    *int64         `json:"next_token,omitempty"`
	Total   int64          `json:"total"`
}

func (a *reportsAPI) events(ctx context.Context, _ api.Caller, req *listReportsRequest) (*listEventReportsResponse, error) {
	list, next, total, err := a.list(ctx, reports.Event, req)
	return &listEventReportsResponse{list, next, total}, err
}

type listRoomReportsResponse struct {
	Reports []*shownReport `json:"room_reports"`
	Next    *int64         `json:"next_token,omitempty"`
	Total   int64          `json:"total"`
}

func (a *reportsAPI) ofRooms(ctx context.Context, _ api.Caller, req *listReportsRequest) (*listRoomReportsResponse, error) {
	list, next, total, err := a.list(ctx, reports.Room, req)
	return &listRoomReportsResponse{list, next, total}, err
}

type listUserReportsResponse struct {
	Reports []*shownReport `json:"user_reports"`
	Next    *int64         `json:"next_token,omitempty"`
	Total   int64          `json:"total"`
}

func (a *reportsAPI) users(ctx context.Context, _ api.Caller, req *listReportsRequest) (*listUserReportsResponse, error) {
	list, next, total, err := a.list(ctx, reports.User, req)
	return &listUserReportsResponse{list, next, total}, err
}
