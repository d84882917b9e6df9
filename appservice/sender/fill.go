package sender

import (
	"context"
	"fmt"
	"slices"
	"time"

	"trestle/appservice"
)

const (
	// page is how many changes a lagging queue reads at once.
	page = 250
	// patience is how long a lagging queue looks for a full batch while the
	// service has nothing to do.
	patience = 50 * time.Millisecond
	// forgetAfter is how long a delivered transaction waits for the next
	// freezing to take it out of storage as well.
	forgetAfter = 200 * time.Millisecond
)

// fill freezes changes into transactions until the context ends. Whatever goes
// wrong, it starts over from what storage says: a write that failed may have
// been done all the same.
func (q *queue) fill(ctx context.Context) {
	pause := newBackoff(100*time.Millisecond, 30*time.Second)
	for {
		begin := time.Now()
		err := q.freezeAll(ctx)
		if time.Since(begin) > pause.longest {
			pause.reset()
		}
		for err != nil && ctx.Err() == nil {
			q.log.Error("application service queue stopped; it starts over", "error", err)
			q.mu.Lock()
			q.stats.lastError, q.stats.lastErrorAt = err.Error(), time.Now()
			q.mu.Unlock()
			wait(ctx, pause.next(), nil)
			err = q.restart(ctx)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// restart reads from storage what is frozen, and goes on behind the cursor.
func (q *queue) restart(ctx context.Context) error {
	q.mu.Lock()
	acked, doubts := q.acked, q.doubts
	known := appservice.Cursor{Service: q.id, Epoch: q.epoch, Position: q.saved, Number: q.number}
	q.mu.Unlock()
	cursor, err := q.service.opts.Store.Begin(ctx, known)
	if err != nil {
		return fmt.Errorf("read the cursor: %w", err)
	}
	waiting, err := q.service.opts.Store.Waiting(ctx, q.id, acked)
	if err != nil {
		return fmt.Errorf("read frozen transactions: %w", err)
	}
	if err := q.countLetters(ctx); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(waiting) > 0 && waiting[0].Number <= q.acked {
		waiting = waiting[1:]
	}
	q.outbox, q.settled = waiting, doubts
	q.epoch, q.number, q.saved = cursor.Epoch, cursor.Number, cursor.Position
	q.pending, q.cutting, q.bytes = nil, 0, 0
	q.live, q.scanned, q.interest = false, cursor.Position, nil
	q.frozen.send()
	return nil
}

// freezeAll works until the context ends or something fails.
func (q *queue) freezeAll(ctx context.Context) error {
	for ctx.Err() == nil {
		if q.doubted() {
			return errDoubt
		}
		if err := q.scan(ctx); err != nil {
			return err
		}
		if batch, ok := q.cut(); ok {
			if err := q.freeze(ctx, batch); err != nil {
				q.offerAgain(batch.offered)
				return err
			}
			continue
		}
		if err := q.idle(ctx); err != nil {
			return err
		}
	}
	return nil
}

// scan makes a lagging queue read on until a batch is full, until it is live,
// or until the service has been without work for a while.
func (q *queue) scan(ctx context.Context) error {
	begin := time.Now()
	for {
		q.mu.Lock()
		_, full := q.prefix()
		tired := len(q.pending) > 0 && len(q.outbox) == 0 && time.Since(begin) > patience
		live, after := q.live, q.scanned
		q.mu.Unlock()
		if live || full || tired {
			return nil
		}
		upTo := q.service.head.Load()
		if after >= upTo {
			if q.service.dispatch.adopt(q, after) {
				return nil
			}
			continue
		}
		if err := q.read(ctx, after, upTo); err != nil {
			return err
		}
	}
}

// read takes a page of the stream into the queue.
func (q *queue) read(ctx context.Context, after, upTo int64) error {
	changes, through, err := q.service.feed.read(ctx, after, upTo, page)
	if err != nil {
		return fmt.Errorf("read the stream behind %d: %w", after, err)
	}
	decide := q.decider()
	var mine []Change
	for i := range changes {
		watchers, err := decide.decide(ctx, &changes[i])
		if err != nil {
			return err
		}
		changes[i].Rooms = nil
		if len(watchers) > 0 {
			mine = append(mine, changes[i])
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range mine {
		q.supersede(&mine[i])
		q.pending = append(q.pending, mine[i])
		q.bytes += mine[i].Size
	}
	q.scanned = through
	return nil
}

func (q *queue) decider() *interest {
	set := q.service.opts.Registry.Load()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.interest == nil {
		q.interest = newInterest(q.service.opts.Rooms, set, q.id)
	}
	q.interest.use(set)
	return q.interest
}

// A batch is what the next transaction will hold. Its changes stay in the
// queue until they are frozen, so that the cursor cannot pass them.
type batch struct {
	changes  []Change
	offered  []Change
	position int64
	number   int64
	epoch    string
}

// prefix is how many of the pending changes fit into one transaction, and
// whether it is full then.
func (q *queue) prefix() (n int, full bool) {
	limits := q.service.opts
	var counts [kinds]int
	bytes := 0
	for i, c := range q.pending {
		fits := counts[c.Kind] < limits.MaxEvents && (i == 0 || bytes+c.Size <= limits.MaxBytes)
		if !fits && c.Position != q.pending[i-1].Position {
			return i, true
		}
		counts[c.Kind]++
		bytes += c.Size
	}
	return len(q.pending), slices.Max(counts[:]) >= limits.MaxEvents || bytes >= limits.MaxBytes
}

// cut decides whether to freeze now: at once if the service has nothing to do,
// and otherwise ahead of its answer if that gives a full transaction.
func (q *queue) cut() (b batch, ok bool) {
	dispatched := q.service.dispatch.through.Load()
	q.mu.Lock()
	defer q.mu.Unlock()
	n, full := q.prefix()
	waiting := len(q.outbox)
	if waiting >= q.service.opts.Ahead || waiting > 0 && !full || n == 0 && len(q.offered) == 0 {
		return b, false
	}
	b = batch{changes: q.pending[:n:n], number: q.number + 1, epoch: q.epoch, position: q.scanned}
	if q.live {
		b.position = max(q.scanned, dispatched)
	}
	if n < len(q.pending) {
		b.position = q.pending[n-1].Position
	} else if n > 0 {
		b.position = max(b.position, q.pending[n-1].Position)
	}
	q.cutting = n
	b.offered = q.takeOffered()
	return b, true
}

// freeze makes the batch durable before anything of it is sent.
func (q *queue) freeze(ctx context.Context, b batch) error {
	f, err := q.build(b)
	if err != nil {
		return err
	}
	q.mu.Lock()
	acked := q.acked
	q.mu.Unlock()
	if err := q.service.opts.Store.Freeze(ctx, f, acked); err != nil {
		return fmt.Errorf("freeze transaction %s: %w", f.ID, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.number, q.saved, q.removed = f.Number, f.Position, acked
	q.outbox = append(q.outbox, f)
	for _, c := range b.changes {
		q.bytes -= c.Size
	}
	rest := copy(q.pending, q.pending[len(b.changes):])
	clear(q.pending[rest:])
	q.pending, q.cutting = q.pending[:rest], 0
	q.frozen.send()
	return nil
}

// idle waits for something to do. Delivered transactions leave storage with the
// next freezing, or here if none comes.
func (q *queue) idle(ctx context.Context) error {
	q.mu.Lock()
	acked, removed := q.acked, q.removed
	q.mu.Unlock()
	if acked <= removed {
		wait(ctx, 0, q.filled)
		return nil
	}
	if wait(ctx, forgetAfter, q.filled) {
		return nil
	}
	if ctx.Err() != nil {
		return nil
	}
	return q.acknowledge(ctx)
}

// acknowledge takes delivered transactions out of storage.
func (q *queue) acknowledge(ctx context.Context) error {
	q.mu.Lock()
	acked, removed := q.acked, q.removed
	q.mu.Unlock()
	if acked <= removed {
		return nil
	}
	if err := q.service.opts.Store.Acknowledge(ctx, q.id, acked); err != nil {
		return fmt.Errorf("remove delivered transactions: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.removed = max(q.removed, acked)
	return nil
}
