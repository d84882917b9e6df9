// Package record is what the operator's console keeps: which browsers an
// administrator has signed in with, and how the delivery to application services
// stood in each minute of the last day.
package record

import (
	"context"
	"fmt"
	"sync"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/browsers"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	// Lifetime is how long somebody stays signed in, whatever they do.
	Lifetime = 4 * time.Hour
	// Span is how far back samples are kept.
	Span = 24 * time.Hour
	// maxServices is of how many services samples are kept.
	maxServices = 1000
)

// Options are what a [Service] works with. All but Now are needed.
type Options struct {
	Accounts *accounts.Service
	DB       *database.DB
	Store    *storage.Console
	Now      func() time.Time
}

// Service keeps sessions and samples.
type Service struct {
	options Options

	mu   sync.Mutex
	seen map[string]Count // by service, when the last samples were taken
}

// New makes the service.
func New(options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Service{options: options, seen: map[string]Count{}}
}

// A Session is an administrator who has signed in.
type Session struct {
	User    matrix.UserID
	Expires time.Time
}

// Session is whose browser has been given a cookie; nil if nobody has signed in
// with it who is an administrator in good standing now.
func (s *Service) Session(ctx context.Context, cookie string) (*Session, error) {
	if !browsers.Plausible(cookie) {
		return nil, nil
	}
	found, err := s.options.Store.Session(ctx, browsers.HashOf(cookie), s.options.Now().UnixMilli())
	if err != nil || found == nil {
		return nil, err
	}
	return &Session{found.UserID, time.UnixMilli(found.ExpiresAt)}, nil
}

// SignIn checks a password, and admits its owner. The errors are those of
// [accounts.Service.SignIn] and of Admit.
func (s *Service) SignIn(ctx context.Context, typed, password string) (cookie string, err error) {
	user, err := s.options.Accounts.SignIn(ctx, accounts.NamedLogin(typed, password))
	if err != nil {
		return "", err
	}
	return s.Admit(ctx, user)
}

// Admit checks that somebody who has shown who they are is an administrator in
// good standing, or M_FORBIDDEN; the cookie that it makes lets a browser in.
func (s *Service) Admit(ctx context.Context, user matrix.UserID) (cookie string, err error) {
	if err := s.options.Accounts.MayAct(ctx, user); err != nil {
		return "", err
	}
	account, err := s.options.Accounts.Account(ctx, user)
	if err != nil {
		return "", err
	}
	if !account.Admin {
		return "", matrix.Forbidden("Only an administrator of this server can use the console.")
	}
	cookie = browsers.NewSecret()
	now := s.options.Now()
	return cookie, s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.SaveSession(ctx, tx, browsers.HashOf(cookie), storage.ConsoleSession{
			UserID: user, Since: now.UnixMilli(), ExpiresAt: now.Add(Lifetime).UnixMilli(),
		})
	})
}

// SignOut ends what Admit began, in this browser or in all of the user's.
func (s *Service) SignOut(ctx context.Context, cookie string, everywhere bool) error {
	session, err := s.Session(ctx, cookie)
	if err != nil {
		return err
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		err := s.options.Store.DeleteSession(ctx, tx, browsers.HashOf(cookie))
		if err == nil && everywhere && session != nil {
			err = s.options.Store.DeleteOfUser(ctx, tx, session.User)
		}
		return err
	})
}

// Tidy deletes sessions that have ended.
func (s *Service) Tidy(ctx context.Context) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.DeleteOldSessions(ctx, tx, s.options.Now().UnixMilli())
	})
}

// A Count is how the delivery to a service stands. Events and Failures are
// counted since the server has started.
type Count struct {
	Service  string
	Backlog  int
	Oldest   time.Time // the oldest event that waits, or zero
	Events   uint64
	Failures uint64
}

// since is what has happened after another count, or from zero if counting has
// begun anew.
func since(now, before uint64) int64 {
	if now < before {
		before = 0
	}
	return int64(now - before)
}

// Sample keeps how the delivery stands, for the minute that it is.
func (s *Service) Sample(ctx context.Context, counts []Count) error {
	now := s.options.Now()
	minute := now.Truncate(time.Minute).UnixMilli()
	counts = counts[:min(len(counts), maxServices)]
	samples := make([]storage.DeliverySample, len(counts))
	seen := make(map[string]Count, len(counts))
	s.mu.Lock()
	before := s.seen
	s.mu.Unlock()
	for i, c := range counts {
		p := storage.DeliverySample{Service: c.Service, At: minute, Backlog: int64(c.Backlog)}
		if !c.Oldest.IsZero() {
			p.Age = max(0, now.Sub(c.Oldest).Milliseconds())
		}
		p.Events, p.Failures = since(c.Events, before[c.Service].Events), since(c.Failures, before[c.Service].Failures)
		samples[i], seen[c.Service] = p, c
	}
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.SaveSamples(ctx, tx, samples, minute-Span.Milliseconds())
	})
	if err != nil {
		return fmt.Errorf("keep samples of deliveries: %w", err)
	}
	s.mu.Lock()
	s.seen = seen // what was not kept is counted with the next
	s.mu.Unlock()
	return nil
}

// A Sample is how the delivery to a service stood in a minute.
type Sample struct {
	At       time.Time
	Backlog  int64
	Age      time.Duration
	Events   int64
	Failures int64
}

// Samples are those of a service in the last day, in order.
func (s *Service) Samples(ctx context.Context, service string) ([]Sample, error) {
	list, err := s.options.Store.Samples(ctx, service, s.options.Now().Add(-Span).UnixMilli())
	if err != nil {
		return nil, err
	}
	samples := make([]Sample, len(list))
	for i, p := range list {
		samples[i] = Sample{time.UnixMilli(p.At), p.Backlog, time.Duration(p.Age) * time.Millisecond, p.Events, p.Failures}
	}
	return samples, nil
}
