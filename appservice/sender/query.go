package sender

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"trestle/appservice"
	"trestle/internal/matrix"
	"trestle/registration"
)

const (
	// refusedFor is how long a service's "no" is believed.
	refusedFor = 5 * time.Second
	// queryTries is how often a query is made that nobody answers.
	queryTries = 4
	// bystander is how long a service is asked that has not claimed the name
	// for itself: one that watches everybody must not hold up everybody.
	bystander = 5 * time.Second
)

// Exists looks whether the thing that a service was asked for is there. A
// service's word is not enough for that: some answer 200 whatever happens.
type Exists func(ctx context.Context) (bool, error)

// QueryUser asks the services whose namespace the local user is in whether it
// should exist, and returns whether it does now (§ Querying). asker is the ID of
// the service on whose behalf this is done, or empty; it is not asked about
// its own. No lock may be held: the service creates the user meanwhile.
//
// The error, if no service said yes and some could not be asked, is 408 or 502
// with a code as in [Service.Ping].
func (s *Service) QueryUser(ctx context.Context, user matrix.UserID, asker string, exists Exists) (bool, error) {
	set := s.opts.Registry.Load()
	return s.query(ctx, set.UserOwner(user), set.UserWatchers(user), asker, appservice.UserPath(user), exists)
}

// QueryAlias is [Service.QueryUser] for a local room alias.
func (s *Service) QueryAlias(ctx context.Context, alias matrix.RoomAlias, asker string, exists Exists) (bool, error) {
	set := s.opts.Registry.Load()
	if alias.Server() != set.Server() {
		return false, nil
	}
	return s.query(ctx, set.AliasOwner(alias), set.AliasWatchers(alias), asker, appservice.AliasPath(alias), exists)
}

// candidates has the owner first, since it is the one to know.
func candidates(owner *registration.Registration, watchers []*registration.Registration, asker string) []*registration.Registration {
	var list []*registration.Registration
	if owner != nil {
		list = append(list, owner)
	}
	for _, r := range watchers {
		if r != owner {
			list = append(list, r)
		}
	}
	return slices.DeleteFunc(list, func(r *registration.Registration) bool { return r.ID == asker || r.URL == "" })
}

func (s *Service) query(ctx context.Context, owner *registration.Registration, watchers []*registration.Registration,
	asker string, path appservice.Path, exists Exists,
) (bool, error) {
	var unanswered error
	for _, r := range candidates(owner, watchers, asker) {
		yes, err := s.ask(ctx, r.ID, path, r == owner)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			unanswered = err
			continue
		}
		if !yes {
			continue
		}
		found, err := exists(ctx)
		if err != nil {
			return false, fmt.Errorf("look for what application service %s has created: %w", r.ID, err)
		}
		if found {
			return true, nil
		}
	}
	return false, unanswered
}

// ask puts one question to one service, together with everyone who asks the
// same at the same time. It goes on when one of them leaves.
func (s *Service) ask(ctx context.Context, id string, path appservice.Path, owner bool) (bool, error) {
	q := s.queue(id)
	if q == nil || !owner && q.failing() {
		return false, nil
	}
	key := id + "\n" + path.Stable
	if until, ok := s.refused.Get(key); ok && time.Now().Before(until) {
		return false, nil
	}
	flight := s.flights.DoChan(key, func() (any, error) {
		yes, err := s.fly(q, path, owner)
		if err == nil && !yes {
			s.refused.Put(key, time.Now().Add(refusedFor))
		}
		return yes, err
	})
	select {
	case result := <-flight:
		yes, _ := result.Val.(bool)
		return yes, result.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// fly asks until there is an answer or the time is over. A service that is just
// being restarted deserves another try.
func (s *Service) fly(q *queue, path appservice.Path, owner bool) (bool, error) {
	timeout, tries := s.opts.QueryTimeout, queryTries
	if !owner {
		timeout, tries = min(timeout, bystander), 1
	}
	ctx, cancel := context.WithTimeout(s.aborted, timeout)
	defer cancel()
	pause := newBackoff(250*time.Millisecond, 2*time.Second)
	for try := 1; ; try++ {
		_, link := q.to()
		a, err := link.do(ctx, request{method: http.MethodGet, path: path})
		switch {
		case err == nil && a.ok():
			return true, nil
		case err == nil && a.status < 500:
			if a.status != http.StatusNotFound {
				q.log.Warn("application service answered a query strangely", "path", path.Stable, "status", a.status)
			}
			return false, nil
		}
		if try == tries || ctx.Err() != nil {
			if err != nil {
				return false, timeoutFor(unreachable(q.id, err))
			}
			return false, badStatus(q.id, a)
		}
		wait(ctx, pause.next(), nil)
	}
}

// timeoutFor gives a timeout the status that § Querying wants clients to see.
func timeoutFor(err error) error {
	if e, ok := err.(*matrix.Error); ok && e.Status == http.StatusGatewayTimeout {
		copied := *e
		copied.Status = http.StatusRequestTimeout
		return &copied
	}
	return err
}
