// Package sender is the homeserver's side of the Application Service API: it
// delivers the stream to services and asks them questions. It knows the
// homeserver only by the interfaces that it declares.
//
// What a service is interested in reaches it at least once, in the order of the
// stream, for the stream is its queue: a cursor for each service says how far
// it has been frozen into transactions, and a transaction that has been frozen
// is sent, with the same ID and the same bytes, until the service accepts it, or
// until an operator makes a dead letter of it. Nothing else ends it, but that an
// operator skips all that waits, or forgets a service that is gone.
package sender

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"trestle/appservice"
	"trestle/registration"
)

// A Store keeps cursors and frozen transactions, and what operators decide.
type Store interface {
	Pauses
	Silences
	Letters
	Places

	// Begin returns the cursor of a service. If there is none, it stores the
	// given one and returns that.
	Begin(ctx context.Context, c appservice.Cursor) (appservice.Cursor, error)
	// Waiting returns the frozen transactions of a service with numbers above
	// after, in order.
	Waiting(ctx context.Context, service string, after int64) ([]appservice.Frozen, error)
	// Freeze stores transactions of a service, which follow each other, moves the
	// cursor to the position and number of the last, and removes the transactions
	// up to the number acked, all in one transaction of the database. It fails,
	// and changes nothing, unless the cursor's number is the one before the first.
	Freeze(ctx context.Context, list []appservice.Frozen, acked int64) error
	// Acknowledge removes the transactions up to a number.
	Acknowledge(ctx context.Context, service string, acked int64) error
	// Advance moves cursors forward, each unless its number has changed.
	Advance(ctx context.Context, cursors []appservice.Cursor) error
}

// Pauses keeps which services are sent nothing.
type Pauses interface {
	Pause(ctx context.Context, p appservice.Pause) error
	Resume(ctx context.Context, service string) error
	// Paused is the pause of a service, or nil.
	Paused(ctx context.Context, service string) (*appservice.Pause, error)
}

// Silences keeps since when services want to hear nothing.
type Silences interface {
	// Silence notes the position from which a service's registration has had no
	// URL, if it has a cursor and none is noted yet.
	Silence(ctx context.Context, service string, position int64) error
	// EndSilence stores that the events from there up to a position are not sent,
	// and returns the cursor.
	EndSilence(ctx context.Context, service string, position int64) (appservice.Cursor, error)
}

// Letters keeps dead letters.
type Letters interface {
	// Bury makes a dead letter of the transaction with a number, the first of
	// the service that waits, and removes it and those before, all in one
	// transaction of the database. It returns the letter's own number. It
	// fails, and changes nothing, if there is no such transaction.
	Bury(ctx context.Context, number int64, l appservice.DeadLetter) (int64, error)
	// BuryAll makes dead letters of all transactions of a service with numbers
	// above acked, and stores in its cursor that no events up to a position are
	// sent, all in one transaction of the database. It moves the cursor's number,
	// so that nothing is frozen that was on its way. It returns how many
	// transactions that are, and how many events are in them.
	BuryAll(ctx context.Context, acked, upTo int64, l appservice.DeadLetter) (transactions, events int, err error)
	// Letters returns letters of a service, or of all if none is named, with
	// numbers above after, in order, without their bodies.
	Letters(ctx context.Context, service string, after int64, limit int) ([]appservice.DeadLetter, error)
	// Letter is a letter with its body, or nil.
	Letter(ctx context.Context, number int64) (*appservice.DeadLetter, error)
	// CountLetters is how many letters a service has.
	CountLetters(ctx context.Context, service string) (int, error)
	// LetterFailed notes an attempt in vain.
	LetterFailed(ctx context.Context, number int64, problem string, at int64) error
	// RemoveLetter removes a letter and says whether it was there.
	RemoveLetter(ctx context.Context, number int64) (bool, error)
}

// Places keeps how far the delivery to services has come, those that are gone too.
type Places interface {
	// Places is what is kept of each service.
	Places(ctx context.Context) ([]appservice.Place, error)
	// Forget removes all that is kept of a service and returns what that was, or
	// nil if there was nothing.
	Forget(ctx context.Context, service string) (*appservice.Place, error)
}

// Options is what a Service needs, and how it behaves where the defaults do
// not fit.
type Options struct {
	Registry  *registration.Registry
	Store     Store
	Stream    Stream
	Ephemeral Source // receipts and whatever else has a position; may be nil
	ToDevice  Source // may be nil
	Devices   Source // changes of device lists; may be nil
	Keys      Source // counts of unused keys; may be nil
	Rooms     Rooms
	Logger    *slog.Logger

	// Serves reports whether services are this process's to speak to, and not
	// another's by now; it is asked before each request. nil: they are.
	Serves func() bool

	TLS       *tls.Config // of connections to services; nil is Go's default
	UserAgent string
	// Transport replaces HTTP in tests.
	Transport func(*registration.Registration) http.RoundTripper

	MaxEvents  int           // in a transaction, of each kind; 100
	MaxBytes   int           // of a transaction, about; 1 MiB
	Ahead      int           // frozen transactions that wait for one service, if they are small; 12
	Timeout    time.Duration // of a transaction; 60 s
	BackoffMin time.Duration // 1 s
	BackoffMax time.Duration // 1 min
	SaveEvery  time.Duration // how often cursors of idle services are stored; 15 s

	QueryTimeout      time.Duration // of user and alias queries, with their retries; 30 s
	ThirdPartyTimeout time.Duration // 10 s
	PingTimeout       time.Duration // 10 s
	KeysTimeout       time.Duration // of claims and queries of keys; 5 s
}

func (o Options) withDefaults() Options {
	number := func(p *int, value int) {
		if *p <= 0 {
			*p = value
		}
	}
	duration := func(p *time.Duration, value time.Duration) {
		if *p <= 0 {
			*p = value
		}
	}
	number(&o.MaxEvents, 100)
	number(&o.MaxBytes, 1<<20)
	number(&o.Ahead, 12)
	duration(&o.Timeout, time.Minute)
	duration(&o.BackoffMin, time.Second)
	duration(&o.BackoffMax, time.Minute)
	duration(&o.SaveEvery, 15*time.Second)
	duration(&o.QueryTimeout, 30*time.Second)
	duration(&o.ThirdPartyTimeout, 10*time.Second)
	duration(&o.PingTimeout, 10*time.Second)
	duration(&o.KeysTimeout, 5*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.UserAgent == "" {
		o.UserAgent = "Trestle"
	}
	return o
}
