package rooms

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// MaxSteps is how many events one ordered request may have. They are decided under one hold of the
// room's lock, which everybody else who writes there waits for.
const MaxSteps = 100

// A Sent is what became of one event of an ordered request.
type Sent struct {
	ID  matrix.EventID
	Err error // a Matrix error: why it was refused; nil if it is in the room
}

// SendOrdered adds events to one room in their order, all that go together in one transaction.
// Each is held to what Send holds it to, and can be repeated like there. Where one is refused
// the others go on, unless stop is set or it is no matter of the event itself (see [Halts]): then what is
// behind it is not tried, and the answer is that much shorter.
//
// After an error nobody knows what is in the room; a repeat finds what is.
func (s *Service) SendOrdered(ctx context.Context, room matrix.RoomID, reqs []SendRequest, stop bool) ([]Sent, error) {
	info, err := s.known(ctx, room)
	if err != nil {
		return nil, err
	}
	// Who is new here gets a number now, not one by one under the room's lock.
	senders := make([]string, len(reqs))
	for i, req := range reqs {
		senders[i] = string(req.Sender)
	}
	if _, err := s.store.Users.NIDs(ctx, senders); err != nil {
		return nil, err
	}
	var all []Sent
	g := group{stop: stop, repeats: s.repeatsOf(reqs)}
	for beaten := 0; len(all) < len(reqs); {
		sent, err := s.sendGroup(ctx, info, reqs[len(all):], g)
		if database.IsUnique(err) && beaten < staleRetries {
			beaten++
			g.repeats.doubt() // one of them was sent before, and will be found
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, sent...)
		if last := sent[len(sent)-1].Err; last != nil && (stop || Halts(last)) {
			break
		}
	}
	return all, nil
}

// Halts tells whether a refusal ends an ordered request: it can be over a moment later, and the event
// is to be tried again before those behind it.
func Halts(err error) bool {
	var refused *matrix.Error
	return errors.As(err, &refused) &&
		(refused.Status >= http.StatusInternalServerError || refused.Status == http.StatusTooManyRequests || refused.Code == newcomerCode)
}

// A group says how requests go together.
type group struct {
	stop    bool          // nothing behind one that is refused
	repeats *orderedLooks // for the events that they made before; nil: the caller has looked
}

// sendGroup sends the first of some requests, at least one: up to the first that has more to do than to
// add an event, or that is refused and ends them all.
func (s *Service) sendGroup(ctx context.Context, info *storage.RoomInfo, reqs []SendRequest, g group) ([]Sent, error) {
	outcomes := make([]outcome, 0, len(reqs))
	for _, req := range reqs {
		var err error
		p := plan{req: req}
		if g.repeats != nil {
			p.id, err = g.repeats.first(ctx, info, req)
		}
		if p.id == "" && err == nil {
			p, err = s.prepare(ctx, info, req)
		}
		if err != nil && matrix.Code(err) == "" {
			return nil, err
		}
		outcomes = append(outcomes, outcome{plan: p, id: p.id, refused: err})
		if err != nil && (g.stop || Halts(err)) || p.then != nil {
			break
		}
	}
	outcomes, err := s.carryOut(ctx, info, outcomes, g.stop)
	if err == nil && g.repeats != nil {
		err = g.repeats.refused(ctx, info, outcomes)
	}
	if err != nil {
		return nil, err
	}
	sent := make([]Sent, len(outcomes))
	for i, o := range outcomes {
		if o.refused == nil && o.plan.then != nil {
			if o.refused = o.plan.then(ctx, o.same); o.refused != nil && matrix.Code(o.refused) == "" {
				return nil, o.refused
			}
		}
		if sent[i].Err = o.refused; o.refused == nil {
			sent[i].ID = o.id
		}
	}
	return sent, nil
}

// An outcome is what became of a plan.
type outcome struct {
	plan    plan
	id      matrix.EventID
	same    bool    // the state was that already
	sending sending // the event that was made for it; its batch is nil for one of the draft's own
	refused error
}

// carryOut runs plans on one draft and waits until what they made is committed. Those behind a refusal that
// ends them all are left out.
func (s *Service) carryOut(ctx context.Context, info *storage.RoomInfo, planned []outcome, stop bool) ([]outcome, error) {
	for range staleRetries {
		var done []outcome
		_, err := s.update(ctx, info.NID, func(d *draft) error {
			done = append([]outcome(nil), planned...)
			for i := range done {
				if err := d.carryOut(&done[i]); err != nil {
					return err
				}
				if refused := done[i].refused; refused != nil && (stop || Halts(refused)) {
					done = done[:i+1]
					break
				}
			}
			return nil
		})
		if err == nil {
			err = settled(done)
		}
		if !errors.Is(err, errStale) {
			return done, err
		}
	}
	return nil, errStale
}

// settled waits for events that other requests of the same transactions have made.
func settled(done []outcome) (err error) {
	for i := range done {
		o := &done[i]
		switch {
		case o.sending.event == nil:
		case o.sending.batch == nil:
			o.id = o.sending.event.ID
		default:
			if o.id, err = o.sending.id(); err != nil {
				return err
			}
		}
	}
	return nil
}

// carryOut adds the event of a plan to the draft, unless it is there already or may not be. An error is
// none of the event's: nothing of the draft can stay.
func (d *draft) carryOut(o *outcome) error {
	if o.refused != nil || o.id != "" {
		return nil
	}
	if o.sending = d.made(o.plan.req); o.sending.event != nil {
		return nil
	}
	before := len(d.steps)
	err := o.plan.fill(d)
	var same errSame
	switch {
	case err == nil && len(d.steps) == before+1:
		o.sending.event = d.steps[before].event
	case errors.As(err, &same):
		o.id, o.same = same.id, true
	case matrix.Code(err) != "" && len(d.steps) == before:
		o.refused = err
	default:
		return fmt.Errorf("add an event of type %q: %w", o.plan.req.Type, err)
	}
	return nil
}

// made is the event that the same request made a moment ago: it may have come twice at once, and be in one
// ordered request twice.
func (d *draft) made(req SendRequest) sending {
	if req.TxnKey == "" {
		return sending{}
	}
	for i := range d.steps {
		if e := d.steps[i].event; e.TxnKey == req.TxnKey && e.Sender == req.Sender {
			return sending{event: e}
		}
	}
	earlier, _ := d.s.recent.Get(txn{d.room.info.NID, req.Sender, req.TxnKey})
	return earlier
}
