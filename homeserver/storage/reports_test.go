package storage_test

import (
	"fmt"
	"testing"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func TestReportsAreBounded(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		ctx := t.Context()
		db, err := database.Open(ctx, url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		reports := storage.New(db).Reports
		err = db.Update(ctx, func(tx *database.Tx) error {
			for i := range int64(8) {
				r := storage.Report{ID: i + 1, Kind: "room", Reporter: "@a:x", Room: matrix.RoomID(fmt.Sprintf("!%d:x", i%6)), ReceivedAt: i}
				if err := reports.Insert(ctx, tx, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		// Who reports the same again has one report.
		if n, err := reports.CountOf(ctx, db.Read(), "@a:x", 100); n != 6 || err != nil {
			t.Errorf("%d reports, %v", n, err)
		}
		if n, err := reports.CountOf(ctx, db.Read(), "@a:x", 4); n != 4 || err != nil {
			t.Errorf("%d reports of up to 4, %v", n, err)
		}
		if err := db.Update(ctx, func(tx *database.Tx) error { return reports.Trim(ctx, tx, 2) }); err != nil {
			t.Fatal(err)
		}
		list, total, err := reports.List(ctx, storage.ReportQuery{Kind: "room", Limit: 10})
		if err != nil || total != 2 || len(list) != 2 || list[0].Room != "!5:x" || list[1].Room != "!4:x" {
			t.Errorf("%v, %d, %v", list, total, err)
		}
	})
}
