package clientapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/homeserver/syncer"
	"trestle/internal/matrix"
)

// rewind takes an access back to the state at a token.
func (a *eventsAPI) rewind(ctx context.Context, access *rooms.Access, user matrix.UserID, at string) error {
	token, err := syncer.ParseToken(at)
	if err != nil {
		return err
	}
	return a.rooms.Rewind(ctx, access, user, token.Position)
}

// syncAPI is /sync and pages of history.
type syncAPI struct {
	sync     *syncer.Service
	accounts *accounts.Service
}

func (a *syncAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/sync", api.Guest, a.syncNow),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/rooms/{roomId}/messages", api.Guest, a.messages),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/rooms/{roomId}/context/{eventId}", api.Guest, a.context),
	}
}

type syncRequest struct {
	Since         string `query:"since"`
	Filter        string `query:"filter"`
	FullState     bool   `query:"full_state"`
	SetPresence   string `query:"set_presence"`
	Timeout       *int64 `query:"timeout"`
	UseStateAfter bool   `query:"use_state_after"`
	// MSC4222's name, from before it was in the specification.
	ProposedStateAfter bool `query:"org.matrix.msc4222.use_state_after"`
}

func (r *syncRequest) Validate() error {
	switch r.SetPresence {
	case "", "online", "offline", "unavailable":
	default:
		return matrix.InvalidParam("set_presence is online, offline or unavailable.")
	}
	if r.Timeout != nil && *r.Timeout < 0 {
		return matrix.InvalidParam("timeout is a number of milliseconds.")
	}
	return nil
}

// patience is how long /sync waits before it parks: clients in rooms where
// something is going on are not worth the trouble.
const patience = 500 * time.Millisecond

func (a *syncAPI) syncNow(ctx context.Context, who api.Caller, req *syncRequest) (*syncer.Response, error) {
	filter, err := a.filter(ctx, who.UserID, req.Filter)
	if err != nil {
		return nil, err
	}
	wanted := syncer.Request{
		User: who.UserID, Device: who.DeviceID, Since: req.Since, Filter: filter, FullState: req.FullState,
		SetPresence: req.SetPresence, UseStateAfter: req.UseStateAfter || req.ProposedStateAfter,
		Stop: api.Draining(ctx),
	}
	if req.Timeout != nil {
		wanted.Timeout = time.Duration(min(*req.Timeout, syncer.MaxTimeout.Milliseconds())) * time.Millisecond
	}
	until := time.Now().Add(wanted.Timeout)
	if waited, ok := api.Waited(ctx); ok {
		until, wanted.Timeout = waited, time.Until(waited)
	}
	if api.Parks(ctx) {
		wanted.Patience = patience
	}
	response, err := a.sync.Sync(ctx, wanted)
	var idle *syncer.Idle
	if errors.As(err, &idle) {
		return nil, &api.Parked{Until: until, Subscribe: idle.Subscribe}
	}
	if err == nil && req.ProposedStateAfter && !req.UseStateAfter {
		response.StateAfterAsProposed()
	}
	return response, err
}

// filter is a filter that is given itself or by the ID under which it is stored.
func (a *syncAPI) filter(ctx context.Context, user matrix.UserID, given string) (*accounts.Filter, error) {
	switch {
	case given == "":
		return new(accounts.Filter), nil
	case given[0] == '{':
		return accounts.ParseFilter([]byte(given))
	}
	stored, err := a.accounts.Filter(ctx, user, given)
	if err != nil {
		return nil, err
	}
	return accounts.ParseFilter(stored)
}

type messagesRequest struct {
	Room   matrix.RoomID `path:"roomId"`
	From   string        `query:"from"`
	To     string        `query:"to"`
	Dir    string        `query:"dir"`
	Limit  *int64        `query:"limit"`
	Filter string        `query:"filter"`
}

func (r *messagesRequest) Validate() error {
	switch r.Dir {
	case "", "b", "f":
	default:
		return matrix.InvalidParam("dir is b for backwards or f for forwards.")
	}
	return checkLimit(r.Limit)
}

func checkLimit(limit *int64) error {
	if limit != nil && *limit < 0 {
		return matrix.InvalidParam("limit is a number of events.")
	}
	return nil
}

// pageSize is a limit parameter, 10 if there is none.
func pageSize(limit *int64) int {
	if limit == nil {
		return 10
	}
	return int(min(*limit, 1000))
}

func (a *syncAPI) messages(ctx context.Context, who api.Caller, req *messagesRequest) (*syncer.Page, error) {
	filter, err := roomFilter(req.Filter)
	if err != nil {
		return nil, err
	}
	if req.Dir == "" {
		// Whoever may not look at the room is told that first.
		if _, err := a.sync.Rooms.Access(ctx, req.Room, who.UserID); err != nil {
			return nil, err
		}
		return nil, matrix.MissingParam("dir is b for backwards or f for forwards.")
	}
	return a.sync.Messages(ctx, syncer.PageRequest{
		User: who.UserID, Device: who.DeviceID, Room: req.Room, From: req.From, To: req.To, Backward: req.Dir == "b",
		Limit: pageSize(req.Limit), Filter: filter,
	})
}

func roomFilter(given string) (*accounts.RoomEventFilter, error) {
	if given == "" {
		return new(accounts.RoomEventFilter), nil
	}
	return accounts.ParseRoomEventFilter([]byte(given))
}

type contextRequest struct {
	Room   matrix.RoomID  `path:"roomId"`
	Event  matrix.EventID `path:"eventId"`
	Limit  *int64         `query:"limit"`
	Filter string         `query:"filter"`
}

func (r *contextRequest) Validate() error { return checkLimit(r.Limit) }

func (a *syncAPI) context(ctx context.Context, who api.Caller, req *contextRequest) (*syncer.Context, error) {
	filter, err := roomFilter(req.Filter)
	if err != nil {
		return nil, err
	}
	reader := rooms.Reader{User: who.UserID, Device: who.DeviceID}
	return a.sync.Context(ctx, reader, req.Room, req.Event, pageSize(req.Limit), filter)
}
