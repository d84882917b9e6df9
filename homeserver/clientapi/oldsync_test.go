package clientapi_test

import (
	"fmt"
	"net/url"
	"slices"
	"testing"

	"trestle/internal/testkit"
)

// guest is somebody without an account.
func (s *wholeServer) guest() *device {
	s.t.Helper()
	d := &device{wholeServer: s}
	res := d.must("POST", v3+"/register?kind=guest", `{}`)
	d.user, d.id, d.token = res.field("user_id"), res.field("device_id"), res.field("access_token")
	return d
}

// list is a list of objects deep in a JSON answer.
func (r reply) list(path ...string) []map[string]any {
	values, _ := r.at(path...).([]any)
	var list []map[string]any
	for _, v := range values {
		object, _ := v.(map[string]any)
		list = append(list, object)
	}
	return list
}

// bodies is the texts of messages in a list of events.
func bodies(events []map[string]any) []string {
	var texts []string
	for _, e := range events {
		content, _ := e["content"].(map[string]any)
		if body, ok := content["body"].(string); ok {
			texts = append(texts, body)
		}
	}
	return texts
}

func events(params ...string) string {
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	return v3 + "/events?" + q.Encode()
}

func TestInitialSync(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		alice.must("PUT", v3+"/directory/list/room/"+room, `{"visibility":"public"}`)
		for i := range 4 {
			alice.say(room, fmt.Sprint("message ", i))
		}
		left := alice.room(bob)
		alice.say(left, "before")
		bob.leave(left)
		alice.say(left, "after")
		invited := alice.must("POST", v3+"/createRoom", map[string]any{"invite": []string{bob.user}}).field("room_id")
		bob.must("PUT", v3+"/user/"+bob.user+"/account_data/x.type", `{"a":1}`)
		bob.must("PUT", v3+"/user/"+bob.user+"/rooms/"+room+"/tags/m.favourite", `{}`)

		res := bob.must("GET", v3+"/initialSync?limit=2", nil)
		found := res.list("rooms")
		if len(found) != 2 || found[0]["room_id"] != room || found[1]["room_id"] != invited {
			t.Fatalf("rooms: %s", res.body)
		}
		in := reply{body: mustJSON(t, found[0])}
		if in.at("membership") != "join" || in.at("visibility") != "public" || len(in.list("state")) < 6 {
			t.Errorf("the room: %s", in.body)
		}
		if got := bodies(in.list("messages", "chunk")); !slices.Equal(got, []string{"message 2", "message 3"}) {
			t.Errorf("messages: %q", got)
		}
		older := bob.must("GET", v3+"/rooms/"+room+"/messages?dir=b&limit=2&from="+in.at("messages", "start").(string), nil)
		if got := bodies(older.list("chunk")); !slices.Equal(got, []string{"message 1", "message 0"}) {
			t.Errorf("older messages: %q", got)
		}
		if got := datum(in.at("account_data"), "m.tag"); got == nil {
			t.Errorf("no tags: %s", in.body)
		}
		if got := datum(res.at("account_data"), "x.type"); !same(got, map[string]any{"a": 1}) {
			t.Errorf("account data: %v", got)
		}
		asked := reply{body: mustJSON(t, found[1])}
		if asked.at("membership") != "invite" || asked.at("invite", "sender") != alice.user || asked.at("state") != nil {
			t.Errorf("the invite: %s", asked.body)
		}
		archived := bob.must("GET", v3+"/initialSync?archived=true", nil).list("rooms")
		if len(archived) != 3 {
			t.Fatalf("with rooms that were left: %v", archived)
		}
		for _, room := range archived {
			if room["room_id"] == left && (room["membership"] != "leave" || !slices.Equal(bodies(reply{body: mustJSON(t, room)}.list("messages", "chunk")), []string{"before"})) {
				t.Errorf("the room that was left: %v", room)
			}
		}
		// Where the answer ends, the stream begins.
		bob.must("GET", events("from", res.field("end"), "timeout", "0"), nil)
		alice.say(room, "news")
		chunk := bob.must("GET", events("from", res.field("end"), "timeout", "10000"), nil).list("chunk")
		if got := bodies(chunk); !slices.Equal(got, []string{"news"}) || chunk[0]["room_id"] != room {
			t.Errorf("after it: %v", chunk)
		}
	})
}

func TestEventStream(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room, other := alice.room(bob), alice.room(bob)
		start := bob.must("GET", events("timeout", "0"), nil)
		if len(start.list("chunk")) != 0 {
			t.Errorf("without from: %s", start.body)
		}
		// More than one page, in two rooms: nothing is left out and nothing comes twice.
		var said []string
		for i := range 130 {
			text := fmt.Sprint(i)
			alice.say([]string{room, other}[i%2], text)
			said = append(said, text)
		}
		from, heard := start.field("end"), []string(nil)
		for len(heard) < len(said) {
			page := bob.must("GET", events("from", from, "timeout", "10000"), nil)
			if page.field("start") != from {
				t.Errorf("start is %s, not %s", page.field("start"), from)
			}
			heard, from = append(heard, bodies(page.list("chunk"))...), page.field("end")
		}
		if !slices.Equal(heard, said) {
			t.Errorf("heard %q", heard)
		}
		// The stream tells of invites, and of a room until its member is out.
		invited := alice.must("POST", v3+"/createRoom", map[string]any{"invite": []string{bob.user}}).field("room_id")
		chunk := bob.must("GET", events("from", from, "timeout", "10000"), nil).list("chunk")
		if len(chunk) != 1 || chunk[0]["room_id"] != invited || chunk[0]["state_key"] != bob.user {
			t.Errorf("an invite: %v", chunk)
		}
		alice.say(room, "farewell")
		alice.must("POST", v3+"/rooms/"+room+"/kick", map[string]string{"user_id": bob.user})
		alice.say(room, "behind")
		chunk = bob.must("GET", events("from", from, "timeout", "10000"), nil).list("chunk")
		if got := bodies(chunk); !slices.Equal(got, []string{"farewell"}) || chunk[len(chunk)-1]["state_key"] != bob.user {
			t.Errorf("at the end: %v", chunk)
		}
		// It waits.
		from = bob.must("GET", events("timeout", "0"), nil).field("end")
		answered := make(chan reply, 1)
		go func() { answered <- bob.do("GET", events("from", from, "timeout", "20000"), nil) }()
		alice.say(other, "at last")
		if got := bodies((<-answered).list("chunk")); !slices.Equal(got, []string{"at last"}) {
			t.Errorf("after waiting: %q", got)
		}
		bob.refused("GET", events("from", "nowhere", "timeout", "0"), nil, 400, "M_INVALID_PARAM")
		bob.refused("GET", events("timeout", "-1"), nil, 400, "M_INVALID_PARAM")
	})
}

func TestOneEvent(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.must("POST", v3+"/createRoom", `{}`).field("room_id")
		event := alice.say(room, "secret")
		if got := alice.must("GET", v3+"/events/"+event, nil); got.at("content", "body") != "secret" || got.at("room_id") != room {
			t.Errorf("the event: %s", got.body)
		}
		bob.refused("GET", v3+"/events/"+event, nil, 404, "M_NOT_FOUND")
		bob.refused("GET", v3+"/events/$nothing", nil, 404, "M_NOT_FOUND")
	})
}

// Whoever is not in a world-readable room can look into it all the same.
func TestPeeking(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		visitor := s.guest()
		room := alice.room()
		path := v3 + "/rooms/" + room
		for _, d := range []*device{bob, visitor} {
			d.refused("GET", path+"/initialSync", nil, 403, "M_FORBIDDEN")
			d.refused("GET", events("room_id", room, "timeout", "0"), nil, 403, "M_FORBIDDEN")
		}
		alice.must("PUT", path+"/state/m.room.history_visibility/", `{"history_visibility":"world_readable"}`)
		alice.say(room, "one")
		for _, d := range []*device{bob, visitor} {
			view := d.must("GET", path+"/initialSync?limit=1", nil)
			if got := bodies(view.list("messages", "chunk")); !slices.Equal(got, []string{"one"}) || view.at("membership") != nil || len(view.list("state")) < 6 {
				t.Errorf("the room from outside: %s", view.body)
			}
			from := view.at("messages", "end").(string)
			answered := make(chan reply, 1)
			go func() { answered <- d.do("GET", events("from", from, "room_id", room, "timeout", "20000"), nil) }()
			alice.say(room, "two")
			page := <-answered
			if got := bodies(page.list("chunk")); !slices.Equal(got, []string{"two"}) {
				t.Errorf("peeking: %s", page.body)
			}
			if got := d.must("GET", events("from", page.field("end"), "room_id", room, "timeout", "0"), nil); len(got.list("chunk")) != 0 {
				t.Errorf("then: %s", got.body)
			}
			// The stream of the user's own rooms knows nothing of it.
			if got := d.must("GET", events("from", from, "timeout", "0"), nil); len(got.list("chunk")) != 0 {
				t.Errorf("the own stream: %s", got.body)
			}
			alice.say(room, "one")
		}
		// A room that is closed to the world shows nothing more.
		from := bob.must("GET", events("room_id", room, "timeout", "0"), nil).field("end")
		alice.must("PUT", path+"/state/m.room.history_visibility/", `{"history_visibility":"joined"}`)
		bob.refused("GET", events("from", from, "room_id", room, "timeout", "0"), nil, 403, "M_FORBIDDEN")
		alice.must("GET", path+"/initialSync", nil)
		bob.refused("GET", v3+"/rooms/!nowhere:hs.example/initialSync", nil, 403, "M_FORBIDDEN")
	})
}
