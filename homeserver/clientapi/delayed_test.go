package clientapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

const msc4140 = "/_matrix/client/unstable/org.matrix.msc4140"

// until repeats a request until its answer is the right one.
func (d *device) until(what, path string, right func(reply) bool) reply {
	d.t.Helper()
	var last reply
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		if last = d.do("GET", path, nil); right(last) {
			return last
		}
	}
	d.t.Fatalf("%s: never %s: %s", d.user, what, last.body)
	return last
}

func (r reply) delayedEvents() []any {
	list, _ := r.at("delayed_events").([]any)
	return list
}

func scheduled(n int) func(reply) bool {
	return func(r reply) bool { return r.status == 200 && len(r.delayedEvents()) == n }
}

// Messages and state are sent after their delay, whatever became of the client.
func TestDelayedEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database).plain()
		alice, bob, nobody := s.person("alice"), s.person("bob"), &device{wholeServer: s}
		room := alice.room(bob)
		if r := alice.must("GET", "/_matrix/client/versions", nil); r.at("unstable_features", "org.matrix.msc4140") != true {
			t.Errorf("%s", r.body)
		}
		nobody.refused("GET", msc4140+"/delayed_events", nil, 401, "M_MISSING_TOKEN")
		alice.until("empty", msc4140+"/delayed_events", scheduled(0))
		for i, delay := range []int{300, 350, 400} {
			path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/txn%d?org.matrix.msc4140.delay=%d", v3, room, i, delay)
			id := alice.must("PUT", path, map[string]any{"body": fmt.Sprint(i), "msgtype": "m.text"}).field("delay_id")
			if again := alice.must("PUT", path, nil).field("delay_id"); again != id || id == "" {
				t.Errorf("repeated: %q, then %q", id, again)
			}
		}
		bob.until("bob's own", msc4140+"/delayed_events", scheduled(0))
		alice.until("sent", msc4140+"/delayed_events", scheduled(0))
		said := alice.must("GET", v3+"/rooms/"+room+"/messages?dir=b&limit=3", nil)
		chunk, _ := said.at("chunk").([]any)
		for i, e := range chunk {
			e := e.(map[string]any)
			unsigned := e["unsigned"].(map[string]any)
			if e["content"].(map[string]any)["body"] != fmt.Sprint(2-i) || unsigned["delay_id"] == nil || unsigned["transaction_id"] != nil {
				t.Errorf("%d: %v", i, e)
			}
		}
		if r := bob.must("GET", v3+"/rooms/"+room+"/messages?dir=b&limit=3", nil); strings.Contains(r.body, "delay_id") {
			t.Errorf("bob learns the IDs: %s", r.body)
		}

		state := v3 + "/rooms/" + room + "/state/com.example.test/later"
		alice.must("PUT", state+"?org.matrix.msc4140.delay=300", map[string]string{"setter": "on_timeout"})
		if list := alice.must("GET", msc4140+"/delayed_events", nil).delayedEvents(); len(list) == 1 {
			e := list[0].(map[string]any)
			if !same(e["content"], map[string]string{"setter": "on_timeout"}) || e["state_key"] != "later" || e["running_since"] == nil {
				t.Errorf("%v", e)
			}
			alice.refused("GET", state, nil, 404, "M_NOT_FOUND")
		}
		alice.until("set", state, func(r reply) bool { return r.field("setter") == "on_timeout" })
	})
}

// Whoever knows a delay ID can act on the event, without a token.
func TestDelayedEventActions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database).plain()
		alice, bob, nobody := s.person("alice"), s.person("bob"), &device{wholeServer: s}
		room := alice.room()
		for _, action := range []string{"send", "cancel", "restart"} {
			nobody.refused("POST", msc4140+"/delayed_events/abc/"+action, `{}`, 404, "M_NOT_FOUND")
		}
		nobody.refused("POST", msc4140+"/delayed_events/abc/oops", `{}`, 404, "M_UNRECOGNIZED")
		nobody.refused("POST", msc4140+"/delayed_events/abc", `{}`, 400, "M_MISSING_PARAM")
		nobody.refused("POST", msc4140+"/delayed_events/abc", `{"action":"oops"}`, 400, "M_INVALID_PARAM")

		path := func(txn string) string { return "/rooms/" + room + "/delayed_event/com.example.test/" + txn }
		body := map[string]any{"delay_ms": 600_000, "state_key": "key", "content": map[string]string{"set": "by hand"}}
		id := alice.must("PUT", v3+path("1"), body).field("delay_id")
		one := "/_matrix/client/v1/delayed_events/" + id
		if r := alice.must("GET", one, nil); r.field("delay_id") != id || r.at("delay_ms") != 600_000.0 || r.at("finalised") != nil || r.at("state_key") != "key" {
			t.Errorf("%s", r.body)
		}
		bob.refused("GET", one, nil, 404, "M_NOT_FOUND")
		nobody.must("POST", one+"/restart", nil)
		nobody.must("POST", one+"/send", `{}`)
		nobody.must("POST", msc4140+"/delayed_events/"+id, `{"action":"send"}`)
		nobody.refused("POST", one+"/cancel", `{}`, 409, "M_UNKNOWN")
		if r := alice.must("GET", v3+"/rooms/"+room+"/state/com.example.test/key", nil); r.field("set") != "by hand" {
			t.Errorf("%s", r.body)
		}
		if r := alice.must("GET", one, nil); r.at("finalised", "event_id") == nil || r.at("finalised", "finalised_ts") == nil {
			t.Errorf("%s", r.body)
		}
		if list := alice.must("GET", msc4140+"/delayed_events?status=finalised", nil).delayedEvents(); len(list) != 1 {
			t.Errorf("finalised: %v", list)
		}
		body["delay_ms"] = 1.5
		alice.refused("PUT", v3+path("2"), body, 400, "M_BAD_JSON")
		delete(body, "delay_ms")
		alice.refused("PUT", v3+path("2"), body, 400, "M_INVALID_PARAM")
		body["delay"] = 1 << 40
		alice.refused("PUT", v3+path("2"), body, 400, "M_MAX_DELAY_EXCEEDED")
		alice.refused("PUT", msc4140+path("2"), body, 400, "ORG.MATRIX.MSC4140_MAX_DELAY_EXCEEDED")
		r := alice.do("PUT", v3+"/rooms/"+room+"/send/m.room.message/x?org.matrix.msc4140.delay=1000000000000", `{}`)
		if r.status != 400 || r.field("errcode") != "M_UNKNOWN" || r.at("org.matrix.msc4140.errcode") != "M_MAX_DELAY_EXCEEDED" || r.at("org.matrix.msc4140.max_delay") != 86400000.0 {
			t.Errorf("%d %s", r.status, r.body)
		}
		alice.refused("PUT", v3+"/rooms/"+room+"/send/m.room.message/x?org.matrix.msc4140.delay=soon", `{}`, 400, "M_INVALID_PARAM")
		alice.refused("PUT", v3+path("2"), `{"delay_ms":1,"content":[]}`, 400, "M_BAD_JSON")
		alice.refused("GET", msc4140+"/delayed_events?from=%21", nil, 400, "M_INVALID_PARAM")
		alice.refused("GET", msc4140+"/delayed_events?status=lost", nil, 400, "M_INVALID_PARAM")
	})
}

// A long list has pages, and everybody only so many events.
func TestManyDelayedEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database, func(c *config.Config) { c.Delayed.MaxPerUser = 102 }).plain()
		alice := s.person("alice")
		room := alice.room()
		send := func(i int) reply {
			return alice.do("PUT", fmt.Sprintf("%s/rooms/%s/send/m.room.message/%d?org.matrix.msc4140.delay=%d", v3, room, i, 600_000-i%3), `{}`)
		}
		for i := range 102 {
			if r := send(i); r.status != 200 {
				t.Fatalf("%d: %s", i, r.body)
			}
		}
		if r := send(102); r.status != 429 || r.field("errcode") != "M_LIMIT_EXCEEDED" {
			t.Errorf("one too many: %d %s", r.status, r.body)
		}
		first := alice.must("GET", msc4140+"/delayed_events", nil)
		second := alice.must("GET", msc4140+"/delayed_events?from="+first.field("next_batch"), nil)
		if len(first.delayedEvents()) != 100 || len(second.delayedEvents()) != 2 || second.at("next_batch") != nil {
			t.Errorf("pages of %d and %d", len(first.delayedEvents()), len(second.delayedEvents()))
		}
		if r := alice.must("GET", v3+"/capabilities", nil); !same(r.at("capabilities", "m.delayed_events"), map[string]int{"max_delay_ms": 86400000, "max_scheduled": 102}) {
			t.Errorf("%s", r.body)
		}
	})
}

// A server that wants no delayed events says so.
func TestNoDelayedEvents(t *testing.T) {
	s := newWholeServer(t, t.TempDir()+"/test.db", func(c *config.Config) { c.Delayed.MaxDelay = 0 })
	alice := s.person("alice")
	room := alice.room()
	alice.refused("PUT", v3+"/rooms/"+room+"/send/m.room.message/x?org.matrix.msc4140.delay=5", `{}`, 403, "M_FORBIDDEN")
	if r := alice.must("GET", "/_matrix/client/versions", nil); r.at("unstable_features", "org.matrix.msc4140") != false {
		t.Errorf("%s", r.body)
	}
	alice.refused("PUT", v3+"/rooms/"+room+"/send/m.room.message/x", nil, 400, "M_NOT_JSON")
}

// Guests and services schedule events, too; what is sent later is held to the
// same limits and the same standing as what is sent now.
func TestWhoseDelayedEvents(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database, func(c *config.Config) {
			c.NoRateLimits = false
			c.RateLimits = map[string]config.RateLimit{"send": {PerSecond: 0.001, Burst: 3}}
		}).plain()
		alice, guest := s.person("alice"), s.guest()
		room := alice.room()
		later := func(d *device, txn string, delay int) string {
			path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/%s?org.matrix.msc4140.delay=%d", v3, room, txn, delay)
			return d.must("PUT", path, map[string]string{"body": txn, "msgtype": "m.text"}).field("delay_id")
		}
		one := func(id string) string { return "/_matrix/client/v1/delayed_events/" + id }
		alice.setState(room, "m.room.guest_access", "", object{"guest_access": "can_join"}) // the first of three
		guest.join(room)
		id := later(guest, "of a guest", 1)
		guest.until("sent", one(id), func(r reply) bool { return r.at("finalised", "event_id") != nil })

		// Alice's third is for the request, and nothing is left for the event.
		first, second := later(alice, "first", 600_000), later(alice, "second", 600_000)
		alice.refused("POST", one(first)+"/send", `{}`, 429, "M_LIMIT_EXCEEDED")
		if r := alice.must("GET", one(first), nil); r.at("finalised") != nil {
			t.Errorf("it is not scheduled any more: %s", r.body)
		}
		alice.must("POST", one(second)+"/cancel", `{}`)
		if r := alice.must("GET", one(second), nil); r.at("finalised", "finalised_ts") == nil || r.at("finalised", "event_id") != nil || r.at("finalised", "error") != nil {
			t.Errorf("%s", r.body)
		}
	})
}

// Who is suspended, or has left, sends nothing later.
func TestDelayedEventsOfTheBarred(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database).plain()
		alice, bob, admin := s.person("alice"), s.person("bob"), s.administrator("root")
		room := alice.room(bob)
		later := func(d *device) string {
			path := v3 + "/rooms/" + room + "/send/m.room.message/later?org.matrix.msc4140.delay=600000"
			return "/_matrix/client/v1/delayed_events/" + d.must("PUT", path, map[string]string{"body": "later", "msgtype": "m.text"}).field("delay_id")
		}
		ofAlice, ofBob := later(alice), later(bob)
		bob.leave(room)
		bob.refused("POST", ofBob+"/send", `{}`, 403, "M_FORBIDDEN")
		bob.refused("PUT", v3+"/rooms/"+room+"/send/m.room.message/x?org.matrix.msc4140.delay=1", `{}`, 403, "M_FORBIDDEN")
		admin.must("PUT", "/_matrix/client/v1/admin/suspend/"+alice.user, object{"suspended": true})
		alice.refused("POST", ofAlice+"/send", `{}`, 403, "M_USER_SUSPENDED")
		alice.refused("PUT", "/_matrix/client/v3/rooms/"+room+"/delayed_event/x/y", object{"delay_ms": 1, "content": object{}}, 403, "M_USER_SUSPENDED")
		admin.must("PUT", "/_matrix/client/v1/admin/suspend/"+alice.user, object{"suspended": false})
		admin.must("PUT", "/_matrix/client/v1/admin/lock/"+alice.user, object{"locked": true})
		bob.refused("POST", ofAlice+"/send", `{}`, 403, "M_USER_LOCKED")
		bob.must("POST", v3+"/account/deactivate", object{"auth": object{"type": "m.login.password", "user": "bob", "password": password}})
		(&device{wholeServer: s}).refused("POST", ofBob+"/send", `{}`, 404, "M_NOT_FOUND")
	})
}
