package legacyapi

import (
	"encoding/json"
	"testing"
)

func TestOldEvent(t *testing.T) {
	for _, c := range []struct{ now, then string }{
		{
			`{"sender":"@a:b","unsigned":{"age":1,"prev_content":{"x":1},"transaction_id":"t"}}`,
			`{"age":1,"prev_content":{"x":1},"sender":"@a:b","unsigned":{"age":1,"prev_content":{"x":1},"transaction_id":"t"},"user_id":"@a:b"}`,
		},
		{
			`{"unsigned":{"redacted_because":{"sender":"@c:d"}}}`,
			`{"redacted_because":{"sender":"@c:d","user_id":"@c:d"},"unsigned":{"redacted_because":{"sender":"@c:d"}}}`,
		},
		{`{"type":"m.typing"}`, `{"type":"m.typing"}`},
	} {
		if got, err := oldEvent(json.RawMessage(c.now)); string(got) != c.then || err != nil {
			t.Errorf("%s became %s (%v), not %s", c.now, got, err, c.then)
		}
	}
}

func FuzzOldEvent(f *testing.F) {
	f.Add([]byte(`{"sender":"@a:b","type":"m.presence","content":{},"unsigned":{"age":1,"redacted_because":{"sender":"@c:d"}}}`))
	f.Fuzz(func(t *testing.T, event []byte) {
		then, err := oldEvents([]json.RawMessage{event})
		if err != nil {
			return
		}
		if !json.Valid(then[0]) {
			t.Errorf("%s became %s", event, then[0])
		}
		if list, err := oldPresence(then); err == nil && !json.Valid(list[0]) {
			t.Errorf("%s became %s", then[0], list[0])
		}
	})
}
