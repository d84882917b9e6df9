package bridge

import (
	"context"
	"fmt"
	"sync"
	"time"

	"trestle/internal/database"
)

// Limits of the intake.
const (
	maxUncommitted = 10000           // entries in memory; beyond, the network is not read
	intakeBatch    = 1000            // entries in one statement
	intakeAgain    = 1 * time.Second // after the database could not write
)

// intake writes entries into the outbox, in the order in which they came. While the
// database is away they wait here; nothing overtakes.
type intake struct {
	bridge *Bridge
	wake   chan struct{} // capacity 1

	mu      sync.Mutex
	space   *sync.Cond
	waiting []uncommitted
	closed  bool
}

// uncommitted is an entry that is not in the table yet.
type uncommitted struct {
	portal *Portal // nil: only stored is to be called
	entry  entry
	stored func() // may be nil
}

var insertEntry = database.SQL(`
	INSERT INTO outbox (seq, portal, entry)
	VALUES ($1, $2, $3)
	ON CONFLICT (seq) DO NOTHING`)

func newIntake(b *Bridge) *intake {
	in := &intake{bridge: b, wake: make(chan struct{}, 1)}
	in.space = sync.NewCond(&in.mu)
	return in
}

// enqueue hands an entry over; it waits while too many are.
func (p *Portal) enqueue(e entry, stored func()) {
	p.mu.Lock()
	retired := p.retired
	if !retired {
		p.queued[e.Sender]++
	}
	p.mu.Unlock()
	if retired {
		p.bridge.intake.add(uncommitted{stored: stored})
		return
	}
	p.bridge.intake.add(uncommitted{p, e, stored})
}

func (in *intake) add(u uncommitted) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for len(in.waiting) >= maxUncommitted && !in.closed {
		in.space.Wait()
	}
	in.waiting = append(in.waiting, u)
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// Stored calls fn once all that portals were told before is safe. fn must not
// block.
func (b *Bridge) Stored(fn func()) { b.intake.add(uncommitted{stored: fn}) }

// run writes until ctx ends, and then what is left.
func (in *intake) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-in.wake:
			in.flush(ctx)
		case <-ctx.Done():
		}
	}
	in.mu.Lock()
	in.closed = true
	in.space.Broadcast()
	in.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	in.flush(last)
}

// flush writes all that waits.
func (in *intake) flush(ctx context.Context) {
	for {
		in.mu.Lock()
		batch := in.waiting[:min(len(in.waiting), intakeBatch)]
		in.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		if !in.write(ctx, batch) {
			in.bridge.log.Error("the bridge stops before it could store what the network said", "entries", len(batch))
			return
		}
		in.mu.Lock()
		in.waiting = append([]uncommitted(nil), in.waiting[len(batch):]...)
		in.space.Broadcast()
		in.mu.Unlock()
		in.report(batch)
	}
}

// write commits a batch, however long the database is away; false if ctx ends.
func (in *intake) write(ctx context.Context, batch []uncommitted) bool {
	seqs := make([]int64, len(batch))
	for {
		rows, err := in.number(ctx, batch, seqs)
		if err == nil && len(rows) > 0 {
			err = in.bridge.db.Update(ctx, func(tx *database.Tx) error {
				return tx.ExecMany(ctx, insertEntry, rows)
			})
		}
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		in.bridge.log.Error("what the network said was not stored; trying again", "err", err)
		timer := time.NewTimer(intakeAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}

// number gives each entry its place, once, and makes the rows.
func (in *intake) number(ctx context.Context, batch []uncommitted, seqs []int64) (rows [][]any, err error) {
	for i, u := range batch {
		if u.portal == nil || u.portal.isRetired() {
			continue
		}
		if seqs[i] == 0 {
			if seqs[i], err = in.bridge.ids.Next(ctx); err != nil {
				return nil, fmt.Errorf("number an entry: %w", err)
			}
		}
		rows = append(rows, []any{seqs[i], u.portal.id, encode(u.entry)})
	}
	return rows, nil
}

// report tells that a batch is safe.
func (in *intake) report(batch []uncommitted) {
	portals := map[*Portal]bool{}
	for _, u := range batch {
		if u.stored != nil {
			u.stored()
		}
		if u.portal != nil {
			portals[u.portal] = true
		}
	}
	for p := range portals {
		p.wake()
	}
}
