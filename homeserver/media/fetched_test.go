package media_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/media"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// A larder is a repository that keeps 100 bytes of what it has fetched.
type larder struct {
	*guarded
	options media.Options
	clock   sync.Mutex
	now     time.Time
}

func newLarder(t *testing.T, url string) *larder {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	l := &larder{guarded: &guarded{t: t, folder: t.TempDir()}, now: time.UnixMilli(1_700_000_000_000)}
	l.options = media.Options{
		ServerName: "hs.example", DB: db, Store: storage.NewMedia(db), Files: newFolder(t, l.folder), MaxUpload: 1000,
		MaxPerUser: 50, MaxFetched: 100, Now: func() time.Time { l.clock.Lock(); defer l.clock.Unlock(); return l.now },
	}
	l.Service = media.New(l.options)
	return l
}

func (l *larder) wait(d time.Duration) {
	l.clock.Lock()
	defer l.clock.Unlock()
	l.now = l.now.Add(d)
}

func (l *larder) fetched(content string) media.URI {
	l.t.Helper()
	l.wait(time.Second)
	uri, err := l.KeepFetched(l.t.Context(), media.Fetched{ContentType: "image/png", Content: []byte(content)})
	l.must(err)
	return uri
}

func text(name string, size int) string { return name + strings.Repeat(".", size-len(name)) }

// What the server fetches itself has a budget. What nobody asked for longest
// makes room, uploads of users do not, and what is there does not come twice.
func TestFetchedHasABudget(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		l, ctx := newLarder(t, url), t.Context()
		own := l.upload(uploader, text("own", 50))
		a, b, c := l.fetched(text("a", 40)), l.fetched(text("b", 40)), l.fetched(text("c", 20))
		l.serves(true, own, a, b, c)
		if again := l.fetched(text("a", 40)); again != a {
			t.Errorf("the same content is %s and %s", a, again)
		}
		l.wait(48 * time.Hour)
		l.serves(true, a) // which somebody has asked for
		// The note of the use is in the queue before this.
		l.must(l.options.DB.Update(ctx, func(*database.Tx) error { return nil }))
		d := l.fetched(text("d", 30))
		l.serves(true, own, a, c, d)
		l.serves(false, b)
		if n := l.files(); n != 4 {
			t.Errorf("%d files", n)
		}
		if _, err := l.KeepFetched(ctx, media.Fetched{Content: []byte(text("e", 101))}); matrix.Code(err) != "M_FORBIDDEN" {
			t.Errorf("more than all may be: %v", err)
		}
		l.serves(true, own, a, c, d)
		// Hidden content is kept for the operators, and refused.
		if _, err := l.Quarantine(ctx, operator, d); err != nil {
			t.Fatal(err)
		}
		if _, err := l.KeepFetched(ctx, media.Fetched{ContentType: "image/png", Content: []byte(text("d", 30))}); matrix.Code(err) != "M_FORBIDDEN" {
			t.Errorf("hidden content: %v", err)
		}
		l.serves(true, l.fetched(text("f", 40)), a, c)
		for uri, want := range map[media.URI]bool{a: true, b: false, d: false, {Server: "hs.example", ID: "none"}: false} {
			if served, err := l.Serves(ctx, uri); served != want || err != nil {
				t.Errorf("%s is served: %v, %v", uri, served, err)
			}
		}
		// A smaller budget is kept to.
		l.options.MaxFetched = 60
		l.Service = media.New(l.options)
		l.must(l.TrimFetched(ctx))
		if size, err := l.options.Store.SizeOfOwnless(ctx, "hs.example"); size > 60 || err != nil {
			t.Errorf("%d bytes are left, %v", size, err)
		}
		l.serves(true, own)
	})
}

// Those who fetch at the same time do not take the same room.
func TestFetchedAtTheSameTime(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		l := newLarder(t, url)
		var all sync.WaitGroup
		failed := make([]error, 12)
		for i := range failed {
			all.Go(func() {
				_, failed[i] = l.KeepFetched(t.Context(), media.Fetched{Content: []byte(text(fmt.Sprint(i%6), 30))})
			})
		}
		all.Wait()
		if err := errors.Join(failed...); err != nil {
			t.Error(err)
		}
		if size, err := l.options.Store.SizeOfOwnless(t.Context(), "hs.example"); size > 100 || err != nil {
			t.Errorf("%d bytes, %v", size, err)
		}
	})
}
