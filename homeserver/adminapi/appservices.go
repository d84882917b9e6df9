package adminapi

import (
	"context"
	"time"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/homeserver/api"
	"trestle/homeserver/ledger"
	"trestle/internal/matrix"
	"trestle/registration"
)

// own is the path of operations that other homeservers do not have.
const own = "/_trestle/admin/v1"

// appservicesAPI is the delivery to application services, and what an operator
// does about it.
type appservicesAPI struct {
	registry *registration.Registry
	sender   *sender.Service
	ledger   *ledger.Service
}

func (a *appservicesAPI) routes() []api.Route {
	const one = own + "/appservices/{appserviceId}"
	return []api.Route{
		api.Endpoint("GET", own+"/appservices", api.Admin, a.list),
		api.Endpoint("GET", one, api.Admin, a.show),
		api.Endpoint("GET", one+"/transaction", api.Admin, a.frozen),
		api.Endpoint("POST", one+"/pause", api.Admin, a.pause),
		api.Endpoint("POST", one+"/resume", api.Admin, a.resume),
		api.Endpoint("POST", one+"/retry", api.Admin, a.retry),
		api.Endpoint("POST", one+"/ping", api.Admin, a.ping),
		api.Endpoint("POST", one+"/skip", api.Admin, a.skip),
		api.Endpoint("POST", one+"/skip_all", api.Admin, a.skipAll),
		api.Endpoint("POST", one+"/forget", api.Admin, a.forget),
		api.Endpoint("GET", one+"/dead_letters", api.Admin, a.letters),
		api.Endpoint("GET", own+"/dead_letters", api.Admin, a.allLetters),
		api.Endpoint("GET", own+"/dead_letters/{number}", api.Admin, a.letter),
		api.Endpoint("POST", own+"/dead_letters/{number}/replay", api.Admin, a.replay),
		api.Endpoint("DELETE", own+"/dead_letters/{number}", api.Admin, a.discard),
		api.Endpoint("GET", one+"/log", api.Admin, a.log),
		api.Endpoint("GET", own+"/log", api.Admin, a.wholeLog),
	}
}

// A shownService is an application service and how the delivery to it stands.
// Times are in ms since 1970, or null.
type shownService struct {
	ID     string        `json:"id"`
	URL    *string       `json:"url"`
	Sender matrix.UserID `json:"sender"`

	Live         bool   `json:"live"`
	Position     int64  `json:"position"`
	Behind       int64  `json:"behind"`
	Backlog      int    `json:"backlog"`
	AtMost       bool   `json:"backlog_at_most"`
	Queued       int    `json:"queued_events"`
	Unread       int    `json:"unread_events"`
	Frozen       int    `json:"frozen_transactions"`
	FrozenEvents int    `json:"frozen_events"`
	Oldest       *int64 `json:"oldest_ts"`

	Transactions uint64  `json:"delivered_transactions"`
	Events       uint64  `json:"delivered_events"`
	Failures     uint64  `json:"failed_attempts"`
	Rate         float64 `json:"events_per_second"`
	LastSuccess  *int64  `json:"last_success_ts"`
	LastDuration int64   `json:"last_duration_ms"`

	Transaction *string `json:"transaction_id"`
	Attempts    int     `json:"attempts"`
	NextAttempt *int64  `json:"next_attempt_ts"`
	LastError   *string `json:"last_error"`
	LastErrorAt *int64  `json:"last_error_ts"`

	Paused       bool    `json:"paused"`
	PausedReason *string `json:"paused_reason"`
	PausedAt     *int64  `json:"paused_ts"`
	DeadLetters  int     `json:"dead_letters"`
}

func optionalTime(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	return optionalNumber(t.UnixMilli())
}

func (a *appservicesAPI) shown(r *registration.Registration, s sender.Status) shownService {
	return shownService{
		ID: r.ID, URL: optionalText(r.URL), Sender: matrix.NewUserID(r.SenderLocalpart, a.registry.Load().Server()),
		Live: s.Live, Position: s.Position, Behind: s.Behind, Backlog: s.Backlog(), AtMost: s.AtMost, Queued: s.Queued,
		Unread: s.Unread, Frozen: s.Frozen, FrozenEvents: s.FrozenEvents, Oldest: optionalTime(s.Oldest),
		Transactions: s.Transactions, Events: s.Events, Failures: s.Failures, Rate: s.Rate,
		LastSuccess: optionalTime(s.LastSuccess), LastDuration: s.LastDuration.Milliseconds(),
		Transaction: optionalText(s.Current), Attempts: s.Attempts, NextAttempt: optionalTime(s.NextAttempt),
		LastError: optionalText(s.LastError), LastErrorAt: optionalTime(s.LastErrorAt),
		Paused: s.Paused, PausedReason: optionalText(s.PausedReason), PausedAt: optionalTime(s.PausedAt), DeadLetters: s.DeadLetters,
	}
}

// all is every service; one without a URL has no delivery to tell of.
func (a *appservicesAPI) all() []shownService {
	delivery := map[string]sender.Status{}
	for _, s := range a.sender.Status() {
		delivery[s.ID] = s
	}
	list := []shownService{}
	for _, r := range a.registry.Load().All() {
		list = append(list, a.shown(r, delivery[r.ID]))
	}
	return list
}

// A shownPlace is what is kept of a service that is gone.
type shownPlace struct {
	ID           string `json:"id"`
	Position     int64  `json:"position"`
	Frozen       int    `json:"frozen_transactions"`
	FrozenEvents int    `json:"frozen_events"`
	Oldest       *int64 `json:"oldest_ts"`
	DeadLetters  int    `json:"dead_letters"`
	Paused       bool   `json:"paused"`
}

func newShownPlace(p appservice.Place) shownPlace {
	return shownPlace{p.Service, p.Position, p.Frozen, p.Events, optionalNumber(p.Oldest), p.Letters, p.Paused}
}

type listServicesResponse struct {
	AppServices []shownService `json:"appservices"`
	Gone        []shownPlace   `json:"gone"`
}

func (a *appservicesAPI) list(ctx context.Context, _ api.Caller, _ *struct{}) (*listServicesResponse, error) {
	gone, err := a.sender.Gone(ctx)
	if err != nil {
		return nil, err
	}
	res := &listServicesResponse{a.all(), []shownPlace{}}
	for _, p := range gone {
		res.Gone = append(res.Gone, newShownPlace(p))
	}
	return res, nil
}

type serviceRequest struct {
	ID string `path:"appserviceId"`
}

func (a *appservicesAPI) show(_ context.Context, _ api.Caller, req *serviceRequest) (*shownService, error) {
	for _, s := range a.all() {
		if s.ID == req.ID {
			return &s, nil
		}
	}
	return nil, matrix.NotFound("There is no application service %q.", req.ID)
}

// A shownFrozen is the transaction at the head of a queue. Body is the exact
// text that is sent.
type shownFrozen struct {
	ID       string `json:"transaction_id"`
	Number   int64  `json:"number"`
	Position int64  `json:"position"`
	Events   int    `json:"events"`
	Oldest   *int64 `json:"oldest_ts"`
	Body     string `json:"body"`
}

func (a *appservicesAPI) frozen(ctx context.Context, _ api.Caller, req *serviceRequest) (*shownFrozen, error) {
	f, err := a.sender.Frozen(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return &shownFrozen{f.ID, f.Number, f.Position, f.Events, optionalNumber(f.Oldest), string(f.Body)}, nil
}

type pauseRequest struct {
	serviceRequest
	Reason string `json:"reason"`
}

func (a *appservicesAPI) pause(ctx context.Context, who api.Caller, req *pauseRequest) (*struct{}, error) {
	return nil, a.ledger.Pause(ctx, who.UserID, req.ID, req.Reason)
}

func (a *appservicesAPI) resume(ctx context.Context, who api.Caller, req *serviceRequest) (*struct{}, error) {
	return nil, a.ledger.Resume(ctx, who.UserID, req.ID)
}

func (a *appservicesAPI) retry(ctx context.Context, who api.Caller, req *serviceRequest) (*struct{}, error) {
	s, err := a.show(ctx, who, req)
	if err != nil {
		return nil, err
	}
	if s.Paused {
		return nil, matrix.NewError(409, "M_UNKNOWN", "The application service %s is paused.", req.ID)
	}
	return nil, a.ledger.Retry(ctx, who.UserID, req.ID)
}

type pingResponse struct {
	Duration int64 `json:"duration_ms"`
}

func (a *appservicesAPI) ping(ctx context.Context, who api.Caller, req *serviceRequest) (*pingResponse, error) {
	took, err := a.ledger.Ping(ctx, who.UserID, req.ID)
	return &pingResponse{took.Milliseconds()}, err
}

type skipRequest struct {
	serviceRequest
	Transaction string `json:"transaction_id" required:"true"`
	Reason      string `json:"reason"`
}

func (a *appservicesAPI) skip(ctx context.Context, who api.Caller, req *skipRequest) (*struct{}, error) {
	return nil, a.ledger.Skip(ctx, who.UserID, req.ID, req.Transaction, req.Reason)
}

// A reasonRequest takes something away from a service.
type reasonRequest struct {
	serviceRequest
	Reason string `json:"reason"`
}

type skipAllResponse struct {
	Letters      int  `json:"dead_letters"`
	LetterEvents int  `json:"dead_letter_events"`
	Passed       int  `json:"passed_events"`
	AtMost       bool `json:"passed_at_most"`
}

func (a *appservicesAPI) skipAll(ctx context.Context, who api.Caller, req *reasonRequest) (*skipAllResponse, error) {
	s, err := a.ledger.SkipAll(ctx, who.UserID, req.ID, req.Reason)
	if err != nil {
		return nil, err
	}
	return &skipAllResponse{s.Transactions, s.Frozen, s.Passed, s.AtMost}, nil
}

func (a *appservicesAPI) forget(ctx context.Context, who api.Caller, req *reasonRequest) (*shownPlace, error) {
	place, err := a.ledger.Forget(ctx, who.UserID, req.ID, req.Reason)
	if err != nil {
		return nil, err
	}
	shown := newShownPlace(place)
	return &shown, nil
}
