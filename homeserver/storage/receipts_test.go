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

// A page of the stream does not end in the middle of a position.
func TestReceiptStream(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		receipts := storage.NewReceipts(db)
		err = db.Update(t.Context(), func(tx *database.Tx) error {
			for i, position := range []int64{1, 2, 2, 3, 5} {
				r := storage.Receipt{RoomNID: 1, User: matrix.UserID(fmt.Sprint("@u", i, ":hs")), Type: "m.read", Event: "$e", Ordering: 7, Position: position}
				if moved, err := receipts.Move(t.Context(), tx, r); err != nil || !moved {
					return fmt.Errorf("moved %v: %w", moved, err)
				}
				r.Ordering = 6
				if moved, err := receipts.Move(t.Context(), tx, r); err != nil || moved {
					return fmt.Errorf("moved back %v: %w", moved, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			after, upTo int64
			limit       int
			want        string
		}{
			{0, 9, 100, "[1 2 2 3 5]"}, {0, 9, 1, "[1]"}, {0, 9, 2, "[1 2 2]"}, {0, 9, 3, "[1 2 2]"}, {1, 9, 1, "[2 2]"},
			{2, 4, 100, "[3]"}, {5, 9, 1, "[]"},
		} {
			list, err := receipts.Stream(t.Context(), tt.after, tt.upTo, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			positions := []int64{}
			for _, r := range list {
				positions = append(positions, r.Position)
			}
			if got := fmt.Sprint(positions); got != tt.want {
				t.Errorf("after %d up to %d, limit %d: %s, want %s", tt.after, tt.upTo, tt.limit, got, tt.want)
			}
		}
	})
}
