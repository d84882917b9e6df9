package ledger

import (
	"context"
	"fmt"
	"strings"
	"time"

	"trestle/appservice"
	"trestle/homeserver/registrar"
	"trestle/internal/matrix"
	"trestle/registration"
)

// Deliveries are what the sender to application services does for operators.
type Deliveries interface {
	Retry(id string)
	Ping(ctx context.Context, id, transactionID string) (time.Duration, error)
	Pause(ctx context.Context, id, reason string) error
	Resume(ctx context.Context, id string) error
	Skip(ctx context.Context, id, transactionID, reason, by string) error
	SkipAll(ctx context.Context, id, reason, by string) (appservice.Skipped, error)
	Forget(ctx context.Context, id string) (appservice.Place, error)
	DeadLetter(ctx context.Context, number int64) (appservice.DeadLetter, error)
	Replay(ctx context.Context, number int64) error
	Discard(ctx context.Context, number int64) error
}

// Registrations are what is done about the registrations of application services.
type Registrations interface {
	Add(ctx context.Context, file string, data []byte, replace bool) (*registrar.Report, string, error)
	Remove(ctx context.Context, id string) (kept string, err error)
	Rotate(ctx context.Context, id string, hsToken bool, grace time.Duration) (*registrar.Rotated, error)
	Reload(ctx context.Context) ([]registration.Change, error)
}

// Pause ends the delivery to a service until Resume.
func (s *Service) Pause(ctx context.Context, by matrix.UserID, id, reason string) error {
	return s.note(ctx, Deed{By: by, Service: id, Action: Pause, Reason: reason}, func() error {
		return s.options.Deliveries.Pause(ctx, id, reason)
	})
}

// Resume goes on with the delivery at once.
func (s *Service) Resume(ctx context.Context, by matrix.UserID, id string) error {
	return s.note(ctx, Deed{By: by, Service: id, Action: Resume}, func() error { return s.options.Deliveries.Resume(ctx, id) })
}

// Retry does not wait for the next attempt.
func (s *Service) Retry(ctx context.Context, by matrix.UserID, id string) error {
	return s.note(ctx, Deed{By: by, Service: id, Action: Retry}, func() error {
		s.options.Deliveries.Retry(id)
		return nil
	})
}

// Ping asks a service whether it is there.
func (s *Service) Ping(ctx context.Context, by matrix.UserID, id string) (took time.Duration, err error) {
	err = s.note(ctx, Deed{By: by, Service: id, Action: Ping}, func() error {
		took, err = s.options.Deliveries.Ping(ctx, id, "")
		return err
	})
	return took, err
}

// needsReason refuses what takes something away for no reason: whoever misses it
// later finds one in the record.
func needsReason(reason string) error {
	if strings.TrimSpace(reason) == "" {
		return matrix.MissingParam("A reason is missing, for whoever misses this later.")
	}
	if text(reason) != reason {
		return matrix.InvalidParam("A reason is a text of at most %d bytes.", maxText)
	}
	return nil
}

// Skip makes a dead letter of the transaction at the head of the queue. It needs a reason.
func (s *Service) Skip(ctx context.Context, by matrix.UserID, id, transactionID, reason string) error {
	if err := needsReason(reason); err != nil {
		return err
	}
	return s.note(ctx, Deed{By: by, Service: id, Action: Skip, Transaction: transactionID, Reason: reason}, func() error {
		return s.options.Deliveries.Skip(ctx, id, transactionID, reason, string(by))
	})
}

// SkipAll skips all that waits for a service. It needs a reason; the record counts
// what was skipped.
func (s *Service) SkipAll(ctx context.Context, by matrix.UserID, id, reason string) (skipped appservice.Skipped, err error) {
	if err := needsReason(reason); err != nil {
		return skipped, err
	}
	err = s.noteResult(ctx, Deed{By: by, Service: id, Action: SkipAll, Reason: reason}, func() (string, error) {
		skipped, err = s.options.Deliveries.SkipAll(ctx, id, reason, string(by))
		return skippedText(skipped), err
	})
	return skipped, err
}

func skippedText(s appservice.Skipped) string {
	most := ""
	if s.AtMost {
		most = "at most "
	}
	return fmt.Sprintf("%s with %s, now dead letters; %s%s not sent",
		counted(s.Transactions, "transaction"), counted(s.Frozen, "event"), most, counted(s.Passed, "event"))
}

// counted is so many of something.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Forget removes what is kept of a service that is not registered. It needs a
// reason; the record counts what that was.
func (s *Service) Forget(ctx context.Context, by matrix.UserID, id, reason string) (place appservice.Place, err error) {
	if err := needsReason(reason); err != nil {
		return place, err
	}
	err = s.noteResult(ctx, Deed{By: by, Service: id, Action: Forget, Reason: reason}, func() (string, error) {
		place, err = s.options.Deliveries.Forget(ctx, id)
		return fmt.Sprintf("position %d, %s with %s, %s", place.Position,
			counted(place.Frozen, "transaction"), counted(place.Events, "event"), counted(place.Letters, "dead letter")), err
	})
	return place, err
}

// Replay sends a dead letter once.
func (s *Service) Replay(ctx context.Context, by matrix.UserID, number int64) error {
	return s.letter(ctx, by, Replay, number, "", s.options.Deliveries.Replay)
}

// Discard removes a dead letter for good. It needs a reason.
func (s *Service) Discard(ctx context.Context, by matrix.UserID, number int64, reason string) error {
	if err := needsReason(reason); err != nil {
		return err
	}
	return s.letter(ctx, by, Discard, number, reason, s.options.Deliveries.Discard)
}

func (s *Service) letter(ctx context.Context, by matrix.UserID, action Action, number int64, reason string, do func(context.Context, int64) error) error {
	l, err := s.options.Deliveries.DeadLetter(ctx, number)
	if err != nil {
		return err
	}
	d := Deed{By: by, Service: l.Service, Action: action, Transaction: l.Transaction, Letter: number, Reason: reason}
	return s.note(ctx, d, func() error { return do(ctx, number) })
}

// Rotate gives a service another as_token, and another hs_token if that is
// wanted; the ones before are good for a while. The record has none of them.
func (s *Service) Rotate(ctx context.Context, by matrix.UserID, id string, hsToken bool, grace time.Duration) (rotated *registrar.Rotated, err error) {
	what := "the service's token"
	if hsToken {
		what = "both tokens"
	}
	err = s.note(ctx, Deed{By: by, Service: id, Action: Rotate, Reason: what + "; old ones are " + usable(grace)}, func() error {
		rotated, err = s.options.Registrations.Rotate(ctx, id, hsToken, grace)
		return err
	})
	return rotated, err
}

func usable(grace time.Duration) string {
	switch {
	case grace <= 0:
		return "refused at once"
	case grace%time.Hour == 0:
		return fmt.Sprintf("good for %d h", grace/time.Hour)
	}
	return "good for " + grace.String()
}

// Add puts a registration in force.
func (s *Service) Add(ctx context.Context, by matrix.UserID, file string, data []byte, replace bool) (report *registrar.Report, path string, err error) {
	reg, err := registration.Parse(file, data)
	if err != nil {
		// It says what is wrong, and changes nothing.
		return s.options.Registrations.Add(ctx, file, data, replace)
	}
	err = s.note(ctx, Deed{By: by, Service: reg.ID, Action: Add}, func() error {
		report, path, err = s.options.Registrations.Add(ctx, file, data, replace)
		return err
	})
	return report, path, err
}

// Remove takes a registration out of force. It needs a reason.
func (s *Service) Remove(ctx context.Context, by matrix.UserID, id, reason string) (kept string, err error) {
	if err := needsReason(reason); err != nil {
		return "", err
	}
	err = s.note(ctx, Deed{By: by, Service: id, Action: Remove, Reason: reason}, func() error {
		kept, err = s.options.Registrations.Remove(ctx, id)
		return err
	})
	return kept, err
}

// Reload reads all registrations again.
func (s *Service) Reload(ctx context.Context, by matrix.UserID) (changes []registration.Change, err error) {
	err = s.note(ctx, Deed{By: by, Action: Reload}, func() error {
		changes, err = s.options.Registrations.Reload(ctx)
		return err
	})
	return changes, err
}
