package serverapi

import (
	"context"
	"strconv"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// historyAPI is what servers ask about events of rooms that they are in
// (§ Backfilling and retrieving missing events and § Retrieving events).
type historyAPI struct {
	server matrix.ServerName
	rooms  *rooms.Service
}

// maxGap is how many bytes a question for missing events may have: thousands of IDs.
const maxGap = 256 << 10

func (a *historyAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/federation/v1/event/{eventId}", api.OtherServer, a.event, perServer()),
		api.Endpoint("GET", "/_matrix/federation/v1/backfill/{roomId}", api.OtherServer, a.backfill, perServer()),
		api.Endpoint("POST", "/_matrix/federation/v1/get_missing_events/{roomId}", api.OtherServer, a.missing, perServer(), api.BodyLimit(maxGap)),
		api.Endpoint("GET", "/_matrix/federation/v1/timestamp_to_event/{roomId}", api.OtherServer, a.nearest, perServer()),
	}
}

// A transaction is events, as they are sent between servers.
type transaction struct {
	origin matrix.ServerName
	events []*matrix.Event
}

// AppendJSON implements api.Appender.
func (t *transaction) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"origin":`...)
	dst = strconv.AppendQuote(dst, string(t.origin)) // the grammar of server names has nothing to escape
	dst = append(dst, `,"origin_server_ts":`...)
	dst = strconv.AppendInt(dst, time.Now().UnixMilli(), 10)
	dst = append(dst, `,"pdus":`...)
	return append(appendEvents(dst, t.events), '}'), nil
}

// appendEvents appends events in the formats of their rooms' versions.
func appendEvents(dst []byte, events []*matrix.Event) []byte {
	dst = append(dst, '[')
	for i, e := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, e.JSON()...)
	}
	return append(dst, ']')
}

type eventRequest struct {
	Event matrix.EventID `path:"eventId"`
}

func (a *historyAPI) event(ctx context.Context, who api.Caller, req *eventRequest) (*transaction, error) {
	e, err := a.rooms.Peer(who.Server).Event(ctx, req.Event)
	return &transaction{a.server, []*matrix.Event{e}}, err
}

type backfillRequest struct {
	Room  matrix.RoomID `path:"roomId"`
	From  []string      `query:"v" required:"true"`
	Limit int64         `query:"limit" required:"true"`
}

// Validate implements api.Validator.
func (r *backfillRequest) Validate() error {
	if len(r.From) > rooms.MaxWalk {
		return matrix.InvalidParam("v is there more than %d times.", rooms.MaxWalk)
	}
	if r.Limit < 1 {
		return matrix.InvalidParam("limit is a number of events, above 0.")
	}
	return nil
}

func (a *historyAPI) backfill(ctx context.Context, who api.Caller, req *backfillRequest) (*transaction, error) {
	from := make([]matrix.EventID, len(req.From))
	for i, id := range req.From {
		from[i] = matrix.EventID(id)
	}
	events, err := a.rooms.Peer(who.Server).Backfill(ctx, req.Room, from, int(min(req.Limit, rooms.MaxWalk)))
	return &transaction{a.server, events}, err
}

// missingRequest: servers leave out what they have nothing to say about.
type missingRequest struct {
	Room     matrix.RoomID    `path:"roomId"`
	Earliest []matrix.EventID `json:"earliest_events"`
	Latest   []matrix.EventID `json:"latest_events"`
	MinDepth int64            `json:"min_depth"`
	Limit    *int64           `json:"limit"`
}

// Validate implements api.Validator.
func (r *missingRequest) Validate() error {
	if len(r.Latest) > rooms.MaxWalk {
		return matrix.InvalidParam("latest_events are more than %d.", rooms.MaxWalk)
	}
	if r.Limit != nil && *r.Limit < 0 {
		return matrix.InvalidParam("limit is a number of events.")
	}
	return nil
}

type missingResponse struct{ events []*matrix.Event }

// AppendJSON implements api.Appender.
func (r *missingResponse) AppendJSON(dst []byte) ([]byte, error) {
	return append(appendEvents(append(dst, `{"events":`...), r.events), '}'), nil
}

func (a *historyAPI) missing(ctx context.Context, who api.Caller, req *missingRequest) (*missingResponse, error) {
	const usual = 10
	gap := rooms.Gap{Latest: req.Latest, Earliest: req.Earliest, MinDepth: req.MinDepth, Limit: usual}
	if req.Limit != nil {
		gap.Limit = int(min(*req.Limit, rooms.MaxWalk))
	}
	events, err := a.rooms.Peer(who.Server).Missing(ctx, req.Room, gap)
	return &missingResponse{events}, err
}

type nearestRequest struct {
	Room matrix.RoomID `path:"roomId"`
	TS   int64         `query:"ts" required:"true"`
	Dir  string        `query:"dir" required:"true"`
}

// Validate implements api.Validator.
func (r *nearestRequest) Validate() error {
	if r.Dir != "f" && r.Dir != "b" {
		return matrix.InvalidParam("dir is f or b.")
	}
	return nil
}

type nearestResponse struct {
	ID matrix.EventID `json:"event_id"`
	TS int64          `json:"origin_server_ts"`
}

func (a *historyAPI) nearest(ctx context.Context, who api.Caller, req *nearestRequest) (*nearestResponse, error) {
	e, err := a.rooms.Peer(who.Server).Nearest(ctx, req.Room, req.TS, req.Dir == "b")
	if err != nil {
		return nil, err
	}
	return &nearestResponse{e.ID, e.OriginServerTS}, nil
}
