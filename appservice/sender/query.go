package sender

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
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
	// silentFor is how long it is believed that such a one does not answer.
	silentFor = 30 * time.Second
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

// query asks the owner first, since it is the one to know, and then at once all who
// watch the name: however many they are, they hold nobody up longer than one does.
func (s *Service) query(ctx context.Context, owner *registration.Registration, watchers []*registration.Registration,
	asker string, path appservice.Path, exists Exists,
) (bool, error) {
	asked := func(r *registration.Registration) bool { return r != nil && r.ID != asker && r.URL != "" }
	var unanswered error
	if asked(owner) {
		yes, err := s.made(ctx, owner.ID, path, true, exists)
		if yes || ctx.Err() != nil {
			return yes, err
		}
		unanswered = err
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result, len(watchers))
	for _, r := range watchers {
		if r == owner || !asked(r) {
			results <- result{}
			continue
		}
		asking.Go(func() {
			yes, err := s.made(ctx, r.ID, path, false, exists)
			results <- result{yes, err}
		})
	}
	for range watchers {
		r := <-results
		if r.yes || ctx.Err() != nil {
			return r.yes, r.err
		}
		if r.err != nil {
			unanswered = r.err
		}
	}
	return false, unanswered
}

// A result is what became of one question.
type result struct {
	yes bool
	err error
}

// made asks one service, and reports whether what it was asked for is there now. An
// error that is no [matrix.Error] is the homeserver's own.
func (s *Service) made(ctx context.Context, id string, path appservice.Path, owner bool, exists Exists) (bool, error) {
	yes, err := s.ask(ctx, id, path, owner)
	if !yes || err != nil {
		return false, err
	}
	found, err := exists(ctx)
	if err != nil {
		return false, fmt.Errorf("look for what application service %s has created: %w", id, err)
	}
	return found, nil
}

// ask puts one question to one service, together with everyone who asks the
// same at the same time. It goes on when one of them leaves.
func (s *Service) ask(ctx context.Context, id string, path appservice.Path, owner bool) (bool, error) {
	q := s.queue(id)
	if q == nil || !owner && (q.failing() || s.believed(silent(id))) {
		return false, nil
	}
	key := id + "\n" + path.Stable
	if s.believed(key) {
		return false, nil
	}
	flight := s.flights.DoChan(key, func() (any, error) {
		yes, err := s.fly(q, path, owner)
		switch {
		case err != nil && !owner:
			s.refused.Put(silent(id), time.Now().Add(silentFor))
		case err == nil && !yes:
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

// silent is what is remembered of a service that has not answered a query.
func silent(id string) string { return id + "\nqueries" }

// believed reports whether a service's no, or its silence, is still remembered.
func (s *Service) believed(key string) bool {
	until, ok := s.refused.Get(key)
	return ok && time.Now().Before(until)
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
	var said error // by a service that answered, and could not
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
		if err == nil {
			said = cannot(q.id, a)
		}
		if try == tries || ctx.Err() != nil {
			if said != nil {
				return false, said
			}
			return false, timeoutFor(unreachable(q.id, err))
		}
		wait(ctx, pause.next(), nil)
	}
}

// maxSentence bounds what is passed on of a service's own words.
const maxSentence = 500

// cannot is the error for who asked, in the service's words if it has any.
func cannot(id string, a answer) error {
	err := badStatus(id, a)
	var own struct {
		Code    string `json:"errcode"`
		Message string `json:"error"`
	}
	if json.Unmarshal(a.body, &own) != nil || own.Code == "" || own.Message == "" || len(own.Message) > maxSentence {
		return err
	}
	return matrix.NewError(err.Status, err.Code, "The application service %s cannot say: %s", id, own.Message).
		With("status", a.status)
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
