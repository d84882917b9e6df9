package adminapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/api"
	"trestle/homeserver/notices"
	"trestle/internal/matrix"
)

// noticesAPI is messages of the server to its users.
type noticesAPI struct{ notices *notices.Service }

func (a *noticesAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("POST", v1+"/send_server_notice", api.Admin, a.send),
		api.Endpoint("PUT", v1+"/send_server_notice/{txnId}", api.Admin, a.sendOnce),
	}
}

type noticeBody struct {
	UserID   matrix.UserID   `json:"user_id" required:"true"`
	Type     string          `json:"type"`
	StateKey *string         `json:"state_key"`
	Content  json.RawMessage `json:"content" required:"true"`
}

type noticeOnceRequest struct {
	TxnID string `path:"txnId"`
	noticeBody
}

type eventIDResponse struct {
	EventID matrix.EventID `json:"event_id"`
}

func (a *noticesAPI) send(ctx context.Context, who api.Caller, req *noticeBody) (*eventIDResponse, error) {
	return a.notify(ctx, req, "")
}

// sendOnce is idempotent for each administrator.
func (a *noticesAPI) sendOnce(ctx context.Context, who api.Caller, req *noticeOnceRequest) (*eventIDResponse, error) {
	return a.notify(ctx, &req.noticeBody, "notice\n"+string(who.UserID)+"\n"+req.TxnID)
}

func (a *noticesAPI) notify(ctx context.Context, req *noticeBody, key string) (*eventIDResponse, error) {
	if len(req.Content) == 0 || req.Content[0] != '{' {
		return nil, matrix.BadJSON("content is an object.")
	}
	id, err := a.notices.Send(ctx, notices.Notice{
		User: req.UserID, Type: req.Type, StateKey: req.StateKey, Content: req.Content, TxnKey: key,
	})
	if err != nil {
		return nil, err
	}
	return &eventIDResponse{id}, nil
}
