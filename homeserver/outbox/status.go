package outbox

import (
	"cmp"
	"context"
	"slices"
	"time"

	"trestle/internal/matrix"
)

// A Status is how it stands with another server, as far as that is remembered since the start.
type Status struct {
	Server  matrix.ServerName
	Waiting int // events
	// FailingSince is when it did not take what it was sent for the first time since it did last, and NextAttempt when it is
	// tried again, if it is not heard from before. Zero: it takes what it is sent, or is at its turn.
	FailingSince, NextAttempt time.Time
	LastSuccess               time.Time
	LastError                 string
	LastErrorAt               time.Time
}

// Servers is how it stands with all other servers that were sent something since the start, or for which something waits: in
// the order of their names.
func (s *Service) Servers(ctx context.Context) []Status {
	var list []Status
	s.desk.ask(ctx, func() {
		for _, d := range s.desk.destinations {
			status := Status{
				Server: d.name, Waiting: max(0, d.waiting+d.arrived), FailingSince: d.since,
				LastSuccess: d.lastTaken, LastError: d.lastError, LastErrorAt: d.lastFail,
			}
			if d.state == resting {
				status.NextAttempt = d.at
			}
			list = append(list, status)
		}
	})
	slices.SortFunc(list, func(a, b Status) int { return cmp.Compare(a.Server, b.Server) })
	return list
}

// Retry does not wait any longer for the next attempt to send something to a server.
func (s *Service) Retry(ctx context.Context, name matrix.ServerName) {
	s.Client.Heard(name) // or it would be left alone all the same
	s.desk.ask(ctx, func() {
		if d := s.desk.destinations[name]; d != nil && d.state == resting {
			s.desk.hurry(d)
		}
	})
}
