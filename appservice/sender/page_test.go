package sender_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"trestle/appservice/sender"
)

// frugal is a world that gives out no more at once than it has to.
type frugal struct {
	*world
	mu      sync.Mutex
	largest int // bytes of a page
	pages   int
}

func (f *frugal) Changes(ctx context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	all, err := f.world.Changes(ctx, after, upTo, limit)
	bytes, n := 0, 0
	for n < len(all) && !sender.Full(all[:n], limit) {
		bytes += all[n].Size
		n++
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.largest, f.pages = max(f.largest, bytes), f.pages+1
	return all[:n], err
}

// Large events are all delivered, in order, whoever reads them; no page is much larger
// than it may be.
func TestPagesOfLargeEvents(t *testing.T) {
	const events, size = 300, 64 << 10
	w := &frugal{world: newWorld()}
	as, reg := fake(t, "irc")
	open := toll(as, http.StatusTeapot)
	s := sender.New(sender.Options{Registry: registry(t, reg), Store: newMemory(), Stream: w, Rooms: w})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeNow(s) })
	filler := strings.Repeat("x", size)
	for i := range events {
		w.add(sender.Change{Room: room, Sender: "@irc_x:" + server, Body: text(fmt.Sprintf(`{"event_id":"$%d","body":%q}`, i+1, filler))})
	}
	s.Wake(events) // of all at once
	until(t, s, "it falls behind", func(st sender.Status) bool { return !st.Live && st.Backlog() == events })
	open()
	s.Retry("irc")
	as.Until(t, events)
	got := slices.Compact(eventIDs(t, as.Events()))
	if want := ids(1, events); !slices.Equal(got, want) {
		t.Errorf("%d events came; %s", len(got), difference(got, want))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.largest > sender.PageBytes+size+100 || w.largest < 1<<20 || w.pages < events*size/sender.PageBytes {
		t.Errorf("the largest of %d pages has %d bytes", w.pages, w.largest)
	}
}
