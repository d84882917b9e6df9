package rooms

import (
	"context"
	"fmt"

	"trestle/homeserver/storage"
	"trestle/internal/database"
)

// empty reports whether there is nothing to be stored.
func (d *draft) empty() bool { return len(d.steps)+len(d.asides) == 0 && d.extra == nil }

// queue hands the draft to the committing goroutine and moves the room ahead.
func (d *draft) queue() *batch {
	b := &batch{done: make(chan struct{})}
	for _, st := range d.steps {
		b.events = append(b.events, st.event)
		if st.event.TxnKey != "" {
			d.s.recent.Put(txn{d.room.info.NID, st.event.Sender, st.event.TxnKey}, sending{b, st.event})
		}
	}
	d.room.pending = d.head
	d.room.newcomers.queued(d.arrived)
	d.ctx = context.WithoutCancel(d.ctx)
	d.s.store.DB.Enqueue(d.write, func(err error) { d.settle(b, err) })
	return b
}

// write stores the draft. It may run more than once.
func (d *draft) write(tx *database.Tx) error {
	if d.room.broken.Load() {
		return errStale
	}
	tx.OnAbort(func() { d.room.broken.Store(true) })
	if err := d.writeBeside(tx); err != nil {
		return err
	}
	committed := d.head
	bump := int64(0)
	for i := range d.steps {
		e := d.steps[i].event
		var err error
		if e.Ordering, e.Position, err = d.place.of(d.ctx, tx, i); err != nil {
			return err
		}
		if err := d.writeStep(tx, &d.steps[i]); err != nil {
			return err
		}
		if d.steps[i].withheld && d.s.Withhold != nil {
			if err := d.s.Withhold(d.ctx, tx, e.NID); err != nil {
				return err
			}
		}
		if d.steps[i].relayed && d.s.Relay != nil {
			if err := d.s.Relay(d.ctx, tx, e.NID); err != nil {
				return err
			}
		}
		if e.Backfilled() {
			continue
		}
		committed.lastPosition = e.Position
		if Bumps(e.Type) {
			bump = e.Position
		}
	}
	if len(d.steps) > 0 && d.place.before == 0 {
		stored := committed.stored()
		stored.Bump = bump
		if err := d.s.store.Rooms.SetHead(d.ctx, tx, d.room.info.NID, stored); err != nil {
			return err
		}
	}
	if d.summaryChanged() {
		if err := d.s.store.Rooms.SetSummary(d.ctx, tx, d.room.info.NID, committed.summary); err != nil {
			return err
		}
	}
	if d.extra != nil {
		if err := d.extra(d.ctx, tx); err != nil {
			return err
		}
	}
	tx.OnCommit(func() { d.publish(&committed) })
	return nil
}

// writeBeside stores what belongs to the room and not to its stream.
func (d *draft) writeBeside(tx *database.Tx) error {
	for _, k := range d.keys {
		if err := d.s.store.State.InsertKey(d.ctx, tx, d.room.info.NID, k.number, k.key); err != nil {
			return err
		}
	}
	if err := d.s.store.State.InsertNodes(d.ctx, tx, d.nodes); err != nil {
		return err
	}
	for _, a := range d.asides {
		if err := d.s.store.Events.SetAside(d.ctx, tx, a.event, a.known); err != nil {
			return err
		}
	}
	return nil
}

func (d *draft) writeStep(tx *database.Tx, st *step) error {
	e := st.event
	if st.promoted {
		if err := d.s.store.Events.TakeBack(d.ctx, tx, e.NID); err != nil {
			return err
		}
	}
	if err := d.s.store.Events.Insert(d.ctx, tx, e, st.typeNID, st.senderNID); err != nil {
		return err
	}
	for i := range st.moves {
		m := &st.moves[i]
		standing := storage.Membership{RoomNID: e.RoomNID, Membership: m.membership(), EventNID: m.event().NID, Position: e.Position}
		if m.now == e {
			standing.Stripped = st.stripped
		}
		if err := d.s.store.Members.Set(d.ctx, tx, m.nid, standing); err != nil {
			return err
		}
	}
	if st.early != "" {
		if err := d.s.store.Events.RedactEarly(d.ctx, tx, st.early, e); err != nil {
			return err
		}
	}
	if st.awaited {
		if err := d.s.store.Events.ForgetEarly(d.ctx, tx, e.ID); err != nil {
			return err
		}
	}
	if st.relation != nil {
		if err := d.s.store.Relations.Insert(d.ctx, tx, e, st.relation, st.typeNID, st.senderNID); err != nil {
			return err
		}
	}
	if st.redacted != nil {
		st.redacted.Position, st.redacted.Ordering = st.target.Position, st.target.Ordering
		if err := d.s.store.Relations.Delete(d.ctx, tx, st.redacted.NID); err != nil {
			return err
		}
		if st.redacted.Verdict != storage.Placed {
			return d.s.store.Events.SetAside(d.ctx, tx, st.redacted, true)
		}
		return d.s.store.Events.Redact(d.ctx, tx, st.redacted)
	}
	return nil
}

func (d *draft) summaryChanged() bool {
	for i := range d.steps {
		if d.steps[i].newSummary {
			return true
		}
	}
	return false
}

// publish makes the draft visible to readers, in commit order.
func (d *draft) publish(committed *head) {
	for _, a := range d.asides {
		d.s.store.Events.CacheAside(a.event)
	}
	for i := range d.steps {
		st := &d.steps[i]
		d.s.store.Events.Cache(st.event)
		if st.redacted != nil {
			d.s.store.Events.Cache(st.redacted)
		}
	}
	if len(d.steps) > 0 && (d.place.before == 0 || d.summaryChanged()) {
		h := *committed
		if d.place.before != 0 {
			h.lastPosition = d.room.committed.Load().lastPosition
		}
		d.room.committed.Store(&h)
	}
	d.room.newcomers.came(d.arrived, committed.lastPosition)
	for i := range d.steps {
		d.s.Listener.RoomChanged(d.steps[i].change(d.room.info))
	}
}

// change is what readers are told of a step.
func (st *step) change(info *storage.RoomInfo) Change {
	c := Change{Event: st.event, Info: info, Redacted: st.redacted, Relation: st.relation}
	for i := range st.moves {
		m := &st.moves[i]
		if m.now == st.event {
			c.Target, c.Membership, c.Was, c.Stripped = m.user, m.membership(), m.was, st.stripped
			continue
		}
		c.Moves = append(c.Moves, Move{Target: m.user, Membership: m.membership(), Was: m.was, Event: m.event()})
	}
	return c
}

// settle answers the batch.
func (d *draft) settle(b *batch, err error) {
	defer close(b.done)
	d.room.land(d)
	if err == nil {
		d.s.cache.release(d.room)
		return
	}
	d.room.broken.Store(true) // what newcomers there were is void with it
	b.err = fmt.Errorf("store %d events in %s: %w", len(d.steps)+len(d.asides), d.room.info.ID, err)
	d.s.cache.drop(d.room)
	for _, st := range d.steps {
		if st.event.TxnKey != "" {
			d.s.recent.Delete(txn{d.room.info.NID, st.event.Sender, st.event.TxnKey})
		}
	}
}
