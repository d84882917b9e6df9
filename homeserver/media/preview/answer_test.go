package preview

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// A page that says more than anybody wants to know loses some of it, always
// the same, and nothing that clients show.
func TestAnswersAreBounded(t *testing.T) {
	page := &Page{Properties: map[string]string{"og:title": "T", "og:url": "u"}}
	for i := range maxProperties {
		page.Properties[fmt.Sprint("og:a", i)] = strings.Repeat("x", maxValue)
	}
	answer, size := properties(page), 0
	for name, value := range answer {
		size += len(name) + len(value.(string))
	}
	if size > maxAnswer || size < maxAnswer/2 || answer["og:title"] != "T" || answer["og:url"] != "u" {
		t.Errorf("%d bytes: %v", size, answer)
	}
	if again := properties(page); !maps.Equal(answer, again) {
		t.Error("another time it is another answer")
	}
}

// There are only so many answers, however many are asked for before they expire.
func TestAnswersAreCounted(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(db.Close)
		store, now := storage.NewPreviews(db), time.UnixMilli(1000)
		s := &Service{options: Options{DB: db, Store: store, MaxAnswers: 3, Now: func() time.Time { return now }}}
		err = db.Update(t.Context(), func(tx *database.Tx) error {
			for i := range 5 {
				p := storage.Preview{Hash: []byte{byte(i)}, Answer: []byte("{}"), FetchedAt: int64(i), ExpiresAt: 2000}
				if err := store.Set(t.Context(), tx, p); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if found, err := store.Find(t.Context(), []byte{byte(i)}, 1000); err != nil || (found != nil) != (i >= 2) {
				t.Errorf("answer %d: %s, %v", i, found, err)
			}
		}
	})
}
