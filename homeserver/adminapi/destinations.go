package adminapi

import (
	"context"
	"net/http"
	"strings"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/outbox"
	"trestle/internal/matrix"
)

// destinationsAPI is about what waits for other servers.
type destinationsAPI struct{ outbox *outbox.Service }

func (a *destinationsAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", v1+"/federation/destinations", api.Admin, a.list),
		api.Endpoint("GET", v1+"/federation/destinations/{destination}", api.Admin, a.show),
		api.Endpoint("POST", v1+"/federation/destinations/{destination}/reset_connection", api.Admin, a.retry),
	}
}

// shownDestination has the names that consoles know, and what else is known here.
type shownDestination struct {
	Destination   matrix.ServerName `json:"destination"`
	RetryLast     int64             `json:"retry_last_ts"`
	RetryInterval int64             `json:"retry_interval"`
	Failure       *int64            `json:"failure_ts"`
	Waiting       int               `json:"events_waiting"`
	LastSuccess   *int64            `json:"last_success_ts"`
	LastError     string            `json:"last_error,omitempty"`
	LastErrorAt   *int64            `json:"last_error_ts"`
}

func newShownDestination(s outbox.Status) *shownDestination {
	d := &shownDestination{
		Destination: s.Server, Failure: stamp(s.FailingSince), Waiting: s.Waiting,
		LastSuccess: stamp(s.LastSuccess), LastError: s.LastError, LastErrorAt: stamp(s.LastErrorAt),
	}
	if !s.FailingSince.IsZero() && !s.LastErrorAt.IsZero() {
		d.RetryLast = s.LastErrorAt.UnixMilli()
		if !s.NextAttempt.IsZero() {
			d.RetryInterval = s.NextAttempt.Sub(s.LastErrorAt).Milliseconds()
		}
	}
	return d
}

// stamp is a time in Unix milliseconds; nil if it never was.
func stamp(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	ms := t.UnixMilli()
	return &ms
}

type listDestinationsRequest struct {
	page
	Destination string `query:"destination"` // a part of the name
	Dir         string `query:"dir"`
}

type listDestinationsResponse struct {
	Destinations []*shownDestination `json:"destinations"`
	Total        int                 `json:"total"`
	Next         *int64              `json:"next_token,omitempty,string"`
}

func (a *destinationsAPI) list(ctx context.Context, _ api.Caller, req *listDestinationsRequest) (*listDestinationsResponse, error) {
	from, limit, err := req.bounds()
	if err != nil {
		return nil, err
	}
	back, err := backward(req.Dir)
	if err != nil {
		return nil, err
	}
	res := &listDestinationsResponse{Destinations: []*shownDestination{}}
	var found []outbox.Status
	for _, s := range a.all(ctx) {
		if strings.Contains(string(s.Server), req.Destination) {
			found = append(found, s)
		}
	}
	res.Total = len(found)
	for i := from; i < int64(len(found)) && i < from+limit; i++ {
		at := i
		if back {
			at = int64(len(found)) - 1 - i
		}
		res.Destinations = append(res.Destinations, newShownDestination(found[at]))
	}
	if next := from + limit; next < int64(len(found)) {
		res.Next = &next
	}
	return res, nil
}

func (a *destinationsAPI) all(ctx context.Context) []outbox.Status {
	if a.outbox == nil {
		return nil
	}
	return a.outbox.Servers(ctx)
}

type destinationRequest struct {
	Destination matrix.ServerName `path:"destination"`
}

func (a *destinationsAPI) find(ctx context.Context, name matrix.ServerName) (outbox.Status, error) {
	for _, s := range a.all(ctx) {
		if s.Server == name {
			return s, nil
		}
	}
	return outbox.Status{}, matrix.NotFound("Nothing waits for %s, and it was sent nothing since the start.", name)
}

func (a *destinationsAPI) show(ctx context.Context, _ api.Caller, req *destinationRequest) (*shownDestination, error) {
	s, err := a.find(ctx, req.Destination)
	if err != nil {
		return nil, err
	}
	return newShownDestination(s), nil
}

// retry does not wait for the next attempt.
func (a *destinationsAPI) retry(ctx context.Context, _ api.Caller, req *destinationRequest) (*struct{}, error) {
	s, err := a.find(ctx, req.Destination)
	if err != nil {
		return nil, err
	}
	if s.NextAttempt.IsZero() {
		return nil, matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "There is no need to: %s is not left alone.", req.Destination)
	}
	a.outbox.Retry(ctx, req.Destination)
	return &struct{}{}, nil
}
