package clientapi_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

// nearest asks for the event at a time; the empty text where there is none.
func (d *device) nearest(room string, ts int64, dir string) string {
	d.t.Helper()
	r := d.do("GET", fmt.Sprintf("/_matrix/client/v1/rooms/%s/timestamp_to_event?ts=%d&dir=%s", room, ts, dir), nil)
	if r.status == 404 && r.field("errcode") == "M_NOT_FOUND" {
		return ""
	}
	if r.status != 200 {
		d.t.Errorf("at %d %s: %d %s", ts, dir, r.status, r.body)
	}
	return r.field("event_id")
}

func TestJumpToDate(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob, stranger := s.person("alice"), s.person("bob"), s.person("stranger")
		before := time.Now().UnixMilli() - 1
		room := alice.room(bob)
		stamp := func(event string) int64 {
			ts, _ := alice.must("GET", v3+"/rooms/"+room+"/event/"+event, nil).at("origin_server_ts").(float64)
			return int64(ts)
		}
		first := alice.say(room, "first")
		second := alice.say(room, "second")
		future := stamp(second) + 1000
		if got := alice.nearest(room, future, "b"); got != second {
			t.Errorf("backwards from the future: %s", got)
		}
		if got := alice.nearest(room, future, "f"); got != "" {
			t.Errorf("forwards from the future: %s", got)
		}
		if got := alice.nearest(room, before, "b"); got != "" {
			t.Errorf("backwards from before: %s", got)
		}
		if got := alice.must("GET", v3+"/rooms/"+room+"/event/"+alice.nearest(room, before, "f"), nil).field("type"); got != "m.room.create" {
			t.Errorf("forwards from before: %s", got)
		}
		// Among events of one time the first is the next and the last the one before.
		if stamp(first) == stamp(second) {
			if got := alice.nearest(room, stamp(first), "b"); got != second {
				t.Errorf("of one time, backwards: %s", got)
			}
		} else if got := alice.nearest(room, stamp(second)-1, "b"); got != first {
			t.Errorf("before the second: %s", got)
		}
		path := "/_matrix/client/v1/rooms/" + room + "/timestamp_to_event"
		stranger.refused("GET", path+"?dir=f&ts=1", nil, 403, "M_FORBIDDEN")
		nonsense := &device{wholeServer: s.plain(), token: alice.token}
		nonsense.refused("GET", path+"?dir=x&ts=1", nil, 400, "M_INVALID_PARAM")
		nonsense.refused("GET", path+"?dir=f&ts=x", nil, 400, "M_INVALID_PARAM")
		nonsense.refused("GET", path+"?ts=1", nil, 400, "M_MISSING_PARAM")
		nonsense.refused("GET", path+"?dir=f", nil, 400, "M_MISSING_PARAM")

		bob.must("POST", v3+"/rooms/"+room+"/leave", object{})
		alice.say(room, "without bob")
		left := bob.must("GET", v3+"/rooms/"+room+"/messages?dir=b&limit=1", nil)
		if got := bob.nearest(room, future+100_000, "b"); got != chunkIDs(left)[0] {
			t.Errorf("after leaving: %s, want %s", got, left.body)
		}
	})
}

const bridgeToken = "bridge-token"

// withBridge registers an application service that is told nothing.
func withBridge(t *testing.T) func(*config.Config) {
	return func(cfg *config.Config) {
		text := "id: bridge\nurl: null\nas_token: " + bridgeToken + "\nhs_token: other\nsender_localpart: bridge_bot\nrate_limited: false\nnamespaces: {}\n"
		if err := os.MkdirAll(cfg.AppServices[0], 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(cfg.AppServices[0], "bridge.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Events of one time, as bridges import them, keep their order.
func TestJumpToImportedEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database, withBridge(t))
		bridge := &device{wholeServer: s, user: "@bridge_bot:hs.example", token: bridgeToken}
		room := bridge.must("POST", v3+"/createRoom", object{"preset": "public_chat"}).field("room_id")
		const day = 1_600_000_000_000
		var ids []string
		for i := range 3 {
			q := url.Values{"ts": {fmt.Sprint(day)}}
			ids = append(ids, bridge.must("PUT", v3+"/rooms/"+room+"/send/m.room.message/"+fmt.Sprint(i)+"?"+q.Encode(), object{"body": "old", "msgtype": "m.text"}).field("event_id"))
		}
		if got := bridge.nearest(room, day, "b"); got != ids[2] {
			t.Errorf("backwards: %s of %v", got, ids)
		}
		if got := bridge.nearest(room, day, "f"); got != ids[0] {
			t.Errorf("forwards: %s of %v", got, ids)
		}
	})
}
