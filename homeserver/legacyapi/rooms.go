package legacyapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

func (a *legacyAPI) roomRoutes() []api.Route {
	send := api.Limit("send")
	return []api.Route{
		api.Endpoint(http.MethodPost, prefix+"/createRoom", api.User, a.create, api.Limit("create")),
		api.Endpoint(http.MethodPut, prefix+"/createRoom/{txnId}", api.User, a.createOnce, api.Limit("create")),
		api.Endpoint(http.MethodPost, prefix+"/rooms/{roomId}/send/{eventType}", api.Guest, a.send, send),
		api.Endpoint(http.MethodPost, prefix+"/rooms/{roomId}/redact/{eventId}", api.Guest, a.redact, send),
		api.Endpoint(http.MethodGet, prefix+"/rooms/{roomId}/state", api.Guest, a.state),
		api.Endpoint(http.MethodGet, prefix+"/rooms/{roomId}/members", api.Guest, a.members),
		api.Endpoint(http.MethodGet, prefix+"/rooms/{roomId}/messages", api.Guest, a.messages),
	}
}

type createRequest struct {
	Visibility string          `json:"visibility"`
	AliasName  string          `json:"room_alias_name"`
	Name       string          `json:"name"`
	Topic      string          `json:"topic"`
	Invite     []matrix.UserID `json:"invite"`
}

type createResponse struct {
	RoomID matrix.RoomID    `json:"room_id"`
	Alias  matrix.RoomAlias `json:"room_alias,omitempty"`
}

func (a *legacyAPI) create(ctx context.Context, who api.Caller, req *createRequest) (*createResponse, error) {
	id, err := a.Rooms.Create(ctx, rooms.CreateRequest{
		Creator: who.UserID, AppService: who.AppService, Visibility: req.Visibility, AliasName: req.AliasName,
		Name: req.Name, Topic: req.Topic, Invite: req.Invite,
	})
	if err != nil {
		return nil, err
	}
	res := &createResponse{RoomID: id}
	if req.AliasName != "" {
		res.Alias = matrix.RoomAlias("#" + req.AliasName + ":" + string(a.ServerName))
	}
	return res, nil
}

// maxCreations is how many creations of rooms are remembered, so that a repeat
// makes no other room. They are forgotten when the server stops.
const maxCreations = 10_000

type creation struct {
	user   matrix.UserID
	device matrix.DeviceID
	txn    string
}

// A flight is a creation that has begun.
type flight struct {
	done chan struct{}
	res  *createResponse
	err  error
}

type createOnceRequest struct {
	createRequest
	Txn string `path:"txnId"`
}

func (a *legacyAPI) createOnce(ctx context.Context, who api.Caller, req *createOnceRequest) (*createResponse, error) {
	key := creation{who.UserID, who.DeviceID, req.Txn}
	a.mu.Lock()
	f, found := a.created.Get(key)
	if !found {
		f = &flight{done: make(chan struct{})}
		a.created.Put(key, f)
	}
	a.mu.Unlock()
	if !found {
		f.res, f.err = a.create(context.WithoutCancel(ctx), who, &req.createRequest)
		if f.err != nil {
			a.created.Delete(key) // may be tried again
		}
		close(f.done)
	}
	select {
	case <-f.done:
		return f.res, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type sendRequest struct {
	Room    matrix.RoomID   `path:"roomId"`
	Type    string          `path:"eventType"`
	Content json.RawMessage `body:"raw"`
}

type eventIDResponse struct {
	EventID matrix.EventID `json:"event_id"`
}

func (a *legacyAPI) send(ctx context.Context, who api.Caller, req *sendRequest) (*eventIDResponse, error) {
	return eventID(a.Rooms.Send(ctx, rooms.SendRequest{
		Room: req.Room, Sender: who.UserID, AppService: who.AppService, Guest: who.Guest, Type: req.Type, Content: req.Content,
	}))
}

func eventID(id matrix.EventID, err error) (*eventIDResponse, error) {
	if err != nil {
		return nil, err
	}
	return &eventIDResponse{id}, nil
}

type redactRequest struct {
	Room    matrix.RoomID   `path:"roomId"`
	Event   matrix.EventID  `path:"eventId"`
	Content json.RawMessage `body:"raw,optional"`
}

func (a *legacyAPI) redact(ctx context.Context, who api.Caller, req *redactRequest) (*eventIDResponse, error) {
	if req.Content == nil {
		req.Content = json.RawMessage(`{}`)
	}
	return eventID(a.Rooms.Send(ctx, rooms.SendRequest{
		Room: req.Room, Sender: who.UserID, AppService: who.AppService, Guest: who.Guest,
		Type: "m.room.redaction", Redacts: req.Event, Content: req.Content,
	}))
}

type roomRequest struct {
	Room matrix.RoomID `path:"roomId"`
}

func (a *legacyAPI) state(ctx context.Context, who api.Caller, req *roomRequest) (*[]json.RawMessage, error) {
	list, err := a.stateEvents(ctx, who, req.Room, nil)
	return &list, err
}

func (a *legacyAPI) stateEvents(ctx context.Context, who api.Caller, room matrix.RoomID, which func(rooms.StateKey) bool) ([]json.RawMessage, error) {
	access, err := a.Rooms.Access(ctx, room, who.UserID)
	if err != nil {
		return nil, err
	}
	events, err := access.State.Events(ctx, which)
	if err != nil {
		return nil, err
	}
	list, err := a.Rooms.Clients(ctx, events, reader(who))
	if err != nil {
		return nil, err
	}
	return oldEvents(list)
}

func reader(who api.Caller) rooms.Reader {
	return rooms.Reader{User: who.UserID, Device: who.DeviceID}
}

// A page of then has both of its ends, which START and END are if it has all.
type page struct {
	Start string            `json:"start"`
	End   string            `json:"end"`
	Chunk []json.RawMessage `json:"chunk"`
}

func (a *legacyAPI) members(ctx context.Context, who api.Caller, req *roomRequest) (*page, error) {
	list, err := a.stateEvents(ctx, who, req.Room, func(key rooms.StateKey) bool { return key.Type == "m.room.member" })
	if err != nil {
		return nil, err
	}
	return &page{first, last, list}, nil
}

type messagesRequest struct {
	Room  matrix.RoomID `path:"roomId"`
	From  string        `query:"from"`
	To    string        `query:"to"`
	Dir   string        `query:"dir"`
	Limit *int64        `query:"limit"`
}

// messages is a page of a room's messages. Without dir, the ends say which way
// it goes: backwards from END, or towards START; else forwards.
func (a *legacyAPI) messages(ctx context.Context, who api.Caller, req *messagesRequest) (*page, error) {
	limit, err := pageSize(req.Limit)
	if err != nil {
		return nil, err
	}
	if req.Dir != "" && req.Dir != "b" && req.Dir != "f" {
		return nil, badPagination("dir is b or f.")
	}
	wanted := syncer.PageRequest{
		User: who.UserID, Device: who.DeviceID, Room: req.Room, From: req.From, To: req.To, Limit: limit,
		Backward: req.Dir == "b" || req.Dir == "" && (req.From == "" || req.From == last || req.To == first),
		Filter:   new(accounts.RoomEventFilter),
	}
	if backwards := wanted.From == last; (backwards || wanted.From == first) && backwards != wanted.Backward {
		return &page{req.From, req.From, []json.RawMessage{}}, nil
	}
	for _, token := range []*string{&wanted.From, &wanted.To} {
		if *token == first || *token == last {
			*token = ""
		} else if *token != "" {
			if _, err := syncer.ParseToken(*token); err != nil {
				return nil, badPagination("%.100q is no token of this server.", *token)
			}
		}
	}
	found, err := a.Sync.Messages(ctx, wanted)
	if err != nil {
		return nil, err
	}
	res := &page{Start: found.Start, End: found.End}
	if res.End == "" {
		res.End = found.Start
	}
	res.Chunk, err = oldEvents(found.Chunk)
	return res, err
}
