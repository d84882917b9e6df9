package clientapi

import (
	"context"
	"math"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/syncer"
	"trestle/homeserver/unread"
	"trestle/internal/matrix"
)

// threadsAPI is the threads that users follow (MSC4306 and MSC4308).
type threadsAPI struct {
	unread *unread.Service
}

const (
	threadPath         = "/_matrix/client/unstable/io.element.msc4306/rooms/{roomId}/thread/{eventId}/subscription"
	subscriptionsPath  = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
	usualSubscriptions = 100
)

func (a *threadsAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, threadPath, api.User, a.subscription),
		api.Endpoint(http.MethodPut, threadPath, api.User, a.subscribe),
		api.Endpoint(http.MethodDelete, threadPath, api.User, a.unsubscribe),
		api.Endpoint(http.MethodGet, subscriptionsPath, api.User, a.subscriptions),
	}
}

type threadRequest struct {
	Room  matrix.RoomID  `path:"roomId"`
	Event matrix.EventID `path:"eventId"`
}

type subscriptionResponse struct {
	Automatic bool `json:"automatic"`
}

func (a *threadsAPI) subscription(ctx context.Context, who api.Caller, req *threadRequest) (*subscriptionResponse, error) {
	s, err := a.unread.Subscription(ctx, who.UserID, req.Room, req.Event)
	if err != nil {
		return nil, err
	}
	return &subscriptionResponse{s.Automatic}, nil
}

type subscribeRequest struct {
	threadRequest
	// Automatic is the event because of which the client follows the thread;
	// empty: the user wants to.
	Automatic matrix.EventID `json:"automatic"`
}

func (a *threadsAPI) subscribe(ctx context.Context, who api.Caller, req *subscribeRequest) (*struct{}, error) {
	return nil, a.unread.Subscribe(ctx, who.UserID, req.Room, req.Event, req.Automatic)
}

func (a *threadsAPI) unsubscribe(ctx context.Context, who api.Caller, req *threadRequest) (*struct{}, error) {
	return nil, a.unread.Unsubscribe(ctx, who.UserID, req.Room, req.Event)
}

type subscriptionsRequest struct {
	Dir   string `query:"dir" required:"true"`
	From  string `query:"from"`
	To    string `query:"to"`
	Limit *int64 `query:"limit"`
}

func (r *subscriptionsRequest) Validate() error {
	if r.Dir != "b" {
		return matrix.InvalidParam("dir is b: there is no other direction.")
	}
	if r.Limit != nil && *r.Limit < 1 {
		return matrix.InvalidParam("limit is a number of threads above 0.")
	}
	return nil
}

type subscriptionsResponse struct {
	*unread.Subscriptions
	End string `json:"end,omitempty"`
}

func (a *threadsAPI) subscriptions(ctx context.Context, who api.Caller, req *subscriptionsRequest) (*subscriptionsResponse, error) {
	from, to, limit := syncer.Token{Position: math.MaxInt64}, syncer.Token{}, int64(usualSubscriptions)
	var err error
	if req.From != "" {
		if from, err = syncer.ParseToken(req.From); err != nil {
			return nil, err
		}
	}
	if req.To != "" {
		if to, err = syncer.ParseToken(req.To); err != nil {
			return nil, err
		}
	}
	if req.Limit != nil {
		limit = *req.Limit
	}
	found, err := a.unread.Subscriptions(ctx, who.UserID, to.Position, from.Position, int(min(limit, 1<<20)))
	if err != nil {
		return nil, err
	}
	res := &subscriptionsResponse{Subscriptions: found}
	if found.Rest != 0 {
		res.End = syncer.Token{Position: found.Rest}.String()
	}
	return res, nil
}
