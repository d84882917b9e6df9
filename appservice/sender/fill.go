package sender

import (
	"context"
	"fmt"
	"slices"
	"time"

	"trestle/appservice"
)

const (
	// firstPage is how many changes a lagging queue reads at first. Then it is as
	// many as should make pageBytes, between smallPage and largePage: of small
	// events a whole sequence of transactions, of large ones no more than fits
	// into memory.
	firstPage, smallPage, largePage, pageBytes = 250, 50, 500, 512 << 10
	// aheadBytes bounds the frozen transactions that wait, beside Options.Ahead,
	// but for one that is larger by itself.
	aheadBytes = 3 << 20
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
			if !q.wasChanged() {
				q.log.Error("application service queue stopped; it starts over", "error", err)
				q.mu.Lock()
				q.stats.lastError, q.stats.lastErrorAt = err.Error(), time.Now()
				q.mu.Unlock()
				wait(ctx, pause.next(), nil)
			}
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
	if cursor.Silent > 0 { // and has a URL now
		if cursor, err = q.service.opts.Store.EndSilence(ctx, q.id, q.service.head.Load()); err != nil {
			return fmt.Errorf("store that the service is sent events again: %w", err)
		}
		q.log.Info("application service has a URL again; what has happened without one is not sent", "from", cursor.SkippedFrom, "to", cursor.Skipped)
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
	q.timeline = timeline{}
	for _, f := range waiting {
		q.timeline.reach(f.Oldest)
	}
	// Storage may know less than before, after a backup was put back or a replica
	// took over. What it has forgotten was sent, and its IDs must not come again for
	// something else: so each time that it is read, new ones begin.
	q.epoch, q.number, q.saved = newEpoch(), cursor.Number, cursor.Position
	q.pending, q.cutting, q.bytes = nil, 0, 0
	q.live, q.scanned, q.interest = false, cursor.Position, nil
	q.skipped, q.rest.unknown = passage{cursor.SkippedFrom, cursor.Skipped}, true
	q.frozen.send()
	return nil
}

// freezeAll works until the context ends or something fails.
func (q *queue) freezeAll(ctx context.Context) error {
	q.countOlder(ctx)
	for ctx.Err() == nil {
		if q.doubted() {
			return errDoubt
		}
		if err := q.scan(ctx); err != nil {
			return err
		}
		if batches := q.cut(); len(batches) > 0 {
			if err := q.freeze(ctx, batches); err != nil {
				q.offerAgain(batches[0].offered)
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
		_, _, full := q.prefix(0)
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

// read takes a page of the stream into the queue, and has the next one read
// while the service is sent what is in this.
func (q *queue) read(ctx context.Context, after, upTo int64) error {
	p, err := q.page(ctx, after, upTo)
	if err != nil {
		return fmt.Errorf("read the stream behind %d: %w", after, err)
	}
	changes, through := p.changes, p.through
	q.timeline.mark(changes, time.Now().UnixMilli())
	q.readAhead(ctx, p, upTo)
	decide := q.decider()
	var mine []Change
	for i := range changes {
		watchers, err := decide.decide(ctx, &changes[i])
		if err != nil {
			return err
		}
		changes[i].Rooms = nil
		if len(watchers) > 0 && !q.passes(&changes[i]) {
			mine = append(mine, changes[i])
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	news := q.supersede(mine)
	for i := range mine {
		if !news.has(i) {
			continue
		}
		q.pending = append(q.pending, mine[i])
		q.bytes += mine[i].Size
	}
	q.scanned = through
	if p.blind {
		q.interest = nil
	}
	q.rest.take(changes, mine, through)
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

// prefix is how many of the pending changes behind the first ones fit into one
// transaction, how large they are, and whether it is full then.
func (q *queue) prefix(from int) (n, bytes int, full bool) {
	limits, pending := q.service.opts, q.pending[from:]
	var counts [kinds]int
	for i, c := range pending {
		fits := counts[c.Kind] < limits.MaxEvents && (i == 0 || bytes+c.Size <= limits.MaxBytes)
		if !fits && c.Position != pending[i-1].Position {
			return i, bytes, true
		}
		counts[c.Kind]++
		bytes += c.Size
	}
	return len(pending), bytes, slices.Max(counts[:]) >= limits.MaxEvents || bytes >= limits.MaxBytes
}

// cut decides what to freeze now: one transaction at once if the service has
// nothing to do, and otherwise, ahead of its answers, those that are full. That
// is several at a time, because freezing them costs hardly more than freezing one.
func (q *queue) cut() (list []batch) {
	dispatched := q.service.dispatch.through.Load()
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting, size := len(q.outbox), 0
	if waiting > q.service.opts.Ahead/2 {
		return nil
	}
	for _, f := range q.outbox {
		size += len(f.Body)
	}
	for from := 0; waiting < max(1, q.service.opts.Ahead); waiting++ {
		n, bytes, full := q.prefix(from)
		if waiting > 0 && (!full || size+bytes > aheadBytes) || n == 0 && len(q.offered) == 0 {
			break
		}
		b := batch{changes: q.pending[from : from+n : from+n], number: q.number + int64(len(list)) + 1, epoch: q.epoch, position: q.scanned}
		if q.live {
			b.position = max(q.scanned, dispatched)
		}
		if from+n < len(q.pending) {
			b.position = q.pending[from+n-1].Position
		} else if n > 0 {
			b.position = max(b.position, q.pending[from+n-1].Position)
		}
		if len(list) == 0 {
			b.offered = q.takeOffered()
		}
		list, from, size = append(list, b), from+n, size+bytes
		q.cutting = from
	}
	return list
}

// freeze makes batches durable before anything of them is sent.
func (q *queue) freeze(ctx context.Context, batches []batch) error {
	frozen := make([]appservice.Frozen, len(batches))
	for i, b := range batches {
		var err error
		if frozen[i], err = q.build(b); err != nil {
			return err
		}
	}
	q.mu.Lock()
	acked := q.acked
	q.mu.Unlock()
	last := frozen[len(frozen)-1]
	if err := q.service.opts.Store.Freeze(ctx, frozen, acked); err != nil {
		return fmt.Errorf("freeze transactions up to %s: %w", last.ID, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.number, q.saved, q.removed = last.Number, last.Position, acked
	q.outbox = append(q.outbox, frozen...)
	for _, c := range q.pending[:q.cutting] {
		q.bytes -= c.Size
	}
	rest := copy(q.pending, q.pending[q.cutting:])
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
