package irc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"trestle/bridges/irc/wire"
)

// awayAtMost bounds for how long a server that did not answer is left alone: all puppets
// wait for it, and it may be back.
const awayAtMost = 30 * time.Second

// servers are a network's addresses, in the order in which they are preferred, and which
// of them did not answer lately. They are safe for concurrent use.
type servers struct {
	backoff Backoff

	mu  sync.Mutex
	all []*server
}

type server struct {
	addr     string
	failures int       // in a row
	until    time.Time // left alone until then
}

func newServers(addrs []string, backoff Backoff) *servers {
	s := &servers{backoff: Backoff{backoff.First, min(backoff.Max, awayAtMost)}}
	for _, addr := range addrs {
		s.all = append(s.all, &server{addr: addr})
	}
	return s
}

// next is the first server that is not left alone and was not tried; a scout gets, when there is none,
// the one that has been left alone for longest. Otherwise the error says when there will be one.
func (s *servers) next(now time.Time, tried []string, scout bool) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var soonest *server
	for _, one := range s.all {
		if slices.Contains(tried, one.addr) {
			continue
		}
		if !one.until.After(now) {
			return one.addr, nil
		}
		if soonest == nil || one.until.Before(soonest.until) {
			soonest = one
		}
	}
	switch {
	case soonest == nil:
		return "", errAllTried
	case scout && len(tried) == 0:
		return soonest.addr, nil
	}
	return "", &awayError{soonest.until.Sub(now)}
}

// note takes what became of an attempt. Those that fail together count once.
func (s *servers) note(addr string, began, now time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(addr)
	if i < 0 {
		return // it is not one of the network's any more
	}
	one := s.all[i]
	switch {
	case !unreachable(err):
		one.failures, one.until = 0, time.Time{}
	case !one.until.After(began):
		one.failures++
		one.until = now.Add(s.backoff.delay(one.failures))
	}
}

// unreachable tells whether an error says something about the server rather than about who
// wanted to connect.
func unreachable(err error) bool {
	_, answered := errors.AsType[*wire.RegisterError](err)
	return err != nil && !answered && !errors.Is(err, context.Canceled) && !errors.Is(err, errNoSource) && !errors.Is(err, wire.ErrMalformed)
}

// elsewhere tells whether another server may do better.
func elsewhere(err error) bool { return unreachable(err) || errors.Is(err, wire.ErrRefused) }

var errAllTried = errors.New("no server is left to be tried")

// An awayError means that none of a network's servers answered lately.
type awayError struct{ wait time.Duration }

// Error says how long nobody will be asked.
func (e *awayError) Error() string {
	return fmt.Sprintf("no server has answered; trying again in %s", e.wait.Round(time.Second))
}

// A pace lets connections begin one after the other, with jitter: the first few at once.
type pace struct {
	mu     sync.Mutex
	config Pace
	next   time.Time // when the next one would begin if there were no burst
}

// reserve takes a place and says how long it has to wait.
func (p *pace) reserve(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.config.Interval <= 0 {
		return 0
	}
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now) - time.Duration(max(p.config.Burst, 1)-1)*p.config.Interval
	p.next = p.next.Add(p.config.Interval)
	if wait <= 0 {
		return 0
	}
	return wait + time.Duration(rand.Int64N(int64(p.config.Interval)/2+1))
}

// wait waits for a place.
func (p *pace) wait(ctx context.Context) error {
	wait := p.reserve(time.Now())
	if wait == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
