package storage_test

import (
	"fmt"
	"testing"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/testkit"
	"trestle/migrations"
)

// However often operators do something, the record has an end.
func TestTheNewestDeedsAreKept(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := database.Open(ctx, url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		s := storage.NewAppServiceLog(db)
		for i := range 7 {
			if _, err := s.Add(ctx, storage.AppServiceDeed{At: int64(i), By: "@root:hs.example", Service: "tea", Action: "ping"}, 3); err != nil {
				t.Fatal(err)
			}
		}
		list, err := s.List(ctx, "", 0, 10)
		if err != nil || len(list) != 3 || list[0].At != 6 || list[2].At != 4 {
			t.Errorf("left are %s, %v", fmt.Sprint(list), err)
		}
	})
}
