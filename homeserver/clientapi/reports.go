package clientapi

import (
	"context"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/reports"
	"trestle/internal/matrix"
)

// reportsAPI is what users tell the operators.
type reportsAPI struct {
	reports *reports.Service
}

func (a *reportsAPI) routes() []api.Route {
	limited := api.Limit("report")
	return []api.Route{
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/report", api.User, a.room, limited,
			api.Aliases("/_matrix/client/unstable/org.matrix.msc4151/rooms/{roomId}/report")),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/report/{eventId}", api.User, a.event, limited),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/users/{userId}/report", api.User, a.user, limited,
			api.Aliases("/_matrix/client/unstable/org.matrix.msc4260/users/{userId}/report")),
	}
}

type reportEventRequest struct {
	Room   matrix.RoomID  `path:"roomId"`
	Event  matrix.EventID `path:"eventId"`
	Reason *string        `json:"reason"`
	// Score was in the specification up to version 1.17: -100 is the worst.
	Score *int64 `json:"score"`
}

func (a *reportsAPI) event(ctx context.Context, who api.Caller, req *reportEventRequest) (*struct{}, error) {
	return nil, a.reports.Event(ctx, who.UserID, req.Room, req.Event, req.Reason, req.Score)
}

type reportRoomRequest struct {
	Room   matrix.RoomID `path:"roomId"`
	Reason string        `json:"reason" required:"true"`
}

func (a *reportsAPI) room(ctx context.Context, who api.Caller, req *reportRoomRequest) (*struct{}, error) {
	return nil, a.reports.Room(ctx, who.UserID, req.Room, req.Reason)
}

type reportUserRequest struct {
	User   matrix.UserID `path:"userId"`
	Reason string        `json:"reason" required:"true"`
}

func (a *reportsAPI) user(ctx context.Context, who api.Caller, req *reportUserRequest) (*struct{}, error) {
	return nil, a.reports.User(ctx, who.UserID, req.User, req.Reason)
}
