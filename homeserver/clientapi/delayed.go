package clientapi

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"trestle/homeserver/api"
	"trestle/homeserver/delayed"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// delayedAPI is events that are sent later (MSC4140), in the form in which the
// proposal was merged and in that of before, which most clients know.
type delayedAPI struct{ delayed *delayed.Service }

func (a *delayedAPI) routes() []api.Route {
	const stable, unstable = "/_matrix/client/v1/delayed_events", "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"
	const schedule = "/rooms/{roomId}/delayed_event/{eventType}/{txnId}"
	limited := api.Limit("send")
	return []api.Route{
		api.Endpoint(http.MethodPut, "/_matrix/client/v3"+schedule, api.Guest, a.schedule, limited, api.OnlyV3()),
		api.Endpoint(http.MethodPut, "/_matrix/client/unstable/org.matrix.msc4140"+schedule, api.Guest, a.scheduleUnstable, limited),
		api.Endpoint(http.MethodGet, stable, api.Guest, a.list, api.Aliases(unstable)),
		api.Endpoint(http.MethodGet, stable+"/{delayId}", api.Guest, a.one, api.Aliases(unstable+"/{delayId}")),
		// Who knows an event's ID may act on it: that is how it is entrusted to others.
		api.Endpoint(http.MethodPost, stable+"/{delayId}/{action}", api.None, a.act, api.Aliases(unstable+"/{delayId}/{action}")),
		api.Endpoint(http.MethodPost, unstable+"/{delayId}", api.None, a.actByBody),
	}
}

type delayIDResponse struct {
	DelayID string `json:"delay_id"`
}

type scheduleRequest struct {
	Room     matrix.RoomID   `path:"roomId"`
	Type     string          `path:"eventType"`
	Txn      string          `path:"txnId"`
	TS       *int64          `query:"ts"`
	Delay    int64           `json:"delay_ms"`
	OldDelay int64           `json:"delay"` // as it was called before
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content" required:"true"`
}

func (r *scheduleRequest) Validate() error {
	if r.Delay == 0 {
		r.Delay = r.OldDelay
	}
	if r.Content[0] != '{' {
		return matrix.BadJSON("content has to be an object.")
	}
	return nil
}

func (a *delayedAPI) schedule(ctx context.Context, who api.Caller, req *scheduleRequest) (*delayIDResponse, error) {
	ts, err := timestamp(who, req.TS)
	if err != nil {
		return nil, err
	}
	id, err := scheduleFor(ctx, a.delayed, who, delayed.Request{
		Room: req.Room, Type: req.Type, StateKey: req.StateKey, Content: req.Content, Timestamp: ts, Delay: req.Delay,
		TxnKey: rooms.TxnKey(who.DeviceID, "delayed "+req.Type, req.Txn),
	})
	if err != nil {
		return nil, err
	}
	return &delayIDResponse{id}, nil
}

func scheduleFor(ctx context.Context, service *delayed.Service, who api.Caller, req delayed.Request) (string, error) {
	req.User, req.AppService, req.Guest, req.Unlimited = who.UserID, who.AppService, who.Guest, who.Unlimited
	return service.Schedule(ctx, req)
}

func (a *delayedAPI) scheduleUnstable(ctx context.Context, who api.Caller, req *scheduleRequest) (*delayIDResponse, error) {
	res, err := a.schedule(ctx, who, req)
	return res, unstableDelayError(err, "ORG.MATRIX.MSC4140_MAX_DELAY_EXCEEDED")
}

// unstableDelayError names what is wrong with a delay as the proposal did
// before it was merged.
func unstableDelayError(err error, code string) error {
	var e *matrix.Error
	if !errors.As(err, &e) || e.Code != "M_MAX_DELAY_EXCEEDED" {
		return err
	}
	old := e.With("org.matrix.msc4140.errcode", e.Code).With("org.matrix.msc4140.max_delay", e.Extra["max_delay"])
	old.Code = code
	return old
}

// sendLater is a send with the query parameter org.matrix.msc4140.delay.
func (a *eventsAPI) sendLater(ctx context.Context, who api.Caller, req delayed.Request) (*sentResponse, error) {
	id, err := scheduleFor(ctx, a.delayed, who, req)
	if err != nil {
		return nil, unstableDelayError(err, "M_UNKNOWN")
	}
	return &sentResponse{DelayID: id}, nil
}

type delayedEvent struct {
	DelayID      string          `json:"delay_id"`
	Room         matrix.RoomID   `json:"room_id"`
	Type         string          `json:"type"`
	StateKey     *string         `json:"state_key,omitempty"`
	Delay        int64           `json:"delay_ms"`
	OldDelay     int64           `json:"delay"`
	Since        int64           `json:"delayed_since_ts"`
	RunningSince int64           `json:"running_since"`
	Content      json.RawMessage `json:"content"`
	Finalised    *finalised      `json:"finalised,omitempty"`
}

// finalised is what became of an event: without event and error, it was cancelled.
type finalised struct {
	At      int64           `json:"finalised_ts"`
	EventID matrix.EventID  `json:"event_id,omitempty"`
	Error   json.RawMessage `json:"error,omitempty"`
}

func newDelayedEvent(e *delayed.Event) *delayedEvent {
	d := &delayedEvent{
		DelayID: e.ID, Room: e.RoomID, Type: e.Type, StateKey: e.StateKey, Delay: e.Delay, OldDelay: e.Delay,
		Since: e.Since, RunningSince: e.Since, Content: e.Content,
	}
	if e.FinalisedAt != 0 {
		d.Finalised = &finalised{e.FinalisedAt, e.EventID, e.Error}
	}
	return d
}

type delayIDRequest struct {
	ID string `path:"delayId"`
}

func (a *delayedAPI) one(ctx context.Context, who api.Caller, req *delayIDRequest) (*delayedEvent, error) {
	e, err := a.delayed.Find(ctx, who.UserID, req.ID)
	if err != nil {
		return nil, err
	}
	return newDelayedEvent(e), nil
}

type listDelayedRequest struct {
	Status string `query:"status"`
	From   string `query:"from"`
}

func (r *listDelayedRequest) Validate() error {
	switch r.Status {
	case "", "scheduled", "finalised":
		return nil
	}
	return matrix.InvalidParam("status is scheduled or finalised.")
}

type listDelayedResponse struct {
	Events []*delayedEvent `json:"delayed_events"`
	Next   string          `json:"next_batch,omitempty"`
}

// delayedPage is how many events one answer has.
const delayedPage = 100

func (a *delayedAPI) list(ctx context.Context, who api.Caller, req *listDelayedRequest) (*listDelayedResponse, error) {
	query := delayed.Query{User: who.UserID, Finalised: req.Status == "finalised", Limit: delayedPage + 1}
	if req.From != "" {
		var err error
		if query.AfterDue, query.AfterID, err = parseDelayedToken(req.From); err != nil {
			return nil, err
		}
	}
	events, err := a.delayed.List(ctx, query)
	if err != nil {
		return nil, err
	}
	res := &listDelayedResponse{Events: []*delayedEvent{}}
	if len(events) > delayedPage {
		events = events[:delayedPage]
		res.Next = delayedToken(events[delayedPage-1])
	}
	for _, e := range events {
		res.Events = append(res.Events, newDelayedEvent(e))
	}
	return res, nil
}

// delayedToken is the place in a list behind an event.
func delayedToken(e *delayed.Event) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(e.Since+e.Delay, 10) + "." + e.ID))
}

func parseDelayedToken(token string) (due int64, id string, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	digits, id, found := strings.Cut(string(raw), ".")
	if err == nil && found && !strings.Contains(id, "\x00") && utf8.ValidString(id) {
		if due, err = strconv.ParseInt(digits, 10, 64); err == nil {
			return due, id, nil
		}
	}
	return 0, "", matrix.InvalidParam("from is no token of this list.")
}

type actRequest struct {
	ID     string         `path:"delayId"`
	Action delayed.Action `path:"action"`
}

func (a *delayedAPI) act(ctx context.Context, _ api.Caller, req *actRequest) (*struct{}, error) {
	if !req.Action.Known() {
		return nil, matrix.Unrecognized("A delayed event can be sent, cancelled or restarted.")
	}
	return nil, a.delayed.Act(ctx, req.ID, req.Action)
}

type actByBodyRequest struct {
	ID     string         `path:"delayId"`
	Action delayed.Action `json:"action" required:"true"`
}

func (a *delayedAPI) actByBody(ctx context.Context, _ api.Caller, req *actByBodyRequest) (*struct{}, error) {
	if !req.Action.Known() {
		return nil, matrix.InvalidParam("action is send, cancel or restart.")
	}
	return nil, a.delayed.Act(ctx, req.ID, req.Action)
}
