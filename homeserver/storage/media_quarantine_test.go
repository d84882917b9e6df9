package storage_test

import (
	"io/fs"
	"testing"
	"testing/fstest"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// What was hidden by its ID before content was is hidden as content now.
func TestQuarantineMigration(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		before := fstest.MapFS{}
		names, err := fs.Glob(migrations.Homeserver, "*.sql")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name >= "0030" {
				continue
			}
			text, err := fs.ReadFile(migrations.Homeserver, name)
			if err != nil {
				t.Fatal(err)
			}
			before[name] = &fstest.MapFile{Data: text}
		}
		open := func(migrations fs.FS) (*database.DB, *storage.Media) {
			t.Helper()
			db, err := database.Open(ctx, url, migrations, database.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return db, storage.NewMedia(db)
		}
		db, _ := open(before)
		insert := database.SQL(`
			INSERT INTO media (origin, media_id, hash, size, content_type, file_name, created_at, unauthenticated, quarantined_by, protected)
			VALUES ('hs.example', $1, $2, 1, 'text/plain', '', 1, FALSE, $3, $4)`)
		rows := []struct {
			id, hash  string
			by        any
			protected bool
			want      matrix.UserID
		}{
			{"hidden", "bad", "@root:hs.example", false, "@root:hs.example"},
			{"same", "bad", nil, false, "@root:hs.example"},
			{"other", "good", nil, false, ""},
			{"sticker", "sticker", "@root:hs.example", false, "@root:hs.example"},
			{"pack", "sticker", nil, true, ""},
		}
		for _, row := range rows {
			err := db.Update(ctx, func(tx *database.Tx) error {
				_, err := tx.Exec(ctx, insert, row.id, []byte(row.hash), row.by, row.protected)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		db.Close()
		db, store := open(migrations.Homeserver)
		defer db.Close()
		for _, row := range rows {
			entry, err := store.Find(ctx, "hs.example", row.id)
			if err != nil || entry.QuarantinedBy != row.want {
				t.Errorf("%s: %+v, %v", row.id, entry, err)
			}
		}
		for hash, want := range map[string]matrix.UserID{"bad": "@root:hs.example", "good": "", "sticker": ""} {
			if by, err := store.QuarantinedBy(ctx, db.Read(), []byte(hash)); err != nil || by != want {
				t.Errorf("content %s: %s, %v", hash, by, err)
			}
		}
	})
}
