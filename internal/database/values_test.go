package database_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"trestle/internal/database"
)

type (
	title string
	blob  []byte
	count int32
	flag  bool
)

func TestValues(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		ctx := t.Context()
		position := int64(1) << 60
		rows := [][]any{
			{1, "one", []byte{0, 1, 255}, true, int64(-5)},
			{int32(2), title("two — ü"), json.RawMessage(`{"a":1}`), flag(true), &position},
			{uint8(3), "three", []byte{}, false, nil},
			{int64(4), "", nil, false, (*int64)(nil)},
			{count(5), "five", blob("x"), false, count(7)},
		}
		err := db.Update(ctx, func(tx *database.Tx) error { return tx.ExecMany(ctx, insertNote, rows) })
		if err != nil {
			t.Fatal(err)
		}
		type note struct {
			Name     string
			Body     []byte
			Pinned   bool
			Position *int64
		}
		ref := func(n int64) *int64 { return &n }
		want := []note{
			{"one", []byte{0, 1, 255}, true, ref(-5)},
			{"two — ü", []byte(`{"a":1}`), true, ref(1 << 60)},
			{"three", []byte{}, false, nil},
			{"", nil, false, nil},
			{"five", []byte("x"), false, ref(7)},
		}
		for i, w := range want {
			var got note
			err := db.Read().QueryRow(ctx, selectNote, i+1).Scan(&got.Name, &got.Body, &got.Pinned, &got.Position)
			if err != nil || !reflect.DeepEqual(got, w) {
				t.Errorf("note %d is %+v, %v; want %+v", i+1, got, err, w)
			}
		}
		var name title
		var body blob
		var pinned flag
		var number *count
		if err := db.Read().QueryRow(ctx, selectNote, 5).Scan(&name, &body, &pinned, &number); err != nil {
			t.Fatal(err)
		}
		if name != "five" || string(body) != "x" || pinned || *number != 7 {
			t.Error("named types hold", name, body, pinned, number)
		}
		var raw json.RawMessage
		if err := db.Read().QueryRow(ctx, selectNote, 2).Scan(&name, &raw, &pinned, &number); err == nil {
			t.Error("2^60 fits a 32-bit integer")
		}
		var long int64
		if err := db.Read().QueryRow(ctx, selectNote, 2).Scan(&name, &raw, &pinned, &long); err != nil || string(raw) != `{"a":1}` {
			t.Error(string(raw), err)
		}
	})
}

func TestScanRefuses(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		addNote(t, db, 1, "one")
		var text string
		var body []byte
		var pinned bool
		var number int64
		for what, dest := range map[string][]any{
			"too few":           {&text},
			"NULL as integer":   {&text, &body, &pinned, &number},
			"text as integer":   {&number, &body, &pinned, new(*int64)},
			"boolean as string": {&text, &body, &text, new(*int64)},
			"no pointer":        {text, &body, &pinned, new(*int64)},
		} {
			if err := db.Read().QueryRow(t.Context(), selectNote, 1).Scan(dest...); err == nil {
				t.Errorf("%s: no error", what)
			}
		}
		// The connections are free again.
		for range 20 {
			if n := noteCount(t, db); n != 1 {
				t.Fatal(n)
			}
		}
	})
}

func TestArrays(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		for i, name := range []string{"a", `b"',\`, "c", "ü<&>"} {
			addNote(t, db, int64(i+1), name)
		}
		query := func(stmt *database.Statement, args ...any) string {
			rows, err := db.Read().Query(t.Context(), stmt, args...)
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for rows.Next() {
				var v string
				if stmt == selectIDs {
					var id int64
					err = rows.Scan(&id)
					v = fmt.Sprint(id)
				} else {
					err = rows.Scan(&v)
				}
				if err != nil {
					t.Fatal(err)
				}
				found = append(found, v)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			return strings.Join(found, " ")
		}
		for _, c := range []struct {
			got, want string
		}{
			{query(selectIDs, []int64{4, 2, 9}), "2 4"},
			{query(selectIDs, []count{1}), "1"},
			{query(selectIDs, []int64(nil)), ""},
			{query(selectNames, []string{"a", `b"',\`, "ü<&>", "no"}, []string{"a"}), `b"',\ ü<&>`},
			{query(selectNames, []title{"a", "c"}, []title(nil)), "a c"},
			{query(selectNames, []string{}, []string{}), ""},
		} {
			if c.got != c.want {
				t.Errorf("found %q, want %q", c.got, c.want)
			}
		}
	})
}

func TestBadArguments(t *testing.T) {
	onEach(t, func(t *testing.T, db *database.DB) {
		for _, arg := range []any{"nul\x00", "\xff", []string{"ok", "\xff"}, struct{}{}, []float32{1}, uint64(1 << 63), make(chan int)} {
			if _, err := db.Read().Query(t.Context(), selectNote, arg); err == nil {
				t.Errorf("argument %#v: no error", arg)
			}
		}
		_, err := db.Read().Query(t.Context(), selectNote, "nul\x00")
		if !errors.Is(err, database.ErrText) || !strings.Contains(err.Error(), "database_test.go") {
			t.Errorf("error is %v, want ErrText and the place of the statement", err)
		}
	})
}
