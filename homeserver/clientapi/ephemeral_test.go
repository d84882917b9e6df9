package clientapi_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// ephemeralIn is the content of an ephemeral event of a room in a /sync, or nil.
func ephemeralIn(r reply, room, eventType string) map[string]any {
	list, _ := r.at("rooms", "join", room, "ephemeral", "events").([]any)
	for _, e := range list {
		event := e.(map[string]any)
		if event["type"] == eventType {
			content, _ := event["content"].(map[string]any)
			return content
		}
	}
	return nil
}

func typingIn(r reply, room string) any {
	content := ephemeralIn(r, room, "m.typing")
	if content == nil {
		return nil
	}
	return content["user_ids"]
}

func (d *device) typing(room string, typing bool) {
	d.t.Helper()
	d.must("PUT", v3+"/rooms/"+room+"/typing/"+d.user, object{"typing": typing, "timeout": 30_000})
}

func TestTyping(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		room := alice.room(bob)
		bob.sync()
		carol.sync()
		alice.typing(room, true)
		if got := typingIn(bob.sync(), room); !same(got, []string{alice.user}) {
			t.Errorf("who types: %v", got)
		}
		if res := carol.sync(); strings.Contains(res.body, room) {
			t.Errorf("a stranger sees the room: %s", res.body)
		}
		alice.typing(room, true)
		if got := typingIn(bob.sync(), room); got != nil {
			t.Errorf("told again: %v", got)
		}
		alice.typing(room, false)
		if got := typingIn(bob.sync(), room); !same(got, []string{}) {
			t.Errorf("who types when nobody does: %v", got)
		}
		alice.typing(room, true)
		bob.sync()
		alice.leave(room)
		if got := typingIn(bob.sync(), room); !same(got, []string{}) {
			t.Errorf("who types after leaving: %v", got)
		}
	})
}

func TestTypingRefuses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room()
		path := v3 + "/rooms/" + room + "/typing/"
		bob.refused("PUT", path+bob.user, object{"typing": true}, 403, "M_FORBIDDEN")
		bob.refused("PUT", path+bob.user, object{"typing": false}, 403, "M_FORBIDDEN")
		bob.refused("PUT", path+alice.user, object{"typing": true}, 403, "M_FORBIDDEN")
		bob.refused("PUT", v3+"/rooms/!unknown:hs.example/typing/"+bob.user, object{"typing": true}, 403, "M_FORBIDDEN")
		alice.refused("PUT", path+alice.user, `{}`, 400, "M_MISSING_PARAM")
		alice.refused("PUT", path+alice.user, `{"typing":"yes"}`, 400, "M_BAD_JSON")
		alice.refused("PUT", path+alice.user, `{"typing":true,"timeout":"long"}`, 400, "M_BAD_JSON")
		alice.refused("PUT", path+"alice", object{"typing": true}, 400, "M_INVALID_PARAM")
		alice.must("PUT", path+alice.user, object{"typing": true, "timeout": 1 << 50})
		alice.must("PUT", path+alice.user, object{"typing": true, "timeout": -1})
	})
}

// read sends a receipt.
func (d *device) read(room, kind, event, thread string) {
	d.t.Helper()
	body := object{}
	if thread != "" {
		body["thread_id"] = thread
	}
	d.must("POST", v3+"/rooms/"+room+"/receipt/"+kind+"/"+event, body)
}

// receiptsIn is the receipts of a room in a /sync: "type user thread" by event.
func receiptsIn(r reply, room string) map[string][]string {
	all := map[string][]string{}
	for event, types := range ephemeralIn(r, room, "m.receipt") {
		for kind, users := range types.(map[string]any) {
			for user, receipt := range users.(map[string]any) {
				line := kind + " " + user
				if thread, _ := receipt.(map[string]any)["thread_id"].(string); thread != "" {
					line += " " + thread
				}
				all[event] = append(all[event], line)
			}
		}
	}
	return all
}

func TestReceipts(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		one, two := alice.say(room, "one"), alice.say(room, "two")
		alice.sync()
		bob.sync()
		expect := func(d *device, when string, want map[string][]string) {
			t.Helper()
			if got := receiptsIn(d.sync(), room); !same(got, want) {
				t.Errorf("%s: %s sees %v, want %v", when, d.user, got, want)
			}
		}
		none := map[string][]string{}
		bob.read(room, "m.read", two, "")
		expect(alice, "a receipt", map[string][]string{two: {"m.read " + bob.user}})
		bob.read(room, "m.read", one, "")
		bob.read(room, "m.read", two, "")
		expect(alice, "receipts that go back", none)

		bob.read(room, "m.read.private", two, "")
		expect(alice, "a private receipt of another", none)
		bob.sync()
		bob.read(room, "m.read.private", alice.say(room, "three"), "")
		res := bob.sync()
		if got := receiptsIn(res, room); len(got) != 1 {
			t.Errorf("bob's own private receipt: %v", got)
		}

		// Whoever syncs for the first time sees where everybody is.
		alice.since = ""
		expect(alice, "a first sync", map[string][]string{two: {"m.read " + bob.user}})
		late := s.person("late")
		late.sync()
		late.join(room)
		expect(late, "a newcomer", map[string][]string{two: {"m.read " + bob.user}})
	})
}

func TestThreadedReceipts(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		root := alice.say(room, "root")
		reply := alice.say(room, "reply", "m.relates_to", object{"rel_type": "m.thread", "event_id": root})
		reaction := alice.must("PUT", v3+"/rooms/"+room+"/send/m.reaction/1", object{
			"m.relates_to": object{"rel_type": "m.annotation", "event_id": reply, "key": "+"},
		}).field("event_id")
		other := alice.say(room, "other")
		alice.sync()
		bob.read(room, "m.read", reaction, root)
		bob.read(room, "m.read", other, "main")
		bob.read(room, "m.read", root, "")
		if got, want := receiptsIn(alice.sync(), room), (map[string][]string{
			reaction: {"m.read " + bob.user + " " + root}, other: {"m.read " + bob.user + " main"}, root: {"m.read " + bob.user},
		}); !same(got, want) {
			t.Errorf("receipts %v, want %v", got, want)
		}
		// On one event there is one receipt of a user: for the whole room, if there is one.
		bob.read(room, "m.read", root, root)
		bob.read(room, "m.read", other, "")
		if got := receiptsIn(alice.sync(), room); !same(got, map[string][]string{other: {"m.read " + bob.user}}) {
			t.Errorf("receipts of one event %v", got)
		}

		path := v3 + "/rooms/" + room + "/receipt/m.read/"
		bob.refused("POST", path+reply, object{"thread_id": "main"}, 400, "M_INVALID_PARAM")
		bob.refused("POST", path+other, object{"thread_id": root}, 400, "M_INVALID_PARAM")
		bob.refused("POST", path+other, object{"thread_id": ""}, 400, "M_INVALID_PARAM")
		bob.refused("POST", path+other, object{"thread_id": 1}, 400, "M_BAD_JSON")
		bob.refused("POST", v3+"/rooms/"+room+"/receipt/m.fully_read/"+other, object{"thread_id": "main"}, 400, "M_INVALID_PARAM")
	})
}

func TestReadMarkers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		one, two := alice.say(room, "one"), alice.say(room, "two")
		bob.sync()
		path := v3 + "/rooms/" + room + "/read_markers"
		marker := v3 + "/user/" + bob.user + "/rooms/" + room + "/account_data/m.fully_read"
		bob.must("POST", path, object{"m.fully_read": one, "m.read": two, "m.read.private": one})
		res := bob.sync()
		if got := receiptsIn(res, room); len(got) != 2 {
			t.Errorf("receipts %v", got)
		}
		if !strings.Contains(res.body, "m.fully_read") {
			t.Errorf("no marker in %s", res.body)
		}
		if got := bob.must("GET", marker, nil).field("event_id"); got != one {
			t.Errorf("marker at %s, want %s", got, one)
		}
		bob.must("POST", v3+"/rooms/"+room+"/receipt/m.fully_read/"+two, "{}")
		bob.must("POST", path, object{"m.fully_read": one})
		if got := bob.must("GET", marker, nil).field("event_id"); got != two {
			t.Errorf("marker at %s, want %s", got, two)
		}
		bob.must("POST", path, "{}")
	})
}

func TestReceiptsRefuse(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room, elsewhere := alice.room(), bob.room()
		said, secret := alice.say(room, "one"), bob.say(elsewhere, "secret")
		path := v3 + "/rooms/" + room + "/receipt/"
		bob.refused("POST", path+"m.read/"+said, "{}", 403, "M_FORBIDDEN")
		alice.refused("POST", path+"m.read/"+secret, "{}", 404, "M_NOT_FOUND")
		alice.refused("POST", path+"m.read/$unknown", "{}", 404, "M_NOT_FOUND")
		alice.refused("POST", path+"m.read/unknown", "{}", 400, "M_INVALID_PARAM")
		alice.refused("POST", path+"m.seen/"+said, "{}", 400, "M_INVALID_PARAM")
		alice.refused("POST", v3+"/rooms/"+room+"/read_markers", object{"m.read": secret}, 404, "M_NOT_FOUND")
		alice.refused("POST", v3+"/rooms/"+room+"/read_markers", object{"m.read": "x"}, 400, "M_INVALID_PARAM")
		alice.refused("POST", v3+"/rooms/"+room+"/read_markers", object{"m.read": 1}, 400, "M_BAD_JSON")
		bob.refused("POST", v3+"/rooms/"+room+"/read_markers", object{"m.fully_read": said}, 403, "M_FORBIDDEN")
	})
}

// presenceIn is the content of a user's m.presence in a /sync, or nil.
func presenceIn(r reply, user string) map[string]any {
	list, _ := r.at("presence", "events").([]any)
	for _, e := range list {
		event := e.(map[string]any)
		if event["sender"] == user {
			return event["content"].(map[string]any)
		}
	}
	return nil
}

func TestPresence(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		alice.room(bob)
		status := func(d *device) string { return v3 + "/presence/" + d.user + "/status" }
		if got := bob.must("GET", status(alice), nil).field("presence"); got != "offline" {
			t.Errorf("presence of somebody who was never seen: %s", got)
		}
		bob.sync()
		alice.must("PUT", status(alice), object{"presence": "online", "status_msg": "hello"})
		if got := presenceIn(bob.sync(), alice.user); got["presence"] != "online" || got["status_msg"] != "hello" || got["currently_active"] != true {
			t.Errorf("presence in /sync: %v", got)
		}
		if got := bob.must("GET", status(alice), nil); got.field("status_msg") != "hello" || got.at("last_active_ago") == nil {
			t.Errorf("presence: %s", got.body)
		}
		alice.sync("set_presence", "unavailable")
		if got := presenceIn(bob.sync(), alice.user); got["presence"] != "unavailable" || got["currently_active"] != nil {
			t.Errorf("presence set by /sync: %v", got)
		}
		alice.sync("set_presence", "offline")
		if got := presenceIn(bob.sync(), alice.user); got != nil {
			t.Errorf("presence after a /sync that does not count: %v", got)
		}
		alice.must("PUT", status(alice), object{"presence": "offline"})
		if got := presenceIn(bob.sync(), alice.user); got["presence"] != "offline" || got["status_msg"] != nil {
			t.Errorf("presence after going offline: %v", got)
		}

		// Strangers see nothing of each other.
		carol.sync()
		if got := presenceIn(bob.sync(), carol.user); got != nil {
			t.Errorf("a stranger's presence: %v", got)
		}
		carol.refused("GET", status(alice), nil, 403, "M_FORBIDDEN")
		carol.refused("GET", v3+"/presence/@nobody:hs.example/status", nil, 403, "M_FORBIDDEN")
		carol.must("GET", status(carol), nil)
		carol.refused("PUT", status(alice), object{"presence": "online"}, 403, "M_FORBIDDEN")
		carol.refused("PUT", status(carol), object{"presence": "busy"}, 400, "M_INVALID_PARAM")
		carol.refused("PUT", status(carol), `{}`, 400, "M_MISSING_PARAM")
		carol.refused("PUT", status(carol), `{"presence":1}`, 400, "M_BAD_JSON")
		carol.refused("PUT", status(carol), object{"presence": "online", "status_msg": strings.Repeat("x", 2000)}, 400, "M_INVALID_PARAM")
	})
}
