package database_test

import (
	"strings"
	"testing"

	"trestle/internal/database"
	"trestle/internal/testkit"
)

func TestAForeignDatabaseIsOnlyRead(t *testing.T) {
	url := testkit.Postgres(t)
	err := database.ReadForeign(t.Context(), url, func(f *database.Foreign) error {
		var numbers []int
		err := f.Each(t.Context(), "SELECT generate_series(1, 3)", func(scan func(...any) error) error {
			numbers = append(numbers, 0)
			return scan(&numbers[len(numbers)-1])
		})
		if err != nil || len(numbers) != 3 || numbers[2] != 3 {
			t.Errorf("read %v, %v", numbers, err)
		}
		for table, want := range map[string]bool{"pg_class": true, "no_such_table": false} {
			if there, err := f.Has(t.Context(), table); err != nil || there != want {
				t.Errorf("%s: %t, %v", table, there, err)
			}
		}
		return f.Each(t.Context(), "CREATE TABLE ours (id INTEGER)", func(func(...any) error) error { return nil })
	})
	if err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("writing: %v", err)
	}
	if err := database.ReadForeign(t.Context(), "postgres://127.0.0.1:1/none", nil); err == nil {
		t.Error("a database that is not there is read")
	}
}
