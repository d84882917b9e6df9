package exchange

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"trestle/homeserver/federation"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// MaxPDUs and MaxEDUs are what a transaction holds at most (Server-Server API § Transactions).
	MaxPDUs = 50
	MaxEDUs = 100
	// roomsAtOnce is for how many rooms a transaction is worked at at the same time.
	roomsAtOnce = 4
	// intakeTime is how long what a transaction brings may take, with all that has to be asked for. The work goes on
	// when the other server does not wait for it.
	intakeTime = 5 * time.Minute
)

// transactionsAtOnce is how many servers are listened to at once.
const transactionsAtOnce = 64

// Transaction takes in the events that a server sends (Server-Server API § Transactions) and says for each by its ID why it is not in
// its room, nil if it is. What has been taken in before changes nothing, so that a repeated transaction does no harm. An error is that
// this server could not take in all of it, which the other one has to send again then.
func (s *Service) Transaction(ctx context.Context, origin matrix.ServerName, pdus []json.RawMessage) (map[matrix.EventID]error, error) {
	unlock, err := s.origins.lock(ctx, origin)
	if err != nil {
		return nil, err
	}
	select {
	case s.free <- struct{}{}:
	case <-ctx.Done():
		unlock()
		return nil, ctx.Err()
	}
	type outcome struct {
		results map[matrix.EventID]error
		err     error
	}
	done := make(chan outcome, 1)
	started := s.background(ctx, func(ctx context.Context) {
		defer unlock()
		defer func() { <-s.free }()
		results, err := s.takeIn(ctx, origin, pdus)
		done <- outcome{results, err}
	})
	if !started {
		unlock()
		<-s.free
		return nil, errClosed
	}
	select {
	case o := <-done:
		return o.results, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

var errClosed = matrix.NewError(http.StatusServiceUnavailable, "M_UNKNOWN", "The server is being stopped.")

// background does something that goes on when nobody waits for it any more, until the service is closed. It reports whether it was begun.
func (s *Service) background(ctx context.Context, do func(context.Context)) bool {
	s.closing.Lock()
	defer s.closing.Unlock()
	if s.running.Err() != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), intakeTime)
	stop := context.AfterFunc(s.running, cancel)
	s.done.Go(func() {
		defer stop()
		defer cancel()
		do(ctx)
	})
	return true
}

// Close ends what is under way and waits for it. What was being taken in, other servers send again.
func (s *Service) Close() {
	s.closing.Lock()
	s.stop()
	s.closing.Unlock()
	s.done.Wait()
}

// delivery is the events of one room in a transaction.
type delivery struct {
	info   *storage.RoomInfo
	events []*matrix.Event
}

// takeIn is an error if this server could not do what it has to: then the other one has to send all of it again.
func (s *Service) takeIn(ctx context.Context, origin matrix.ServerName, pdus []json.RawMessage) (map[matrix.EventID]error, error) {
	results := map[matrix.EventID]error{}
	var mu sync.Mutex
	var failed error
	say := func(id matrix.EventID, err error) {
		mu.Lock()
		defer mu.Unlock()
		results[id] = err
	}
	var wait sync.WaitGroup
	free := make(chan struct{}, roomsAtOnce)
	deliveries, err := s.sort(ctx, origin, pdus, say)
	if err != nil {
		return nil, err
	}
	for _, d := range deliveries {
		free <- struct{}{}
		wait.Go(func() {
			defer func() { <-free }()
			if err := s.deliver(ctx, origin, d, say); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
			}
		})
	}
	wait.Wait()
	return results, failed
}

// sort is the events by their rooms, in the order in which they came. What is of no room that this server takes part in
// is left out.
func (s *Service) sort(ctx context.Context, origin matrix.ServerName, pdus []json.RawMessage, say func(matrix.EventID, error)) ([]*delivery, error) {
	byRoom := map[matrix.RoomID]*delivery{}
	var list []*delivery
	for _, raw := range pdus[:min(len(pdus), MaxPDUs)] {
		var head struct {
			RoomID matrix.RoomID `json:"room_id"`
		}
		if json.Unmarshal(raw, &head) != nil {
			continue // an event without a room, or none: there is nothing to be said by
		}
		d := byRoom[head.RoomID]
		if d == nil {
			info, err := s.Rooms.Info(ctx, head.RoomID)
			if matrix.Code(err) == "M_NOT_FOUND" {
				continue // its ID follows from the room's version
			}
			if err != nil {
				return nil, err
			}
			d = &delivery{info: info}
			byRoom[head.RoomID] = d
			list = append(list, d)
		}
		e, err := federation.Received(d.info.Version, raw)
		if err != nil {
			s.Log.DebugContext(ctx, "an event of another server is none", "origin", origin, "room", head.RoomID, "error", err)
			continue
		}
		say(e.ID, nil)
		d.events = append(d.events, e)
	}
	return list, nil
}

// deliver takes in the events of one room. An error is this server's.
func (s *Service) deliver(ctx context.Context, origin matrix.ServerName, d *delivery, say func(matrix.EventID, error)) error {
	resident, err := s.Rooms.Resident(ctx, d.info)
	var events []*matrix.Event
	if err == nil {
		events, err = s.acceptable(ctx, origin, d, say)
	}
	switch {
	case err != nil:
	case resident:
		err = s.take(ctx, origin, d.info, events, say)
	default:
		err = s.overhear(ctx, d.info, events, say)
	}
	if err == nil || passing(err) {
		return err
	}
	for _, e := range d.events {
		say(e.ID, err)
	}
	return nil
}

// passing reports whether an error is none of the events', and may be over when they come again.
func passing(err error) bool {
	code := matrix.Code(err)
	return code == "" || code == "M_LIMIT_EXCEEDED"
}

// acceptable is the events that are signed and come from where they may.
func (s *Service) acceptable(ctx context.Context, origin matrix.ServerName, d *delivery, say func(matrix.EventID, error)) ([]*matrix.Event, error) {
	if shut, err := s.Rooms.Shut(ctx, d.info.ID, origin); err != nil {
		return nil, err
	} else if shut {
		return nil, matrix.Forbidden("The room does not want events of %s.", origin)
	}
	verified, err := s.Peers.Verified(ctx, d.events)
	if err != nil {
		return nil, err
	}
	good := make(map[matrix.EventID]bool, len(verified))
	for _, e := range verified {
		good[e.ID] = true
	}
	for _, e := range d.events {
		if !good[e.ID] {
			say(e.ID, matrix.Forbidden("The event is not signed as it has to be."))
		}
	}
	return verified, nil
}

// overhear takes in what of a room that this server is not in concerns those who are invited to it or knock at it.
func (s *Service) overhear(ctx context.Context, info *storage.RoomInfo, events []*matrix.Event, say func(matrix.EventID, error)) error {
	for _, e := range events {
		err := s.Rooms.TurnedAway(ctx, info, e)
		if err != nil && passing(err) {
			return err
		}
		say(e.ID, err)
	}
	return nil
}

// take takes in events of one room, in their order, with what has to be known before.
func (s *Service) take(ctx context.Context, origin matrix.ServerName, info *storage.RoomInfo, events []*matrix.Event, say func(matrix.EventID, error)) error {
	for len(events) > 0 {
		arrivals := make([]rooms.Arrival, len(events))
		for i, e := range events {
			arrivals[i].Event = e
		}
		done, err := s.Rooms.Receive(ctx, info.ID, arrivals)
		if err != nil {
			return err
		}
		for i, e := range events {
			// A soft failure is nobody's business: the event is right, and not shown here.
			if done[i].Verdict == storage.Rejected && done[i].Refused != nil {
				say(e.ID, done[i].Refused)
			}
		}
		i := slices.IndexFunc(done, func(r rooms.Reception) bool { return len(r.Missing) > 0 })
		if i < 0 {
			return nil
		}
		if err := s.repair(ctx, origin, info, events[i], done[i].Missing); err != nil {
			if passing(err) {
				return err
			}
			say(events[i].ID, err)
		}
		events = events[i+1:] // of which some may have waited for it, and others are known by now
	}
	return nil
}
