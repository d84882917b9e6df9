package media_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/media"
	"trestle/internal/database"
	"trestle/internal/testkit"
)

// others has media of which the ID says how many bytes there are.
type others struct {
	mu    sync.Mutex
	asked map[string]int
}

func (o *others) Download(_ context.Context, uri media.URI) (*media.Download, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked[uri.ID]++
	size := 40
	if strings.HasPrefix(uri.ID, "large") {
		size = 120
	}
	return &media.Download{ContentType: "image/png", Body: io.NopCloser(strings.NewReader(text(uri.ID, size)))}, nil
}

// Media of other servers have a budget. What nobody asked for longest makes room, and comes again.
func TestMediaOfOthersHaveABudget(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		l, there := newLarder(t, url), &others{asked: map[string]int{}}
		l.options.Remote, l.options.MaxRemote = there, 100
		l.Service = media.New(l.options)
		own := l.upload(uploader, text("own", 50))
		fetched := l.fetched(text("fetched", 90))
		get := func(id string, downloads int) {
			t.Helper()
			l.wait(time.Second)
			m, err := l.Find(t.Context(), media.Request{URI: media.URI{Server: "other.example", ID: id}})
			if err != nil || m.Size < 40 || there.asked[id] != downloads {
				t.Errorf("%s: %+v %v after %d downloads, not %d", id, m, err, there.asked[id], downloads)
			}
		}
		get("a", 1)
		get("b", 1)
		l.wait(48 * time.Hour)
		get("a", 1)
		l.must(l.options.DB.Update(t.Context(), func(*database.Tx) error { return nil })) // the note of the use is in the queue before this
		get("c", 1)
		get("a", 1)
		get("c", 1)
		get("b", 2)
		get("large", 1) // larger than all may be, and wanted now
		get("large", 1)
		get("a", 2)
		l.serves(true, own, fetched)
		if size, err := l.options.Store.SizeOfRemote(t.Context(), "hs.example"); size > 100 || err != nil {
			t.Errorf("%d bytes, %v", size, err)
		}
		// What operators have hidden stays, for them.
		hidden := media.URI{Server: "other.example", ID: "a"}
		if n, err := l.Quarantine(t.Context(), operator, hidden); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		for _, id := range []string{"d", "e", "f"} {
			get(id, 1)
		}
		if entry, err := l.Entry(t.Context(), hidden); err != nil || entry.QuarantinedBy != operator {
			t.Errorf("%+v %v", entry, err)
		}
		l.options.MaxRemote = 10
		l.Service = media.New(l.options)
		l.must(l.TrimRemote(t.Context()))
		if size, err := l.options.Store.SizeOfRemote(t.Context(), "hs.example"); size != 0 || err != nil {
			t.Errorf("%d bytes, %v", size, err)
		}
		l.serves(true, own, fetched)
	})
}
