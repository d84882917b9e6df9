package media_test

import (
	"strings"
	"testing"
	"time"

	"trestle/homeserver/media"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// What is asked for stays; what users have uploaded outlives the pictures of
// pages.
func TestExpire(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := database.Open(ctx, url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		files, err := media.NewFolder(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		now := time.UnixMilli(1_700_000_000_000)
		s := media.New(media.Options{
			ServerName: "hs.example", DB: db, Store: storage.NewMedia(db), Files: files, MaxUpload: 1000,
			Now: func() time.Time { return now },
		})
		upload := func(user matrix.UserID, content string) media.URI {
			t.Helper()
			uri, err := s.Upload(ctx, media.Upload{User: user, Size: -1, Body: strings.NewReader(content)})
			if err != nil {
				t.Fatal(err)
			}
			return uri
		}
		page, used, unused := upload("", "page"), upload("@a:hs.example", "used"), upload("@a:hs.example", "unused")
		const day = 24 * time.Hour
		expire := func(r media.Retention, left ...media.URI) {
			t.Helper()
			if err := s.Expire(ctx, r); err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, uri := range []media.URI{page, used, unused} {
				if _, err := s.Entry(ctx, uri); err == nil {
					n++
				}
			}
			if n != len(left) {
				t.Errorf("%d are left, want %d", n, len(left))
			}
		}
		now = now.Add(10 * day)
		if _, err := s.Find(ctx, media.Request{URI: used}); err != nil {
			t.Fatal(err)
		}
		// The note of the use is in the queue before this.
		if err := db.Update(ctx, func(*database.Tx) error { return nil }); err != nil {
			t.Fatal(err)
		}
		expire(media.Retention{}, page, used, unused)
		expire(media.Retention{Previews: 5 * day, Remote: day}, used, unused)
		expire(media.Retention{Local: 5 * day}, used)
		now = now.Add(10 * day)
		expire(media.Retention{Local: 5 * day})
	})
}
