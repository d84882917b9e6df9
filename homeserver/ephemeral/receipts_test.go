package ephemeral_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"trestle/homeserver/ephemeral"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// What is answered from memory is what the table says.
func TestReceiptsFromMemory(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := newTown(t, url)
		people := []matrix.UserID{"@a:hs", "@b:hs", "@c:hs", "@d:hs"}
		room := w.room(people[0], people[1:]...)
		var said []matrix.EventID
		for range 12 {
			said = append(said, w.say(room, people[0]))
		}
		random := rand.New(rand.NewPCG(1, 2))
		positions := []int64{0, w.notifier.Position()}
		for range 120 {
			mark := ephemeral.Mark{Type: ephemeral.Read, Event: said[random.IntN(len(said))]}
			if random.IntN(3) == 0 {
				mark.Type = ephemeral.ReadPrivate
			}
			if random.IntN(3) == 0 {
				mark.Thread = ephemeral.MainThread
			}
			w.must(w.Mark(t.Context(), people[random.IntN(len(people))], room, []ephemeral.Mark{mark}))
			positions = append(positions, w.notifier.Position())
		}
		cold := ephemeral.New(w.options)
		newest := w.notifier.Position()
		for _, since := range positions {
			for _, reader := range people {
				warm, err := w.ReceiptsSince(t.Context(), room, since, newest, reader)
				w.must(err)
				stored, err := cold.ReceiptsSince(t.Context(), room, since, newest, reader)
				w.must(err)
				if !sameJSON(t, warm, stored) {
					t.Fatalf("since %d for %s:\nmemory %s\ntable  %s", since, reader, warm, stored)
				}
			}
		}
	})
}

func sameJSON(t *testing.T, a, b json.RawMessage) bool {
	t.Helper()
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatalf("not JSON: %s, %s", a, b)
	}
	return reflect.DeepEqual(x, y)
}
