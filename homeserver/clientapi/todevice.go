package clientapi

import (
	"context"
	"encoding/json"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/encryption"
	"trestle/internal/matrix"
)

// toDeviceAPI is messages from device to device (module send_to_device).
type toDeviceAPI struct{ keys *encryption.Service }

func (a *toDeviceAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodPut, "/_matrix/client/v3/sendToDevice/{eventType}/{txnId}", api.Guest, a.send,
			api.Limit("to_device"), api.BodyLimit(4<<20), api.Aliases("/_matrix/client/unstable/sendToDevice/{eventType}/{txnId}")),
	}
}

type sendToDeviceRequest struct {
	Type     string                                                `path:"eventType"`
	Txn      string                                                `path:"txnId"`
	Messages map[matrix.UserID]map[matrix.DeviceID]json.RawMessage `json:"messages" required:"true"`
}

func (r *sendToDeviceRequest) Validate() error { return checkUsers(r.Messages) }

func (a *toDeviceAPI) send(ctx context.Context, who api.Caller, req *sendToDeviceRequest) (*struct{}, error) {
	return nil, a.keys.Send(ctx, encryption.Sending{
		Sender: who.UserID, Device: who.DeviceID, Type: req.Type, TxnID: req.Txn, Messages: req.Messages,
	})
}
