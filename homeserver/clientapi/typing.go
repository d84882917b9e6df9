package clientapi

import (
	"context"
	"net/http"
	"time"

	"trestle/homeserver/api"
	"trestle/homeserver/ephemeral"
	"trestle/internal/matrix"
)

// typingAPI is module typing_notifications.
type typingAPI struct{ ephemeral *ephemeral.Service }

// EphemeralRoutes are the endpoints about typing, receipts and presence.
func EphemeralRoutes(service *ephemeral.Service) []api.Route {
	all := (&typingAPI{service}).routes()
	all = append(all, (&receiptsAPI{service}).routes()...)
	return append(all, (&presenceAPI{service}).routes()...)
}

func (a *typingAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodPut, "/_matrix/client/v3/rooms/{roomId}/typing/{userId}", api.User, a.set, api.Limit("ephemeral")),
	}
}

type typingRequest struct {
	Room    matrix.RoomID `path:"roomId"`
	User    matrix.UserID `path:"userId"`
	Typing  bool          `json:"typing" required:"true"`
	Timeout *int64        `json:"timeout"` // ms
}

func (a *typingAPI) set(ctx context.Context, who api.Caller, req *typingRequest) (*struct{}, error) {
	if err := checkSelf(who, req.User); err != nil {
		return nil, err
	}
	if !req.Typing {
		return nil, a.ephemeral.StopTyping(ctx, req.Room, req.User)
	}
	var timeout time.Duration
	if req.Timeout != nil {
		timeout = time.Duration(max(0, min(*req.Timeout, 3_600_000))) * time.Millisecond
	}
	return nil, a.ephemeral.StartTyping(ctx, req.Room, req.User, timeout)
}
