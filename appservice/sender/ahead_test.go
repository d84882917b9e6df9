package sender_test

import (
	"context"
	"strings"
	"testing"

	"trestle/appservice"
	"trestle/appservice/sender"
	"trestle/internal/testkit"
)

// What a service has missed is frozen several transactions at a time, all full
// but the last, and comes in order.
func TestABacklogIsFrozenInGroups(t *testing.T) {
	const events = 20_000
	store := newMemory()
	as := testkit.NewFakeAS(t, "")
	reg := service(t, "irc", as.URL)
	as.HSToken = reg.HSToken
	begin := endless{}
	s := sender.New(sender.Options{Registry: registry(t, reg), Store: store, Stream: begin, Rooms: begin})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeNow(s)
	before := store.writes
	stream := endless{n: events, by: "@irc_x:" + server}
	s = sender.New(sender.Options{Registry: registry(t, reg), Store: store, Stream: stream, Rooms: stream})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	as.Until(t, events)
	closeNow(s)
	store.mu.Lock()
	defer store.mu.Unlock()
	transactions := as.Transactions()
	if len(transactions) > events/100+3 {
		t.Errorf("%d events came in %d transactions", events, len(transactions))
	}
	if writes := store.writes - before; writes > len(transactions)/2 {
		t.Errorf("%d transactions took %d writes", len(transactions), writes)
	}
}

// heavy is a stream of large events that writes down how many are asked for at once.
type heavy struct {
	endless
	asked chan int
}

func (h heavy) Changes(ctx context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	select {
	case h.asked <- limit:
	default:
	}
	changes, err := h.endless.Changes(ctx, after, upTo, limit)
	for i := range changes {
		changes[i].Body, changes[i].Size = text(`{"body":"`+strings.Repeat("x", 50_000)+`"}`), 50_000
	}
	return changes, err
}

// Of large events no more is read at once than fits into memory.
func TestLargeEventsAreReadInSmallPages(t *testing.T) {
	const events = 60_000 // so many that the service reads them by itself
	store := newMemory()
	as := testkit.NewFakeAS(t, "")
	as.Forget = true
	reg := service(t, "irc", as.URL)
	as.HSToken = reg.HSToken
	store.cursors["irc"] = appservice.Cursor{Service: "irc", Epoch: "e"}
	stream := heavy{endless{n: events, by: "@irc_x:" + server}, make(chan int, 1000)}
	s := sender.New(sender.Options{Registry: registry(t, reg), Store: store, Stream: stream, Rooms: stream})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	as.Until(t, 300)
	closeNow(s)
	close(stream.asked)
	small := 0
	for limit := range stream.asked {
		if limit <= 50 {
			small++
		}
		if limit > 250 {
			t.Errorf("%d were asked for at once", limit)
		}
	}
	if small < 3 {
		t.Errorf("only %d small pages were read", small)
	}
}
