package clientapi

import (
	"context"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/ephemeral"
	"trestle/internal/matrix"
)

// receiptsAPI is modules receipts and read_markers.
type receiptsAPI struct{ ephemeral *ephemeral.Service }

func (a *receiptsAPI) routes() []api.Route {
	limited := api.Limit("ephemeral")
	return []api.Route{
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}", api.User, a.receipt, limited),
		api.Endpoint(http.MethodPost, "/_matrix/client/v3/rooms/{roomId}/read_markers", api.User, a.markers, limited),
	}
}

type receiptRequest struct {
	Room   matrix.RoomID  `path:"roomId"`
	Type   string         `path:"receiptType"`
	Event  matrix.EventID `path:"eventId"`
	Thread *string        `json:"thread_id"`
}

func (r *receiptRequest) Validate() error {
	if r.Thread != nil && (*r.Thread == "" || len(*r.Thread) > matrix.MaxIDLength) {
		return matrix.InvalidParam("thread_id is the ID of an event, or %s.", ephemeral.MainThread)
	}
	return nil
}

func (a *receiptsAPI) receipt(ctx context.Context, who api.Caller, req *receiptRequest) (*struct{}, error) {
	mark := ephemeral.Mark{Type: req.Type, Event: req.Event}
	if req.Thread != nil {
		mark.Thread = *req.Thread
	}
	return nil, a.ephemeral.Mark(ctx, who.UserID, req.Room, []ephemeral.Mark{mark})
}

type markersRequest struct {
	Room        matrix.RoomID  `path:"roomId"`
	FullyRead   matrix.EventID `json:"m.fully_read"`
	Read        matrix.EventID `json:"m.read"`
	ReadPrivate matrix.EventID `json:"m.read.private"`
}

func (a *receiptsAPI) markers(ctx context.Context, who api.Caller, req *markersRequest) (*struct{}, error) {
	var marks []ephemeral.Mark
	for _, m := range []ephemeral.Mark{
		{Type: ephemeral.FullyRead, Event: req.FullyRead},
		{Type: ephemeral.Read, Event: req.Read},
		{Type: ephemeral.ReadPrivate, Event: req.ReadPrivate},
	} {
		if m.Event != "" {
			marks = append(marks, m)
		}
	}
	return nil, a.ephemeral.Mark(ctx, who.UserID, req.Room, marks)
}
