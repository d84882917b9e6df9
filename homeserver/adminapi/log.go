package adminapi

import (
	"context"

	"trestle/homeserver/api"
	"trestle/homeserver/ledger"
	"trestle/internal/matrix"
)

// A shownDeed is something that an operator has done about application services,
// or tried to.
type shownDeed struct {
	Number      int64         `json:"number"`
	At          int64         `json:"ts"`
	By          matrix.UserID `json:"by"`
	Service     *string       `json:"appservice"` // null: all
	Action      ledger.Action `json:"action"`
	Transaction *string       `json:"transaction_id"`
	Letter      *int64        `json:"dead_letter"`
	Reason      *string       `json:"reason"`
	Outcome     string        `json:"outcome"`
	Error       *string       `json:"error"`
	Result      *string       `json:"result"`
}

var outcomes = map[ledger.Outcome]string{ledger.Unknown: "unknown", ledger.Done: "done", ledger.Failed: "failed"}

type logResponse struct {
	Log  []shownDeed `json:"log"`
	Next *int64      `json:"next_token,omitempty"`
}

type logRequest struct {
	serviceRequest
	page
}

func (a *appservicesAPI) log(ctx context.Context, _ api.Caller, req *logRequest) (*logResponse, error) {
	return a.logOf(ctx, req.ID, req.page)
}

// wholeLog is about services that are gone, too, and about all at once.
func (a *appservicesAPI) wholeLog(ctx context.Context, _ api.Caller, req *page) (*logResponse, error) {
	return a.logOf(ctx, "", *req)
}

// logOf is a part of the record, the newest first; from is the last number that
// was seen.
func (a *appservicesAPI) logOf(ctx context.Context, service string, p page) (*logResponse, error) {
	from, limit, err := p.bounds()
	if err != nil {
		return nil, err
	}
	deeds, err := a.ledger.Deeds(ctx, service, from, int(limit))
	if err != nil {
		return nil, err
	}
	res := &logResponse{Log: []shownDeed{}}
	for _, d := range deeds {
		res.Log = append(res.Log, shownDeed{
			Number: d.Number, At: d.At.UnixMilli(), By: d.By, Service: optionalText(d.Service), Action: d.Action,
			Transaction: optionalText(d.Transaction), Letter: optionalNumber(d.Letter), Reason: optionalText(d.Reason),
			Outcome: outcomes[d.Outcome], Error: optionalText(d.Error), Result: optionalText(d.Result),
		})
	}
	if n := len(deeds); n > 0 && int64(n) == limit {
		res.Next = &deeds[n-1].Number
	}
	return res, nil
}
