package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Limits of an [Inbox].
const (
	roomQueue = 200                 // events of one room held in memory; beyond, they are read again
	keepIDs   = 30 * 24 * time.Hour // how long a repeat is recognized
	markAgain = 2 * time.Second     // after the database could not write
)

// An Event is one that the homeserver sent, with its place in the order of
// arrival.
type Event struct {
	*event.Event
	Seq int64           // grows; survives restarts
	Raw json.RawMessage // as it came

	Unreadable string // of an encrypted event that could not be opened: why, as a sentence

	idle bool
}

// A Glance is what can be seen of an event without a closer look.
type Glance struct {
	Sender   matrix.UserID `json:"sender"`
	Type     string        `json:"type"`
	StateKey *string       `json:"state_key"` // nil: it is no state event
}

// A Handler works off events.
type Handler interface {
	// HandleEvent gets the events of a room one after the other, in the
	// homeserver's order; rooms run side by side. done is called, once, when the
	// event's effects are safe; until then it is handed out again after a restart. It may be
	// called after HandleEvent has returned. ctx ends with Run.
	HandleEvent(ctx context.Context, e *Event, done func())
}

// An Inbox keeps what the homeserver sent until it has been worked off. A
// transaction, and an event, that comes a second time is acknowledged and dropped.
type Inbox struct {
	// Heard, if it is set before Run, is told of each event, in order, before the homeserver
	// hears that it has been taken, and before it is worked off. It must not block.
	Heard func(e *Event)

	// Idle, if it is set before Run, tells which events nobody has to work off: Heard is told of them, without their
	// content, and they are not kept.
	Idle func(e Glance) bool

	// Keep, if it is set before Run, keeps what is in a transaction besides events: write is
	// called within the database transaction that stores the homeserver's, maybe more than
	// once, and done when that is safe, before the homeserver hears so. A repeat is not written.
	Keep func(ctx context.Context, txn *appservice.Transaction) (write func(context.Context, *database.Tx) error, done func(), err error)

	db  *database.DB
	ids *database.IDs
	log *slog.Logger

	storing chan struct{} // one transaction at a time
	started chan struct{} // closed when Run has handed out what was left over
	ctx     context.Context
	handler Handler
	workers sync.WaitGroup

	mu      sync.Mutex
	rooms   map[string]*queue // those that have an owner
	pending int               // handed to the handler or about to be, and not done
	last    int64             // the newest Seq that was dispatched
	done    []int64           // to be marked
	taken   map[int64]bool    // whose events are others' to work off: see Take
	marking bool
	stopped bool
}

// A queue is what waits for a room's owner.
type queue struct {
	events  []*Event
	last    int64 // the newest Seq that was in events
	spilled bool  // newer events are in the table only
	arrived bool  // some came since the owner last looked there
}

// NewInbox makes an inbox over the bridges' schema.
func NewInbox(db *database.DB, log *slog.Logger) *Inbox {
	return &Inbox{
		db: db, ids: db.NewIDs("received"), log: log,
		storing: make(chan struct{}, 1), started: make(chan struct{}),
		rooms: map[string]*queue{}, taken: map[int64]bool{},
	}
}

// Run hands events to the handler, first those that an earlier process left,
// until ctx ends; then it waits for the handler to return.
func (in *Inbox) Run(ctx context.Context, handler Handler) error {
	in.ctx, in.handler = ctx, handler
	if err := in.resume(ctx); ctx.Err() != nil {
		return nil
	} else if err != nil {
		return fmt.Errorf("resume received events: %w", err)
	}
	close(in.started)
	prune := time.NewTicker(time.Hour)
	defer prune.Stop()
	for {
		select {
		case <-prune.C:
			if err := in.prune(ctx); err != nil && ctx.Err() == nil {
				in.log.Warn("old transaction IDs were not removed", "err", err)
			}
		case <-ctx.Done():
			in.mu.Lock()
			in.stopped = true
			in.mu.Unlock()
			in.workers.Wait()
			in.flush(context.WithoutCancel(ctx))
			return nil
		}
	}
}

// Left shows what an earlier process left, in order, before Run hands it out.
func (in *Inbox) Left(ctx context.Context, show func(*Event)) error {
	for after := int64(0); ; {
		page, err := in.page(ctx, after)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, e := range page {
			show(e)
			after = e.Seq
		}
	}
}

// resume starts an owner for each room of which something was left.
func (in *Inbox) resume(ctx context.Context) error {
	rooms, newest, err := in.leftOver(ctx)
	if err != nil {
		return err
	}
	if len(rooms) > 0 {
		in.log.Info("going on with events that were not worked off", "rooms", len(rooms))
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.last = newest
	for _, room := range rooms {
		q := &queue{spilled: true}
		in.rooms[room] = q
		in.workers.Go(func() { in.own(room, q) })
	}
	return nil
}

// Store keeps a transaction; when it returns nil, the events are safe and may be
// acknowledged.
func (in *Inbox) Store(ctx context.Context, transactionID string, events []json.RawMessage) error {
	return in.StoreAll(ctx, transactionID, &appservice.Transaction{Events: events})
}

// StoreAll is Store for all that is in a transaction; see Keep.
func (in *Inbox) StoreAll(ctx context.Context, transactionID string, txn *appservice.Transaction) error {
	select {
	case <-in.started:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case in.storing <- struct{}{}:
		defer func() { <-in.storing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	parsed, err := in.parse(ctx, transactionID, txn.Events)
	if err != nil {
		return err
	}
	write, kept := func(context.Context, *database.Tx) error { return nil }, func() {}
	if in.Keep != nil {
		if write, kept, err = in.Keep(ctx, txn); err != nil {
			return err
		}
	}
	// Whether or not the homeserver still waits: what is committed must be
	// handed out as well.
	ctx = context.WithoutCancel(ctx)
	fresh, repeat, err := in.save(ctx, transactionID, parsed, write)
	if err == nil && repeat {
		// If the commit of the first attempt was reported as failed though
		// it was not, its events are in the table and nowhere else.
		fresh, err = in.page(ctx, in.Newest())
	}
	if err != nil {
		return fmt.Errorf("store transaction %q: %w", transactionID, err)
	}
	kept()
	if in.Heard != nil {
		for _, e := range fresh {
			in.Heard(e)
		}
	}
	in.dispatch(fresh)
	return nil
}

// Newest is the place of the newest event that has come.
func (in *Inbox) Newest() int64 {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.last
}

// dispatch puts events behind those that their rooms have already.
func (in *Inbox) dispatch(events []*Event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, e := range events {
		if e.idle {
			continue
		}
		in.last = max(in.last, e.Seq)
		room := e.RoomID.String()
		q, owned := in.rooms[room]
		if !owned {
			if in.stopped {
				return // they are in the table
			}
			q = &queue{}
			in.rooms[room] = q
			in.workers.Go(func() { in.own(room, q) })
		}
		if q.spilled = q.spilled || len(q.events) >= roomQueue; q.spilled {
			q.arrived = true
			continue
		}
		in.pending++
		q.events, q.last = append(q.events, e), e.Seq
	}
}

// own works a room's events off and ends when there are no more.
func (in *Inbox) own(room string, q *queue) {
	for in.ctx.Err() == nil {
		in.mu.Lock()
		events, spilled := q.events, q.spilled
		q.events = nil
		if len(events) == 0 && !spilled {
			delete(in.rooms, room)
			in.mu.Unlock()
			return
		}
		in.mu.Unlock()
		if len(events) == 0 {
			in.refill(room, q)
		}
		for _, e := range events {
			if in.ctx.Err() != nil {
				return
			}
			in.handler.HandleEvent(in.ctx, e, sync.OnceFunc(func() { in.finish(e.Seq) }))
		}
	}
}

// refill reads the room's next events from the table.
func (in *Inbox) refill(room string, q *queue) {
	in.mu.Lock()
	q.arrived = false
	in.mu.Unlock()
	page, err := in.roomPage(in.ctx, room, q.last)
	if err != nil {
		if in.ctx.Err() == nil {
			in.log.Error("received events could not be read; trying again", "room", room, "err", err)
			pause(in.ctx, markAgain)
		}
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(page) > 0 {
		q.last = page[len(page)-1].Seq
	} else if !q.arrived {
		q.spilled = false
	}
	q.events = slices.DeleteFunc(page, func(e *Event) bool { return in.taken[e.Seq] })
	in.pending += len(q.events)
}

// finish has an event marked as done.
func (in *Inbox) finish(seq int64) {
	in.mu.Lock()
	in.pending--
	in.done = append(in.done, seq)
	begin := !in.marking
	in.marking = true
	in.mu.Unlock()
	if begin {
		in.mark()
	}
}

// mark writes the marks that have gathered, and goes on as long as more gather
// while the database writes.
func (in *Inbox) mark() {
	in.mu.Lock()
	seqs := in.done
	in.done = nil
	in.marking = len(seqs) > 0
	in.mu.Unlock()
	if len(seqs) == 0 {
		return
	}
	in.db.Enqueue(markDone(context.Background(), seqs), func(err error) {
		if err == nil {
			in.forgetTaken(seqs)
			in.mark()
			return
		}
		in.mu.Lock()
		in.done = append(seqs, in.done...)
		in.mu.Unlock()
		if !errors.Is(err, database.ErrClosed) {
			in.log.Error("events could not be marked as worked off", "count", len(seqs), "err", err)
			time.AfterFunc(markAgain, in.mark)
		}
	})
}

// flush waits until the marks of what has been worked off are in the table, as far as
// the database lets it.
func (in *Inbox) flush(ctx context.Context) {
	for range 5 {
		in.mu.Lock()
		marking := in.marking
		in.mu.Unlock()
		if !marking || in.db.Update(ctx, func(*database.Tx) error { return nil }) != nil {
			return
		}
	}
}

// Pending is how many events are being worked off; there may be more in the
// table.
func (in *Inbox) Pending() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.pending
}

// now is when a row was written.
func now() int64 { return time.Now().UnixMilli() }

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
