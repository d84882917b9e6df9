package media_test

import (
	"bytes"
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"trestle/homeserver/media"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

const (
	operator = matrix.UserID("@root:hs.example")
	uploader = matrix.UserID("@alice:hs.example")
)

// A guarded is a repository on a database whose files can be counted.
type guarded struct {
	*media.Service
	t      *testing.T
	folder string
}

func newGuarded(t *testing.T, url string) *guarded {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	g := &guarded{t: t, folder: t.TempDir()}
	g.Service = media.New(media.Options{
		ServerName: "hs.example", DB: db, Store: storage.NewMedia(db), Files: newFolder(t, g.folder), MaxUpload: 1000,
		Remote: remote(func(_ context.Context, uri media.URI) (*media.Download, error) { return far(uri.ID), nil }),
	})
	return g
}

func (g *guarded) files() (n int) {
	_ = filepath.WalkDir(g.folder, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	return n
}

func (g *guarded) try(user matrix.UserID, content string) (media.URI, error) {
	return g.Upload(g.t.Context(), media.Upload{User: user, Size: -1, Body: strings.NewReader(content)})
}

func (g *guarded) upload(user matrix.UserID, content string) media.URI {
	g.t.Helper()
	uri, err := g.try(user, content)
	if err != nil {
		g.t.Fatal(err)
	}
	return uri
}

func (g *guarded) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// serves checks which media are served.
func (g *guarded) serves(want bool, uris ...media.URI) {
	g.t.Helper()
	for _, uri := range uris {
		_, err := g.Find(g.t.Context(), media.Request{URI: uri})
		if want && err != nil || !want && matrix.Code(err) != "M_NOT_FOUND" {
			g.t.Errorf("%s: %v", uri, err)
		}
	}
}

// refuses checks that content cannot be uploaded, by itself or to an ID that
// waits for it, and leaves no file.
func (g *guarded) refuses(content string) {
	g.t.Helper()
	before := g.files()
	if _, err := g.try("@bob:hs.example", content); matrix.Code(err) != "M_FORBIDDEN" || !strings.Contains(err.Error(), "do not allow this file") {
		g.t.Errorf("uploading %q: %v", content, err)
	}
	uri, _, err := g.Create(g.t.Context(), media.Reservation{User: uploader})
	g.must(err)
	err = g.Fill(g.t.Context(), uri, media.Upload{User: uploader, Size: -1, Body: bytes.NewReader([]byte(content))})
	if matrix.Code(err) != "M_FORBIDDEN" {
		g.t.Errorf("filling in %q: %v", content, err)
	}
	if n := g.files(); n != before {
		g.t.Errorf("%d files became %d", before, n)
	}
}

// Content is hidden by whatever ID, also that which comes later, and stays so
// when it is deleted.
func TestQuarantineIsOfContent(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		g, ctx := newGuarded(t, url), t.Context()
		bad, same, good := g.upload(uploader, "bad"), g.upload("@bob:hs.example", "bad"), g.upload(uploader, "good")
		known, later := media.URI{Server: "one.example", ID: "bad"}, media.URI{Server: "two.example", ID: "bad"}
		g.serves(true, bad, same, good, known)
		if n, err := g.Quarantine(ctx, operator, bad); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		g.serves(false, bad, same, known, later)
		g.serves(true, good)
		g.refuses("bad")
		for _, uri := range []media.URI{same, later} {
			if entry, err := g.Entry(ctx, uri); err != nil || entry.QuarantinedBy != operator {
				t.Errorf("%s: %+v, %v", uri, entry, err)
			}
		}
		for _, uri := range []media.URI{bad, same, known, later} {
			g.must(g.Delete(ctx, uri))
		}
		g.refuses("bad")
		if n := g.files(); n != 1 {
			t.Errorf("%d files", n)
		}
		// The ID by which it was hidden is good for that still.
		if err := g.Release(ctx, same); matrix.Code(err) != "M_NOT_FOUND" {
			t.Errorf("by an ID that is gone: %v", err)
		}
		g.must(g.Release(ctx, bad))
		g.serves(true, g.upload(uploader, "bad"))
	})
}

func TestReleaseIsOfContent(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		g, ctx := newGuarded(t, url), t.Context()
		one, two, other := g.upload(uploader, "x"), g.upload(uploader, "x"), g.upload(uploader, "y")
		if n, err := g.Quarantine(ctx, operator, one, other); n != 2 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		g.must(g.Release(ctx, two))
		g.serves(true, one, two, g.upload(uploader, "x"))
		g.serves(false, other)
		g.refuses("y")
	})
}

// All of a user's uploads at once; IDs without content and what is protected
// under any ID hide nothing else.
func TestQuarantineOfUserIsOfContent(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		g, ctx := newGuarded(t, url), t.Context()
		bad, again, sticker := g.upload(uploader, "bad"), g.upload(uploader, "bad"), g.upload(uploader, "sticker")
		others, pack := g.upload("@bob:hs.example", "bad"), g.upload("@bob:hs.example", "sticker")
		if _, _, err := g.Create(ctx, media.Reservation{User: uploader}); err != nil {
			t.Fatal(err)
		}
		g.must(g.Protect(ctx, pack.ID, true))
		if n, err := g.QuarantineOfUser(ctx, operator, uploader); n != 4 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		g.serves(false, bad, again, others, sticker)
		g.serves(true, pack, g.upload("@bob:hs.example", "sticker"))
		g.refuses("bad")
		// One of them by its ID, as before.
		copied := g.upload("@bob:hs.example", "sticker")
		if n, err := g.Quarantine(ctx, operator, copied, pack); n != 1 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
		g.serves(false, copied)
		g.serves(true, pack)
	})
}
