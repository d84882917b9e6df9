// Package ledger is what operators do about application services, and the record
// of it. Whoever lets them do something does so by its methods, which write down
// who did what and when before they do it, and afterwards how it ended.
package ledger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// Span is how far back the record goes.
	Span = 365 * 24 * time.Hour
	// maxDeeds is how many of them are kept, whatever their age.
	maxDeeds = 10_000
	// maxPage is the longest part of the record that is given out at once.
	maxPage = 1000
	// maxText bounds a text in the record, in bytes.
	maxText = 1000
)

// An Action is what an operator does.
type Action string

// The actions.
const (
	Pause   Action = "pause"
	Resume  Action = "resume"
	Retry   Action = "retry"
	Ping    Action = "ping"
	Skip    Action = "skip"
	SkipAll Action = "skip_all"
	Forget  Action = "forget"
	Replay  Action = "replay"
	Discard Action = "discard"
	Rotate  Action = "rotate_token"
	Add     Action = "add"
	Remove  Action = "remove"
	Reload  Action = "reload"
)

// An Outcome is how something ended.
type Outcome int64

// The outcomes. One is unknown while something is being done, or if the server
// died in the middle of it.
const (
	Unknown Outcome = iota
	Done
	Failed
)

// A Deed is something that an operator has done, or tried to.
type Deed struct {
	Number      int64
	At          time.Time
	By          matrix.UserID
	Service     string // empty: all
	Action      Action
	Transaction string // or empty
	Letter      int64  // or 0
	Reason      string // what the operator said, or what else there is to say
	Outcome     Outcome
	Error       string // of what failed
	Result      string // what came of it, if that is more than the outcome
}

// Options are what a [Service] works with. All but Now are needed.
type Options struct {
	Store         *storage.AppServiceLog
	Deliveries    Deliveries
	Registrations Registrations
	Log           *slog.Logger
	Now           func() time.Time
}

// Service does what operators want done.
type Service struct{ options Options }

// New makes the service.
func New(options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Service{options}
}

// note does something and keeps a record of it. What was asked for in a wrong
// way, or of nobody, was never begun, and leaves none.
func (s *Service) note(ctx context.Context, d Deed, do func() error) error {
	return s.noteResult(ctx, d, func() (string, error) { return "", do() })
}

// noteResult is note for what has a result to keep.
func (s *Service) noteResult(ctx context.Context, d Deed, do func() (result string, err error)) error {
	number, err := s.options.Store.Add(ctx, storage.AppServiceDeed{
		At: s.options.Now().UnixMilli(), By: d.By, Service: text(d.Service), Action: string(d.Action),
		Transaction: text(d.Transaction), Letter: d.Letter, Reason: text(d.Reason),
	}, maxDeeds)
	if err != nil {
		return fmt.Errorf("write down what an operator does: %w", err)
	}
	result, err := do()
	ctx = context.WithoutCancel(ctx) // it has happened
	if unwritten := s.finish(ctx, number, result, err); unwritten != nil {
		s.options.Log.ErrorContext(ctx, "how an operator's deed ended is not on record", "action", d.Action, "appservice", d.Service, "err", unwritten)
	}
	return err
}

func (s *Service) finish(ctx context.Context, number int64, result string, err error) error {
	var known *matrix.Error
	switch {
	case err == nil:
		return s.options.Store.Finish(ctx, number, int64(Done), "", text(result))
	case errors.As(err, &known) && (known.Status == http.StatusBadRequest || known.Status == http.StatusNotFound):
		return s.options.Store.Remove(ctx, number)
	case known != nil:
		return s.options.Store.Finish(ctx, number, int64(Failed), text(known.Message), "")
	}
	return s.options.Store.Finish(ctx, number, int64(Failed), text(err.Error()), "")
}

// text is one that can be stored, and is not too long.
func text(t string) string {
	t = strings.ReplaceAll(strings.ToValidUTF8(t, "\uFFFD"), "\x00", "\uFFFD")
	return strings.ToValidUTF8(t[:min(len(t), maxText)], "")
}

// Deeds are those about a service, or all if none is named, the newest first:
// those with numbers below one, or from the newest if it is 0. At most 1,000.
func (s *Service) Deeds(ctx context.Context, service string, below int64, limit int) ([]Deed, error) {
	if text(service) != service {
		return nil, matrix.NotFound("There is no application service of that name.")
	}
	stored, err := s.options.Store.List(ctx, service, below, min(limit, maxPage))
	if err != nil {
		return nil, err
	}
	list := make([]Deed, len(stored))
	for i, d := range stored {
		list[i] = Deed{
			Number: d.Number, At: time.UnixMilli(d.At), By: d.By, Service: d.Service, Action: Action(d.Action),
			Transaction: d.Transaction, Letter: d.Letter, Reason: d.Reason, Outcome: Outcome(d.Outcome), Error: d.Error, Result: d.Result,
		}
	}
	return list, nil
}

// Tidy forgets what was long ago.
func (s *Service) Tidy(ctx context.Context) error {
	return s.options.Store.RemoveUntil(ctx, s.options.Now().Add(-Span).UnixMilli())
}
