package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/delayed"
	"trestle/homeserver/relations"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// eventsAPI is sending events and reading single ones and state.
type eventsAPI struct {
	rooms     *rooms.Service
	relations *relations.Service
	delayed   *delayed.Service
	limiter   api.Limiter // nil: no limits
}

func (a *eventsAPI) routes() []api.Route {
	limited := api.Limit("send")
	return []api.Route{
		api.Endpoint(http.MethodPut, "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}", api.Guest, a.send, limited),
		api.Endpoint(http.MethodPut, "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", api.Guest, a.sendState, limited),
		api.Endpoint(http.MethodPut, "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}", api.Guest, a.redact, limited),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/send/{eventType}", api.Guest, a.sendOnce, limited),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}", api.Guest, a.redactOnce, limited),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/rooms/{roomId}/event/{eventId}", api.Guest, a.event),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/rooms/{roomId}/state", api.Guest, a.state),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", api.Guest, a.stateEvent),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/rooms/{roomId}/members", api.Guest, a.members),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/rooms/{roomId}/joined_members", api.Guest, a.joinedMembers),
	}
}

type eventIDResponse struct {
	EventID matrix.EventID `json:"event_id"`
}

// sentResponse is what a send is answered: one of both.
type sentResponse struct {
	EventID matrix.EventID `json:"event_id,omitempty"`
	DelayID string         `json:"delay_id,omitempty"`
}

// A newEvent is an event for a room.
type newEvent struct {
	Room    matrix.RoomID   `path:"roomId"`
	Type    string          `path:"eventType"`
	TS      *int64          `query:"ts"`
	Delay   *int64          `query:"org.matrix.msc4140.delay"`
	Known   matrix.EventID  `query:"org.trestle.known"` // as in rooms.SendRequest
	Content json.RawMessage `body:"raw,optional"`       // a repeat of what is delayed needs none
}

func (r *newEvent) Validate() error { return checkContent(r.Content, r.Delay) }

type sendRequest struct {
	newEvent
	Txn string `path:"txnId"`
}

func checkContent(content json.RawMessage, delay *int64) error {
	if content == nil && delay == nil {
		return matrix.NotJSON("The request has no body; it needs a JSON object.")
	}
	return nil
}

// timestamp is the ts of a request: only application services may choose when
// something happened (Application Service API § Timestamp massaging).
func timestamp(who api.Caller, ts *int64) (int64, error) {
	if ts == nil || who.AppService == "" {
		return 0, nil
	}
	if *ts < 0 || *ts > 1<<53-1 {
		return 0, matrix.InvalidParam("ts is a time in milliseconds since 1970.")
	}
	return *ts, nil
}

func (a *eventsAPI) send(ctx context.Context, who api.Caller, req *sendRequest) (*sentResponse, error) {
	scope := req.Type
	if req.Delay != nil {
		scope = "delayed " + req.Type
	}
	return a.sendBy(ctx, who, &req.newEvent, rooms.TxnKey(who.DeviceID, scope, req.Txn))
}

// sendOnce is how events were sent before there were transaction IDs, and how
// many scripts send them: a repeat is another event.
func (a *eventsAPI) sendOnce(ctx context.Context, who api.Caller, req *newEvent) (*sentResponse, error) {
	return a.sendBy(ctx, who, req, "")
}

func (a *eventsAPI) sendBy(ctx context.Context, who api.Caller, req *newEvent, txnKey string) (*sentResponse, error) {
	ts, err := timestamp(who, req.TS)
	if err != nil {
		return nil, err
	}
	if req.Delay != nil {
		return a.sendLater(ctx, who, delayed.Request{
			Room: req.Room, Type: req.Type, Content: req.Content, Timestamp: ts, Delay: *req.Delay, TxnKey: txnKey,
		})
	}
	return sent(a.rooms.Send(ctx, rooms.SendRequest{
		Room: req.Room, Sender: who.UserID, AppService: who.AppService, Type: req.Type, Content: req.Content, Timestamp: ts,
		Known: req.Known, TxnKey: txnKey,
	}))
}

func sent(id matrix.EventID, err error) (*sentResponse, error) {
	if err != nil {
		return nil, err
	}
	return &sentResponse{EventID: id}, nil
}

func eventID(id matrix.EventID, err error) (*eventIDResponse, error) {
	if err != nil {
		return nil, err
	}
	return &eventIDResponse{id}, nil
}

type sendStateRequest struct {
	Room     matrix.RoomID   `path:"roomId"`
	Type     string          `path:"eventType"`
	StateKey string          `path:"stateKey"`
	TS       *int64          `query:"ts"`
	Delay    *int64          `query:"org.matrix.msc4140.delay"`
	Known    matrix.EventID  `query:"org.trestle.known"`
	Content  json.RawMessage `body:"raw,optional"`
}

func (r *sendStateRequest) Validate() error { return checkContent(r.Content, r.Delay) }

func (a *eventsAPI) sendState(ctx context.Context, who api.Caller, req *sendStateRequest) (*sentResponse, error) {
	ts, err := timestamp(who, req.TS)
	if err != nil {
		return nil, err
	}
	if req.Delay != nil {
		return a.sendLater(ctx, who, delayed.Request{
			Room: req.Room, Type: req.Type, StateKey: &req.StateKey, Content: req.Content, Timestamp: ts, Delay: *req.Delay,
		})
	}
	if err := a.countInvite(who, req); err != nil {
		return nil, err
	}
	return sent(a.rooms.Send(ctx, rooms.SendRequest{
		Room: req.Room, Sender: who.UserID, AppService: who.AppService, Guest: who.Guest,
		Type: req.Type, StateKey: &req.StateKey, Content: req.Content, Timestamp: ts, Known: req.Known,
	}))
}

// countInvite counts an invite that comes as a state event like any other.
func (a *eventsAPI) countInvite(who api.Caller, req *sendStateRequest) error {
	if a.limiter == nil || req.Type != "m.room.member" {
		return nil
	}
	var content struct {
		Membership string `json:"membership"`
	}
	if json.Unmarshal(req.Content, &content) != nil || content.Membership != "invite" {
		return nil
	}
	return a.limiter.Allow("invite", who)
}

// A redaction is a request to redact an event.
type redaction struct {
	Room    matrix.RoomID   `path:"roomId"`
	Event   matrix.EventID  `path:"eventId"`
	Content json.RawMessage `body:"raw,optional"`
}

type redactRequest struct {
	redaction
	Txn string `path:"txnId"`
}

func (a *eventsAPI) redact(ctx context.Context, who api.Caller, req *redactRequest) (*eventIDResponse, error) {
	return a.redactBy(ctx, who, &req.redaction, rooms.TxnKey(who.DeviceID, string(req.Event), req.Txn))
}

// redactOnce is for redactions what sendOnce is for other events.
func (a *eventsAPI) redactOnce(ctx context.Context, who api.Caller, req *redaction) (*eventIDResponse, error) {
	return a.redactBy(ctx, who, req, "")
}

func (a *eventsAPI) redactBy(ctx context.Context, who api.Caller, req *redaction, txnKey string) (*eventIDResponse, error) {
	if req.Content == nil {
		req.Content = json.RawMessage(`{}`)
	}
	if err := a.checkOwn(ctx, who, req.Room, req.Event); err != nil {
		return nil, err
	}
	return eventID(a.rooms.Send(ctx, rooms.SendRequest{
		Room: req.Room, Sender: who.UserID, Type: "m.room.redaction", Redacts: req.Event, Content: req.Content, TxnKey: txnKey,
	}))
}

type eventRequest struct {
	Room  matrix.RoomID  `path:"roomId"`
	Event matrix.EventID `path:"eventId"`
}

func (a *eventsAPI) event(ctx context.Context, who api.Caller, req *eventRequest) (*json.RawMessage, error) {
	e, membership, err := a.rooms.Event(ctx, req.Room, req.Event, who.UserID)
	if err != nil {
		return nil, err
	}
	raw, err := a.relations.Client(ctx, e, rooms.Reader{User: who.UserID, Device: who.DeviceID}, membership)
	return &raw, err
}

type stateRequest struct {
	Room matrix.RoomID `path:"roomId"`
}

func (a *eventsAPI) state(ctx context.Context, who api.Caller, req *stateRequest) (*[]json.RawMessage, error) {
	access, err := a.rooms.Access(ctx, req.Room, who.UserID)
	if err != nil {
		return nil, err
	}
	events, err := access.State.Events(ctx, nil)
	if err != nil {
		return nil, err
	}
	list, err := a.rooms.Clients(ctx, events, rooms.Reader{User: who.UserID, Device: who.DeviceID})
	return &list, err
}

type stateEventRequest struct {
	Room     matrix.RoomID `path:"roomId"`
	Type     string        `path:"eventType"`
	StateKey string        `path:"stateKey"`
	Format   string        `query:"format"`
}

func (r *stateEventRequest) Validate() error {
	switch r.Format {
	case "", "content", "event":
		return nil
	}
	return matrix.InvalidParam("format is content or event.")
}

func (a *eventsAPI) stateEvent(ctx context.Context, who api.Caller, req *stateEventRequest) (*json.RawMessage, error) {
	access, err := a.rooms.Access(ctx, req.Room, who.UserID)
	if err != nil {
		return nil, err
	}
	e, err := access.State.Event(ctx, req.Type, req.StateKey)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, matrix.NotFound("The room has no such state.")
	}
	if req.Format == "event" {
		raw, err := a.rooms.Client(ctx, e, rooms.Reader{User: who.UserID, Device: who.DeviceID}, "")
		return &raw, err
	}
	return &e.Content, nil
}

type membersRequest struct {
	Room          matrix.RoomID `path:"roomId"`
	At            string        `query:"at"`
	Membership    string        `query:"membership"`
	NotMembership string        `query:"not_membership"`
}

type chunkResponse struct {
	Chunk []json.RawMessage `json:"chunk"`
}

func (a *eventsAPI) members(ctx context.Context, who api.Caller, req *membersRequest) (*chunkResponse, error) {
	access, err := a.rooms.Access(ctx, req.Room, who.UserID)
	if err != nil {
		return nil, err
	}
	if req.At != "" {
		if err := a.rewind(ctx, access, who.UserID, req.At); err != nil {
			return nil, err
		}
	}
	events, err := access.State.Events(ctx, func(key rooms.StateKey) bool { return key.Type == "m.room.member" })
	if err != nil {
		return nil, err
	}
	wanted := events[:0:0]
	for _, e := range events {
		m := e.Membership()
		if (req.Membership == "" || m == req.Membership) && (req.NotMembership == "" || m != req.NotMembership) {
			wanted = append(wanted, e)
		}
	}
	list, err := a.rooms.Clients(ctx, wanted, rooms.Reader{User: who.UserID, Device: who.DeviceID})
	return &chunkResponse{list}, err
}

// A joinedMember has null where a member has no name or picture: clients look
// for the keys.
type joinedMember struct {
	DisplayName *string `json:"display_name"`
	AvatarURL   *string `json:"avatar_url"`
}

type joinedMembersResponse struct {
	Joined map[matrix.UserID]joinedMember `json:"joined"`
}

func (a *eventsAPI) joinedMembers(ctx context.Context, who api.Caller, req *stateRequest) (*joinedMembersResponse, error) {
	access, err := a.rooms.Access(ctx, req.Room, who.UserID)
	if err != nil {
		return nil, err
	}
	if access.Membership != "join" {
		return nil, matrix.Forbidden("You are not in room %s.", req.Room)
	}
	events, err := access.State.Events(ctx, func(key rooms.StateKey) bool { return key.Type == "m.room.member" })
	if err != nil {
		return nil, err
	}
	res := joinedMembersResponse{map[matrix.UserID]joinedMember{}}
	for _, e := range events {
		if e.Membership() != "join" {
			continue
		}
		var content struct {
			DisplayName json.RawMessage `json:"displayname"`
			AvatarURL   json.RawMessage `json:"avatar_url"`
		}
		if err := json.Unmarshal(e.Content, &content); err != nil {
			return nil, err
		}
		res.Joined[matrix.UserID(*e.StateKey)] = joinedMember{text(content.DisplayName), text(content.AvatarURL)}
	}
	return &res, nil
}

// text reads a JSON text that somebody else wrote; nil for anything else.
func text(raw json.RawMessage) *string {
	var s *string
	if json.Unmarshal(raw, &s) != nil {
		return nil
	}
	return s
}
