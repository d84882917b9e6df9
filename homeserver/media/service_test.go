package media_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"trestle/homeserver/media"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func newService(t *testing.T, change func(*media.Options)) *media.Service {
	t.Helper()
	db, err := database.Open(t.Context(), testkit.SQLite(t), migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	options := media.Options{
		ServerName: "hs.example", DB: db, Store: storage.NewMedia(db), Files: newFolder(t, t.TempDir()), MaxUpload: 1000,
		Log: slog.New(slog.DiscardHandler),
	}
	change(&options)
	return media.New(options)
}

// remote is a server that does what a test says.
type remote func(ctx context.Context, uri media.URI) (*media.Download, error)

func (r remote) Download(ctx context.Context, uri media.URI) (*media.Download, error) {
	return r(ctx, uri)
}

func far(text string) *media.Download {
	return &media.Download{Body: io.NopCloser(strings.NewReader(text))}
}

// Whoever began a download may leave; those who wait for it get it.
func TestRemoteOnce(t *testing.T) {
	began, asked := make(chan struct{}), 0
	s := newService(t, func(o *media.Options) {
		o.Remote = remote(func(ctx context.Context, _ media.URI) (*media.Download, error) {
			if asked++; asked == 1 {
				close(began)
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return far("content"), nil
		})
	})
	request := media.Request{URI: media.URI{Server: "far.example", ID: "x"}}
	ctx, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		if _, err := s.Find(ctx, request); !errors.Is(err, context.Canceled) {
			t.Errorf("the first: %v", err)
		}
	})
	<-began
	for range 5 {
		all.Go(func() {
			if m, err := s.Find(t.Context(), request); err != nil || m.Size != int64(len("content")) {
				t.Errorf("another: %+v, %v", m, err)
			}
		})
	}
	leave()
	all.Wait()
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
}

// A panic is an error of those who asked, and of nobody who comes later.
func TestRemotePanics(t *testing.T) {
	asked := 0
	s := newService(t, func(o *media.Options) {
		o.Remote = remote(func(context.Context, media.URI) (*media.Download, error) {
			if asked++; asked == 1 {
				panic("no")
			}
			return &media.Download{ContentType: "text/plain", FileName: "a\x00b", Body: far("content").Body}, nil
		})
	})
	request := media.Request{URI: media.URI{Server: "far.example", ID: "x"}}
	if _, err := s.Find(t.Context(), request); err == nil || !strings.Contains(err.Error(), "panic: no") {
		t.Errorf("the first: %v", err)
	}
	if m, err := s.Find(t.Context(), request); err != nil || m.FileName != "" || m.ContentType != "text/plain" {
		t.Errorf("the second: %+v, %v", m, err)
	}
}

// A server that stops does not wait for uploads.
func TestStopsWaiting(t *testing.T) {
	s := newService(t, func(*media.Options) {})
	uri, _, err := s.Create(t.Context(), media.Reservation{User: "@alice:hs.example"})
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	close(stop)
	if _, err := s.Find(t.Context(), media.Request{URI: uri, Wait: 1 << 60, Stop: stop}); matrix.Code(err) != "M_NOT_YET_UPLOADED" {
		t.Errorf("stopped: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Find(ctx, media.Request{URI: uri, Wait: 1 << 60}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// fullDisk takes nothing.
type fullDisk struct{ media.Files }

var errFull = errors.New("no space left")

func (f fullDisk) Create(ctx context.Context) (media.Draft, error) {
	draft, err := f.Files.Create(ctx)
	return fullDraft{draft}, err
}

type fullDraft struct{ media.Draft }

func (fullDraft) Write([]byte) (int, error) { return 0, errFull }

func TestDiskFull(t *testing.T) {
	s := newService(t, func(o *media.Options) { o.Files = fullDisk{o.Files} })
	if _, err := s.Upload(t.Context(), media.Upload{Size: -1, Body: strings.NewReader("x")}); !errors.Is(err, errFull) {
		t.Errorf("upload: %v", err)
	}
}
