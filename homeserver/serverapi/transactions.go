package serverapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/api"
	"trestle/homeserver/exchange"
	"trestle/internal/matrix"
)

// maxTransaction is how many bytes a transaction may have: all of its events as large as can be.
const maxTransaction = 8 << 20

// transactionsAPI is what other servers send (§ Transactions).
type transactionsAPI struct{ exchange *exchange.Service }

func (a *transactionsAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("PUT", "/_matrix/federation/v1/send/{txnId}", api.OtherServer, a.send, perServer(), api.BodyLimit(maxTransaction)),
	}
}

type transactionRequest struct {
	TxnID string            `path:"txnId"`
	PDUs  []json.RawMessage `json:"pdus"`
	EDUs  []json.RawMessage `json:"edus"`
}

type transactionResponse struct {
	PDUs map[matrix.EventID]pduResult `json:"pdus"`
}

// pduResult says why an event was not taken in; it is empty if it was.
type pduResult struct {
	Error string `json:"error,omitempty"`
}

func (a *transactionsAPI) send(ctx context.Context, who api.Caller, req *transactionRequest) (*transactionResponse, error) {
	if len(req.PDUs) > exchange.MaxPDUs || len(req.EDUs) > exchange.MaxEDUs {
		return nil, matrix.TooLarge("A transaction has at most %d PDUs and %d EDUs.", exchange.MaxPDUs, exchange.MaxEDUs)
	}
	results, err := a.exchange.Transaction(ctx, who.Server, req.PDUs)
	if err != nil {
		return nil, err
	}
	res := &transactionResponse{map[matrix.EventID]pduResult{}}
	for id, refused := range results {
		result := pduResult{}
		if refused != nil {
			result.Error = "It could not be taken in."
			if matrix.Code(refused) != "" {
				result.Error = refused.Error()
			}
		}
		res.PDUs[id] = result
	}
	return res, nil
}
