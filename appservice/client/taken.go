package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"

	"trestle/internal/database"
)

// Take keeps events that did not come in a transaction, and returns those that were not known, in order.
// They are the caller's to work off, who calls done for each; after a restart they are handed out as all
// others are. What also writes is safe if the events are, and not without them; it is called again if the
// database could not write. Run has been called.
func (in *Inbox) Take(ctx context.Context, events []json.RawMessage, also func(*database.Tx) error) (fresh []*Event, done func(*Event), err error) {
	select {
	case in.storing <- struct{}{}:
		defer func() { <-in.storing }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	parsed := make([]*Event, 0, len(events))
	for _, raw := range events {
		e, err := parseEvent(raw)
		if err != nil {
			continue // nor would it have been handed out
		}
		if e.Seq, err = in.number(ctx); err != nil {
			return nil, nil, err
		}
		parsed = append(parsed, e)
	}
	in.claim(parsed) // before they are in the table, where a room's owner may be reading
	if fresh, err = in.saveTaken(ctx, parsed, also); err != nil {
		return nil, nil, fmt.Errorf("keep events: %w", err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.pending += len(fresh)
	for _, e := range fresh {
		in.last = max(in.last, e.Seq)
	}
	return fresh, func(e *Event) { in.finish(e.Seq) }, nil
}

// number is the next place in the order of arrival, however long the database is away.
func (in *Inbox) number(ctx context.Context) (int64, error) {
	for {
		seq, err := in.ids.Next(ctx)
		if err == nil || ctx.Err() != nil {
			return seq, err
		}
		in.log.Error("events could not be numbered; trying again", "err", err)
		pause(ctx, markAgain)
	}
}

// saveTaken writes until the database has taken it, or ctx ends.
func (in *Inbox) saveTaken(ctx context.Context, parsed []*Event, also func(*database.Tx) error) (fresh []*Event, err error) {
	name := "taken." + rand.Text()
	write := func(_ context.Context, tx *database.Tx) error { return also(tx) }
	for {
		fresh, repeat, err := in.save(context.WithoutCancel(ctx), name, parsed, write)
		if err == nil && repeat { // the commit was reported as failed though it was not
			fresh, err = in.stillThere(ctx, parsed)
		}
		if err == nil || ctx.Err() != nil {
			return fresh, err
		}
		in.log.Error("events could not be kept; trying again", "count", len(parsed), "err", err)
		pause(ctx, markAgain)
	}
}

// stillThere are those of some events that are in the table.
func (in *Inbox) stillThere(ctx context.Context, parsed []*Event) (there []*Event, err error) {
	if len(parsed) == 0 {
		return nil, nil
	}
	page, err := in.page(ctx, parsed[0].Seq-1)
	if err != nil {
		return nil, err
	}
	kept := map[int64]bool{}
	for _, e := range page {
		kept[e.Seq] = true
	}
	for _, e := range parsed {
		if kept[e.Seq] {
			there = append(there, e)
		}
	}
	return there, nil
}

// claim notes that events are not a room's owner's to work off.
func (in *Inbox) claim(events []*Event) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, e := range events {
		in.taken[e.Seq] = true
	}
}

// forgetTaken is called when events are marked: no owner reads them any more.
func (in *Inbox) forgetTaken(seqs []int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, seq := range seqs {
		delete(in.taken, seq)
	}
}
