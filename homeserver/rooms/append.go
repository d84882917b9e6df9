package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"

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
	// keys and nodes are new in the room, asides what is stored beside its stream.
	keys   []newKey
	nodes  []*statetree.Node
	asides []aside
	// arriving are the numbers of events that are on their way in, and roots are states that are held, see hold.
	arriving []int64
	roots    []int64
	// extra is written in the same transaction, after the events.
	extra func(ctx context.Context, tx *database.Tx) error
}

// A step is one event of a draft and what is stored with it.
type step struct {
	event      *storage.Event
	typeNID    int64
	senderNID  int64
	moves      []move // of members
	redacted   *storage.Event
	target     *storage.Event   // what redacted was
	relation   *matrix.Relation // to another event, or nil
	newSummary bool
	promoted   bool // it was known beside the stream
	relayed    bool // the other servers in the room learn of it from this one
	withheld   bool // they learn of it from another one
	// stripped is what the user whom the event concerns is told of a room that this server is not in, an array of JSON; or nil.
	stripped []byte
	// early is what the event redacts and has not come yet, and awaited that it was redacted before it came.
	early   matrix.EventID
	awaited bool
}

// A newKey is a state key that the room has not had.
type newKey struct {
	number uint32
	key    storage.StateKey
}

// An aside is an event that is stored beside the stream, or what is new about it.
type aside struct {
	event *storage.Event
	known bool
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
	err = fn(d)
	if err != nil || d.empty() {
		r.land(d)
		r.keys.truncate(keys) // or a number would be in use that is stored nowhere
		s.cache.release(r)
		b := &batch{done: make(chan struct{})}
		close(b.done)
		return b, err
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
	event, err := d.template(v, p).Build(d.room.info.Version, d.s.ServerName, d.s.Key)
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

// template is a proposed event at its place in the room.
func (d *draft) template(v *view, p proposal) matrix.EventTemplate {
	t := matrix.EventTemplate{
		RoomID: d.room.info.ID, Sender: p.Sender, Type: p.Type, StateKey: p.StateKey, Content: p.Content, Redacts: p.Redacts,
		OriginServerTS: p.Timestamp, Depth: min(d.head.depth+1, matrix.MaxInteger), PrevEvents: d.newest(),
	}
	if t.OriginServerTS == 0 {
		t.OriginServerTS = d.s.Now().UnixMilli()
	}
	for _, key := range eventauth.NeededFor(d.room.info.Version, t) {
		if e := v.Event(key.Type, key.Key); e != nil {
			t.AuthEvents = append(t.AuthEvents, e.ID)
		}
	}
	return t
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
	d.head.extremities = append(slices.Clone(d.head.extremities[:len(d.head.extremities)-len(event.PrevEvents)]), event.ID)
	d.head.depth = event.Depth
	d.push(st)
	return st.event, nil
}

// newest is what the next event of this server comes after: all that nothing comes after yet or, where
// that is too much for one event, the newest of it.
func (d *draft) newest() []matrix.EventID {
	return d.head.extremities[max(0, len(d.head.extremities)-matrix.MaxPrevEvents):]
}

// step is an event and what is stored with it, but for what it does to the state.
func (d *draft) step(event *matrix.Event, txnKey string) (st step, err error) {
	nid, err := d.s.store.Events.NewNID(d.ctx)
	if err != nil {
		return st, err
	}
	return d.stepOf(&storage.Event{Event: event, NID: nid, RoomNID: d.room.info.NID, TxnKey: txnKey})
}

func (d *draft) stepOf(e *storage.Event) (st step, err error) {
	st = step{event: e, relation: e.Relation()}
	if st.typeNID, err = d.s.store.Types.NID(d.ctx, e.Type); err != nil {
		return st, err
	}
	st.senderNID, err = d.s.store.Users.NID(d.ctx, string(e.Sender))
	return st, err
}

// push makes a step the draft's last one.
func (d *draft) push(st step) {
	st.event.Root = d.head.tree.Root()
	d.room.fly(st.event)
	d.steps = append(d.steps, st)
}

// setState puts a state event into the newest state.
func (d *draft) setState(st *step) error {
	e := st.event
	before, err := d.state(e.Type, *e.StateKey)
	if err != nil {
		return err
	}
	if before != nil {
		e.ReplacesNID = before.NID
	}
	key := storage.StateKey{Type: e.Type, Key: *e.StateKey}
	tree, nodes, err := d.head.tree.Set(d.ctx, d.s.store.State, d.s.store.State.NewNodeID, d.number(key), e.NID)
	if err != nil {
		return err
	}
	d.head.tree, d.nodes = tree, append(d.nodes, nodes...)
	d.hold(tree)
	return d.changed(st, key, before, e)
}

// number is that of a state key in the room.
func (d *draft) number(key storage.StateKey) uint32 {
	number, isNew := d.room.keys.add(key)
	if isNew {
		d.keys = append(d.keys, newKey{number, key})
	}
	return number
}

// changed takes note of what has become another in the newest state; before and now may be nil.
func (d *draft) changed(st *step, key storage.StateKey, before, now *storage.Event) error {
	was := ""
	if before != nil {
		was = before.Membership()
	}
	switch key.Type {
	case "m.room.member":
		nid, err := d.s.store.Users.NID(d.ctx, key.Key)
		if err != nil {
			return err
		}
		m := move{user: matrix.UserID(key.Key), nid: nid, was: was, before: before, now: now}
		st.moves = append(st.moves, m)
		if is := m.membership() == "join"; d.head.locals > 0 && is != (was == "join") && d.s.Local(m.user) {
			if d.head.locals--; is {
				d.head.locals += 2
			}
		}
	case "m.room.power_levels", "m.room.create":
		d.head.power = nil
	}
	st.newSummary = summarize(&d.head.summary, key, now, was) || st.newSummary
	return nil
}

// A move is that somebody's membership has become another.
type move struct {
	user        matrix.UserID
	nid         int64
	was         string
	before, now *storage.Event // now is nil if there is none any more
}

// membership is what it has become.
func (m *move) membership() string {
	if m.now == nil {
		return "leave"
	}
	return m.now.Membership()
}

// event is that by which the user stands there: the last one known, where a merger of branches has left none.
func (m *move) event() *storage.Event {
	if m.now == nil {
		return m.before
	}
	return m.now
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
