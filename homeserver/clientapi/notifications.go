package clientapi

import (
	"context"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/rooms"
	"trestle/homeserver/unread"
)

// notificationsAPI is what users were notified of.
type notificationsAPI struct {
	unread *unread.Service
}

func (a *notificationsAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/notifications", api.User, a.notifications),
	}
}

type notificationsRequest struct {
	From  string `query:"from"`
	Limit *int64 `query:"limit"`
	Only  string `query:"only"`
}

func (r *notificationsRequest) Validate() error { return checkLimit(r.Limit) }

func (a *notificationsAPI) notifications(ctx context.Context, who api.Caller, req *notificationsRequest) (*unread.Page, error) {
	q := unread.Request{
		Reader: rooms.Reader{User: who.UserID, Device: who.DeviceID, NoRoomID: true},
		From:   req.From, Highlights: req.Only == "highlight",
	}
	if req.Limit != nil {
		q.Limit = int(min(*req.Limit, 1<<20))
	}
	return a.unread.List(ctx, q)
}
