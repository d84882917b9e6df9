package adminapi

import (
	"context"

	"trestle/appservice"
	"trestle/homeserver/api"
)

// A shownLetter is a dead letter. Body is the exact text that was sent, and not
// in lists.
type shownLetter struct {
	Number      int64   `json:"number"`
	Service     string  `json:"appservice"`
	Transaction string  `json:"transaction_id"`
	Position    int64   `json:"position"`
	Events      int     `json:"events"`
	Oldest      *int64  `json:"oldest_ts"`
	Size        int     `json:"size"`
	Reason      *string `json:"reason"`
	By          string  `json:"skipped_by"`
	SkippedAt   int64   `json:"skipped_ts"`
	Attempts    int     `json:"attempts"`
	LastError   *string `json:"last_error"`
	FailedAt    *int64  `json:"last_error_ts"`
	Body        *string `json:"body,omitempty"`
}

func newShownLetter(l *appservice.DeadLetter) *shownLetter {
	return &shownLetter{
		Number: l.Number, Service: l.Service, Transaction: l.Transaction, Position: l.Position, Events: l.Events,
		Oldest: optionalNumber(l.Oldest), Size: l.Size, Reason: optionalText(l.Reason), By: l.By, SkippedAt: l.SkippedAt,
		Attempts: l.Attempts, LastError: optionalText(l.LastError), FailedAt: optionalNumber(l.FailedAt), Body: optionalText(string(l.Body)),
	}
}

type listLettersRequest struct {
	serviceRequest
	page
}

type listLettersResponse struct {
	Letters []*shownLetter `json:"dead_letters"`
	Next    *int64         `json:"next_token,omitempty"`
}

func (a *appservicesAPI) letters(ctx context.Context, _ api.Caller, req *listLettersRequest) (*listLettersResponse, error) {
	return a.lettersOf(ctx, req.ID, req.page)
}

// allLetters are those of services that are gone, too.
func (a *appservicesAPI) allLetters(ctx context.Context, _ api.Caller, req *page) (*listLettersResponse, error) {
	return a.lettersOf(ctx, "", *req)
}

// lettersOf is a page of letters; from is the number of the last one that was
// seen.
func (a *appservicesAPI) lettersOf(ctx context.Context, service string, p page) (*listLettersResponse, error) {
	from, limit, err := p.bounds()
	if err != nil {
		return nil, err
	}
	list, err := a.sender.DeadLetters(ctx, service, from, int(limit))
	if err != nil {
		return nil, err
	}
	res := &listLettersResponse{Letters: []*shownLetter{}}
	for i := range list {
		res.Letters = append(res.Letters, newShownLetter(&list[i]))
	}
	if n := len(list); n > 0 && int64(n) == limit {
		res.Next = &list[n-1].Number
	}
	return res, nil
}

type letterRequest struct {
	Number int64 `path:"number"`
}

func (a *appservicesAPI) letter(ctx context.Context, _ api.Caller, req *letterRequest) (*shownLetter, error) {
	l, err := a.sender.DeadLetter(ctx, req.Number)
	if err != nil {
		return nil, err
	}
	return newShownLetter(&l), nil
}

func (a *appservicesAPI) replay(ctx context.Context, who api.Caller, req *letterRequest) (*struct{}, error) {
	return nil, a.ledger.Replay(ctx, who.UserID, req.Number)
}

type discardRequest struct {
	letterRequest
	Reason string `query:"reason"`
}

func (a *appservicesAPI) discard(ctx context.Context, who api.Caller, req *discardRequest) (*struct{}, error) {
	return nil, a.ledger.Discard(ctx, who.UserID, req.Number, req.Reason)
}
