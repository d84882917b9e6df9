package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"trestle/homeserver/storage"
	"trestle/homeserver/storage/statetree"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// A proposal is an event that somebody here wants to add.
type proposal struct {
	Sender    matrix.UserID
	Type      string
	StateKey  *string
	Content   json.RawMessage
	Redacts   matrix.EventID
	Timestamp int64 // 0 is now
	TxnKey    string
}

// A txn identifies a request that a client may repeat.
type txn struct {
	room   int64
	sender matrix.UserID
	key    string
}

// A batch is events on their way to storage, all or none.
type batch struct {
	events []*storage.Event
	done   chan struct{} // closed once err is set
	err    error
}

func (b *batch) wait() ([]*storage.Event, error) {
	<-b.done
	return b.events, b.err
}

// last is the ID of the batch's last event, once it is committed.
func (b *batch) last() (matrix.EventID, error) {
	<-b.done
	if b.err != nil {
		return "", b.err
	}
	return b.events[len(b.events)-1].ID, nil
}

// A sending is the event of a batch that a transaction has made.
type sending struct {
	batch *batch
	event *storage.Event
}

func (q sending) size() int { return 600 + len(q.event.JSON()) }

// id is the event's, once it is committed.
func (q sending) id() (matrix.EventID, error) {
	<-q.batch.done
	return q.event.ID, q.batch.err
}

// A draft is a batch while it is made, under the room's lock.
type draft struct {
	ctx   context.Context
	s     *Service
	room  *room
	head  head
	steps []step
	place placement
	// arrived is by whom somebody joins: an application service, or empty for people.
	arrived []string
	// extra is written in the same transaction, after the events.
	extra func(ctx context.Context, tx *database.Tx) error
}

// A step is one event of a draft and what is stored with it.
type step struct {
	event      *storage.Event
	typeNID    int64
	senderNID  int64
	nodes      []*statetree.Node
	key        *storage.StateKey // new in the room
	keyNID     uint32
	targetNID  int64 // of the user whose membership changes
	was        string
	redacted   *storage.Event
	relation   *matrix.Relation // to another event, or nil
	newSummary bool
}

// errStale is for the retry that follows when a room turns out to be broken.
var errStale = errors.New("the room has to be loaded again")

// staleRetries is how often a change is made anew because another one, which
// came before it, was refused by the database.
const staleRetries = 100

// update runs fn with a draft on the room's newest state and waits until what it
// made is committed. fn runs again if it has built on what was not.
func (s *Service) update(ctx context.Context, nid int64, fn func(d *draft) error) (b *batch, err error) {
	for range staleRetries {
		if b, err = s.tryUpdate(ctx, nid, fn); err == nil {
			_, err = b.wait()
		}
		if !errors.Is(err, errStale) {
			break
		}
	}
	return b, err
}

func (s *Service) tryUpdate(ctx context.Context, nid int64, fn func(d *draft) error) (*batch, error) {
	r, err := s.cache.acquire(ctx, nid)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	for r.broken.Load() {
		r.mu.Unlock()
		select {
		case <-r.gone:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if r, err = s.cache.acquire(ctx, nid); err != nil {
			return nil, err
		}
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	d := &draft{ctx: ctx, s: s, room: r, head: r.pending}
	keys := r.keys.size()
	if err := fn(d); err != nil {
		r.land(d.steps)
		r.keys.truncate(keys) // or a number would be in use that is stored nowhere
		s.cache.release(r)
		return nil, err
	}
	return d.queue(), nil
}

// view is the state that the next event of the draft is judged by.
func (d *draft) view() *view {
	return &view{ctx: d.ctx, s: d.s, room: d.room, head: &d.head}
}

// state is a state event as the draft has it, or nil.
func (d *draft) state(typ, stateKey string) (*storage.Event, error) {
	v := d.view()
	e := v.stored(typ, stateKey)
	return e, v.err
}

// membership is a user's membership as the draft has it.
func (d *draft) membership(user matrix.UserID) (string, error) {
	e, err := d.state("m.room.member", string(user))
	if e == nil || err != nil {
		return "", err
	}
	return e.Membership(), nil
}

// add decides about an event and, if it is allowed, makes it the newest of the draft.
func (d *draft) add(p proposal) (*storage.Event, error) {
	event, err := d.decide(p, nil)
	if err != nil {
		return nil, err
	}
	return d.accept(event, p.TxnKey)
}

// decide makes an event if it is allowed, by the draft's state, as seen through
// a judge if there is one.
func (d *draft) decide(p proposal, judge func(*view, matrix.UserID) (eventauth.State, error)) (*matrix.Event, error) {
	v := d.view()
	template := matrix.EventTemplate{
		RoomID: d.room.info.ID, Sender: p.Sender, Type: p.Type, StateKey: p.StateKey, Content: p.Content, Redacts: p.Redacts,
		OriginServerTS: p.Timestamp, Depth: d.head.depth + 1, PrevEvents: d.head.extremities,
	}
	if template.OriginServerTS == 0 {
		template.OriginServerTS = d.s.Now().UnixMilli()
	}
	for _, key := range eventauth.NeededFor(d.room.info.Version, template) {
		if e := v.Event(key.Type, key.Key); e != nil {
			template.AuthEvents = append(template.AuthEvents, e.ID)
		}
	}
	event, err := template.Build(d.room.info.Version, d.s.ServerName, d.s.Key)
	if err != nil {
		return nil, err
	}
	var state eventauth.State = v
	if judge != nil {
		if state, err = judge(v, p.Sender); err != nil {
			return nil, err
		}
	}
	refused := eventauth.Allowed(event, state)
	if v.err != nil {
		return nil, v.err // the rules have not seen the whole state
	}
	return event, refused
}

// accept makes an allowed event the newest of the draft.
func (d *draft) accept(event *matrix.Event, txnKey string) (*storage.Event, error) {
	st, err := d.step(event, txnKey)
	if err != nil {
		return nil, err
	}
	if event.IsState() {
		if err := d.setState(&st); err != nil {
			return nil, err
		}
	}
	d.head.extremities = []matrix.EventID{event.ID}
	d.head.depth = event.Depth
	d.push(st)
	return st.event, nil
}

// step is an event and what is stored with it, but for what it does to the state.
func (d *draft) step(event *matrix.Event, txnKey string) (st step, err error) {
	nid, err := d.s.store.Events.NewNID(d.ctx)
	if err != nil {
		return st, err
	}
	st = step{event: &storage.Event{Event: event, NID: nid, RoomNID: d.room.info.NID, TxnKey: txnKey}, relation: event.Relation()}
	if st.typeNID, err = d.s.store.Types.NID(d.ctx, event.Type); err != nil {
		return st, err
	}
	st.senderNID, err = d.s.store.Users.NID(d.ctx, string(event.Sender))
	return st, err
}

// push makes a step the draft's last one.
func (d *draft) push(st step) {
	st.event.Root = d.head.tree.Root()
	d.room.fly(st.event)
	d.steps = append(d.steps, st)
}

func (d *draft) setState(st *step) error {
	e := st.event
	before, err := d.state(e.Type, *e.StateKey)
	if err != nil {
		return err
	}
	if before != nil {
		e.ReplacesNID = before.NID
		st.was = before.Membership()
	}
	key := storage.StateKey{Type: e.Type, Key: *e.StateKey}
	number, isNew := d.room.keys.add(key)
	if isNew {
		st.key, st.keyNID = &key, number
	}
	d.head.tree, st.nodes, err = d.head.tree.Set(d.ctx, d.s.store.State, d.s.store.State.NewNodeID, number, e.NID)
	if err != nil {
		return err
	}
	if e.Type == "m.room.member" {
		if st.targetNID, err = d.s.store.Users.NID(d.ctx, *e.StateKey); err != nil {
			return err
		}
	}
	if e.Type == "m.room.power_levels" || e.Type == "m.room.create" {
		d.head.power = nil
	}
	st.newSummary = summarize(&d.head.summary, e.Event, st.was)
	return nil
}

// queue hands the draft to the committing goroutine and moves the room ahead.
func (d *draft) queue() *batch {
	b := &batch{done: make(chan struct{})}
	if len(d.steps) == 0 {
		if d.extra == nil {
			close(b.done)
			d.s.cache.release(d.room)
			return b
		}
	}
	for _, st := range d.steps {
		b.events = append(b.events, st.event)
		if st.event.TxnKey != "" {
			d.s.recent.Put(txn{d.room.info.NID, st.event.Sender, st.event.TxnKey}, sending{b, st.event})
		}
	}
	d.room.pending = d.head
	d.room.newcomers.note(d)
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

func (d *draft) writeStep(tx *database.Tx, st *step) error {
	e := st.event
	if st.key != nil {
		if err := d.s.store.State.InsertKey(d.ctx, tx, e.RoomNID, st.keyNID, *st.key); err != nil {
			return err
		}
	}
	if err := d.s.store.State.InsertNodes(d.ctx, tx, st.nodes); err != nil {
		return err
	}
	if err := d.s.store.Events.Insert(d.ctx, tx, e, st.typeNID, st.senderNID); err != nil {
		return err
	}
	if st.targetNID != 0 {
		m := storage.Membership{RoomNID: e.RoomNID, Membership: e.Membership(), EventNID: e.NID, Position: e.Position}
		if err := d.s.store.Members.Set(d.ctx, tx, st.targetNID, m); err != nil {
			return err
		}
	}
	if st.relation != nil {
		if err := d.s.store.Relations.Insert(d.ctx, tx, e, st.relation, st.typeNID, st.senderNID); err != nil {
			return err
		}
	}
	if st.redacted != nil {
		if err := d.s.store.Relations.Delete(d.ctx, tx, st.redacted.NID); err != nil {
			return err
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
	for i := range d.steps {
		st := &d.steps[i]
		d.s.store.Events.Cache(st.event)
		if st.redacted != nil {
			d.s.store.Events.Cache(st.redacted)
		}
	}
	if len(d.steps) > 0 && d.place.before == 0 {
		h := *committed
		d.room.committed.Store(&h)
	}
	for i := range d.steps {
		st := &d.steps[i]
		change := Change{Event: st.event, Info: d.room.info, Redacted: st.redacted, Relation: st.relation}
		if st.targetNID != 0 {
			change.Target, change.Membership, change.Was = matrix.UserID(*st.event.StateKey), st.event.Membership(), st.was
		}
		d.s.Listener.RoomChanged(change)
	}
}

// settle answers the batch.
func (d *draft) settle(b *batch, err error) {
	defer close(b.done)
	d.room.land(d.steps)
	if err == nil {
		d.s.cache.release(d.room)
		return
	}
	d.room.broken.Store(true)
	b.err = fmt.Errorf("store %d events in %s: %w", len(d.steps), d.room.info.ID, err)
	d.s.cache.drop(d.room)
	for _, st := range d.steps {
		if st.event.TxnKey != "" {
			d.s.recent.Delete(txn{d.room.info.NID, st.event.Sender, st.event.TxnKey})
		}
	}
}

// merge copies further members into an object, for contents that are put together.
func merge(base map[string]json.RawMessage, more map[string]any) (json.RawMessage, error) {
	all := maps.Clone(base)
	if all == nil {
		all = map[string]json.RawMessage{}
	}
	for key, value := range more {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		all[key] = raw
	}
	return json.Marshal(all)
}
