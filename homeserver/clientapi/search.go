package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/homeserver/search"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

// searchAPI is how events are found: by their words, and by their times.
type searchAPI struct {
	search *search.Service
	sync   *syncer.Service
}

func (a *searchAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/search", api.User, a.find, api.Limit("search")),
		api.Endpoint(http.MethodGet, "/_matrix/client/v1/rooms/{roomId}/timestamp_to_event", api.Guest, a.nearest,
			api.Aliases("/_matrix/client/unstable/org.matrix.msc3030/rooms/{roomId}/timestamp_to_event")),
	}
}

type searchRequest struct {
	From       string           `query:"next_batch"`
	Categories searchCategories `json:"search_categories" required:"true"`
}

type searchCategories struct {
	RoomEvents *roomEventsSearch `json:"room_events"`
}

type roomEventsSearch struct {
	Term         *string         `json:"search_term"`
	Keys         []string        `json:"keys"`
	Filter       json.RawMessage `json:"filter"`
	OrderBy      string          `json:"order_by"`
	Context      *searchContext  `json:"event_context"`
	IncludeState bool            `json:"include_state"`
	Groupings    struct {
		GroupBy []struct {
			Key string `json:"key"`
		} `json:"group_by"`
	} `json:"groupings"`
}

type searchContext struct {
	Before   *int64 `json:"before_limit"`
	After    *int64 `json:"after_limit"`
	Profiles bool   `json:"include_profile"`
}

// Validate checks what has to be one of a few values.
func (r *searchRequest) Validate() error {
	s := r.Categories.RoomEvents
	if s == nil {
		return nil
	}
	if s.Term == nil {
		return matrix.MissingParam("search_categories.room_events.search_term is missing.")
	}
	for _, key := range s.Keys {
		if !slices.Contains(search.Keys, key) {
			return matrix.InvalidParam("keys are content.body, content.name and content.topic.")
		}
	}
	if s.OrderBy != "" && s.OrderBy != "rank" && s.OrderBy != "recent" {
		return matrix.InvalidParam("order_by is rank or recent.")
	}
	for _, group := range s.Groupings.GroupBy {
		if group.Key != search.ByRoom && group.Key != search.BySender {
			return matrix.InvalidParam("Results are grouped by room_id or sender.")
		}
	}
	if c := s.Context; c != nil && (c.Before != nil && *c.Before < 0 || c.After != nil && *c.After < 0) {
		return matrix.InvalidParam("before_limit and after_limit are numbers of events.")
	}
	return nil
}

type searchResponse struct {
	Categories foundCategories `json:"search_categories"`
}

type foundCategories struct {
	RoomEvents *search.Results `json:"room_events,omitempty"`
}

func (a *searchAPI) find(ctx context.Context, who api.Caller, req *searchRequest) (*searchResponse, error) {
	s := req.Categories.RoomEvents
	if s == nil {
		return &searchResponse{}, nil
	}
	wanted := search.Request{
		Reader: rooms.Reader{User: who.UserID, Device: who.DeviceID}, Term: *s.Term, Keys: s.Keys,
		Recent: s.OrderBy == "recent", State: s.IncludeState, From: req.From, Filter: new(accounts.RoomEventFilter),
	}
	if len(s.Filter) > 0 && string(s.Filter) != "null" {
		var err error
		if wanted.Filter, err = accounts.ParseRoomEventFilter(s.Filter); err != nil {
			return nil, err
		}
	}
	for _, group := range s.Groupings.GroupBy {
		if !slices.Contains(wanted.GroupBy, group.Key) {
			wanted.GroupBy = append(wanted.GroupBy, group.Key)
		}
	}
	if s.Context != nil {
		wanted.Context = &search.ContextRequest{Before: around(s.Context.Before), After: around(s.Context.After), Profiles: s.Context.Profiles}
	}
	found, err := a.search.Search(ctx, wanted)
	if err != nil {
		return nil, err
	}
	return &searchResponse{foundCategories{found}}, nil
}

// around is how many events are shown on one side of a result, 5 unless said.
func around(limit *int64) int {
	if limit == nil {
		return 5
	}
	return int(min(*limit, 1000))
}

type nearestRequest struct {
	Room matrix.RoomID `path:"roomId"`
	TS   int64         `query:"ts" required:"true"`
	Dir  string        `query:"dir" required:"true"`
}

func (r *nearestRequest) Validate() error {
	if r.Dir != "f" && r.Dir != "b" {
		return matrix.InvalidParam("dir is b for backwards or f for forwards.")
	}
	return nil
}

type nearestResponse struct {
	EventID        matrix.EventID `json:"event_id"`
	OriginServerTS int64          `json:"origin_server_ts"`
}

func (a *searchAPI) nearest(ctx context.Context, who api.Caller, req *nearestRequest) (*nearestResponse, error) {
	e, err := a.sync.Nearest(ctx, req.Room, who.UserID, req.TS, req.Dir == "b")
	if err != nil {
		return nil, err
	}
	return &nearestResponse{e.ID, e.OriginServerTS}, nil
}
