package clientapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

const (
	slidingPath  = "/_matrix/client/v4/sync"
	proposedPath = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
)

// The shape of an answer, strictly: what is not here may not be in one.
type slidingAnswer struct {
	Pos   string `json:"pos"`
	Lists map[string]struct {
		Count *int `json:"count"`
	} `json:"lists"`
	Rooms      map[string]*slidingRoom `json:"rooms"`
	Extensions slidingExtensions       `json:"extensions"`
}

type slidingEvent struct {
	ID       string          `json:"event_id"`
	Type     string          `json:"type"`
	Sender   string          `json:"sender"`
	StateKey *string         `json:"state_key"`
	Content  map[string]any  `json:"content"`
	TS       int64           `json:"origin_server_ts"`
	Unsigned json.RawMessage `json:"unsigned"`
	// Of stripped state there is nothing more.
	PrevContent, ReplacesState, RedactedBecause, Redacts json.RawMessage
}

type slidingRoom struct {
	Initial          bool           `json:"initial"`
	Membership       string         `json:"membership"`
	Lists            []string       `json:"lists"`
	Name             *string        `json:"name"`
	Avatar           *string        `json:"avatar"`
	Heroes           []slidingHero  `json:"heroes"`
	IsDM             *bool          `json:"is_dm"`
	BumpStamp        *int64         `json:"bump_stamp"`
	Joined           *int           `json:"joined_count"`
	Invited          *int           `json:"invited_count"`
	State            []slidingEvent `json:"required_state"`
	Timeline         []slidingEvent `json:"timeline"`
	PrevBatch        string         `json:"prev_batch"`
	Limited          bool           `json:"limited"`
	NumLive          *int           `json:"num_live"`
	Expanded         bool           `json:"expanded_timeline"`
	ProposedExpanded bool           `json:"unstable_expanded_timeline"`
	Stripped         []slidingEvent `json:"stripped_state"`
	InviteState      []slidingEvent `json:"invite_state"`
	Notifications    *int           `json:"notification_count"`
	Highlights       *int           `json:"highlight_count"`
}

type slidingHero struct {
	User   string `json:"user_id"`
	Name   string `json:"displayname"`
	Avatar string `json:"avatar_url"`
}

type slidingExtensions struct {
	ToDevice *struct {
		NextBatch string           `json:"next_batch"`
		Events    []map[string]any `json:"events"`
	} `json:"to_device"`
	E2EE *struct {
		DeviceLists *struct {
			Changed []string `json:"changed"`
			Left    []string `json:"left"`
		} `json:"device_lists"`
		OneTimeKeys  map[string]int `json:"device_one_time_keys_count"`
		FallbackKeys []string       `json:"device_unused_fallback_key_types"`
	} `json:"e2ee"`
	AccountData *struct {
		Global []map[string]any            `json:"global"`
		Rooms  map[string][]map[string]any `json:"rooms"`
	} `json:"account_data"`
	Receipts *struct {
		Rooms map[string]map[string]any `json:"rooms"`
	} `json:"receipts"`
	Typing *struct {
		Rooms map[string]struct {
			Type    string `json:"type"`
			Content struct {
				Users []string `json:"user_ids"`
			} `json:"content"`
		} `json:"rooms"`
	} `json:"typing"`
}

// A slidingLoop is a connection of a device.
type slidingLoop struct {
	*device
	path string
	pos  string
}

func (d *device) sliding(path string) *slidingLoop { return &slidingLoop{device: d, path: path} }

// ask makes a request at a pos and moves on to that of the answer.
func (l *slidingLoop) ask(body object, timeout time.Duration) slidingAnswer {
	l.t.Helper()
	a := l.askAt(l.pos, body, timeout)
	l.pos = a.Pos
	return a
}

func (l *slidingLoop) askAt(pos string, body object, timeout time.Duration) slidingAnswer {
	l.t.Helper()
	path := l.path
	if path == slidingPath {
		body = object(cloneObject(body))
		if pos != "" {
			body["pos"] = pos
		}
		body["timeout"] = timeout.Milliseconds()
	} else {
		path += fmt.Sprintf("?timeout=%d", timeout.Milliseconds())
		if pos != "" {
			path += "&pos=" + pos
		}
	}
	res := l.must("POST", path, body)
	var a slidingAnswer
	decoder := json.NewDecoder(strings.NewReader(res.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&a); err != nil {
		l.t.Fatalf("%v: %s", err, res.body)
	}
	if a.Pos == "" || a.Lists == nil || a.Rooms == nil || strings.Contains(res.body, `"room_id"`) {
		l.t.Fatalf("no answer: %s", res.body)
	}
	for id, room := range a.Rooms {
		l.checkRoom(id, room)
	}
	return a
}

func (l *slidingLoop) checkRoom(id string, r *slidingRoom) {
	l.t.Helper()
	newest := l.path == slidingPath
	if newest && (r.ProposedExpanded || r.InviteState != nil || r.Notifications != nil || r.Highlights != nil) ||
		!newest && (r.Expanded || r.Stripped != nil || r.Lists != nil) {
		l.t.Errorf("%s has members of the other form: %+v", id, r)
	}
	if r.Initial && (r.Membership == "" || r.BumpStamp == nil) {
		l.t.Errorf("%s is initial without a membership or a bump_stamp: %+v", id, r)
	}
	if r.Timeline != nil && (r.NumLive == nil || *r.NumLive > len(r.Timeline)) {
		l.t.Errorf("%s has a timeline without num_live: %+v", id, r)
	}
	for _, e := range slices.Concat(r.Timeline, r.State) {
		if e.ID == "" || e.Type == "" || e.Sender == "" || e.Content == nil || e.TS == 0 {
			l.t.Errorf("%s: no event: %+v", id, e)
		}
	}
}

func cloneObject(o object) map[string]any {
	c := map[string]any{}
	for k, v := range o {
		c[k] = v
	}
	return c
}

// everything is a request for the newest rooms.
func everything(last, limit int, state ...[]string) object {
	if state == nil {
		state = [][]string{}
	}
	return object{"lists": object{"all": object{"ranges": [][]int{{0, last}}, "timeline_limit": limit, "required_state": state}}}
}

func slidBodies(events []slidingEvent) (list []string) {
	for _, e := range events {
		if body, ok := e.Content["body"].(string); ok {
			list = append(list, body)
		}
	}
	return list
}

func types(events []slidingEvent) (list []string) {
	for _, e := range events {
		list = append(list, e.Type+"|"+*e.StateKey)
	}
	slices.Sort(list)
	return list
}

func TestSlidingWindow(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		var rooms []string
		for i := range 5 {
			room := alice.room(bob)
			alice.say(room, fmt.Sprint("first ", i))
			rooms = append(rooms, room)
		}
		loop := bob.sliding(proposedPath)
		a := loop.ask(everything(1, 1, []string{"m.room.create", ""}, []string{"m.room.member", "$ME"}), 0)
		if len(a.Rooms) != 2 || a.Rooms[rooms[4]] == nil || a.Rooms[rooms[3]] == nil || *a.Lists["all"].Count != 5 {
			t.Fatalf("the newest two rooms of five: %+v", a)
		}
		r := a.Rooms[rooms[4]]
		if !r.Initial || !r.Limited || *r.NumLive != 0 || *r.Joined != 2 || *r.Invited != 0 || r.PrevBatch == "" ||
			!slices.Equal(slidBodies(r.Timeline), []string{"first 4"}) || !same(types(r.State), []string{"m.room.create|", "m.room.member|" + bob.user}) {
			t.Errorf("the newest room: %+v", r)
		}
		if len(r.Heroes) != 1 || r.Heroes[0].User != alice.user {
			t.Errorf("heroes of a room without a name: %+v", r.Heroes)
		}
		// What is not news is not sent again, and what comes into the window is.
		if a = loop.ask(everything(1, 1), 0); len(a.Rooms) != 0 {
			t.Errorf("rooms without news: %+v", a.Rooms)
		}
		if a = loop.ask(everything(2, 1), 0); len(a.Rooms) != 1 || a.Rooms[rooms[2]] == nil {
			t.Errorf("the window has grown by one room: %+v", a.Rooms)
		}
		alice.say(rooms[0], "second 0")
		a = loop.ask(everything(2, 1), time.Minute)
		if r := a.Rooms[rooms[0]]; len(a.Rooms) != 1 || r == nil || !r.Initial || *r.NumLive != 1 || !slices.Equal(slidBodies(r.Timeline), []string{"second 0"}) {
			t.Errorf("a room that has come into the window: %+v", a.Rooms)
		}
		// One that was pushed out and comes back is sent as news since then.
		alice.say(rooms[2], "second 2")
		alice.say(rooms[2], "third 2")
		a = loop.ask(everything(2, 1), time.Minute)
		if r := a.Rooms[rooms[2]]; len(a.Rooms) != 1 || r == nil || r.Initial || !r.Limited || !slices.Equal(slidBodies(r.Timeline), []string{"third 2"}) || r.Joined != nil {
			t.Errorf("a room that has come back: %+v", r)
		}
	})
}

func TestSlidingPositions(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		loop := bob.sliding(slidingPath)
		ask := func(pos string) slidingAnswer { return loop.askAt(pos, everything(9, 5), 0) }
		first := ask("")
		alice.say(room, "one")
		// A retry is answered as the request was.
		second, again := ask(first.Pos), ask(first.Pos)
		if !slices.Equal(slidBodies(second.Rooms[room].Timeline), []string{"one"}) || !slices.Equal(slidBodies(again.Rooms[room].Timeline), []string{"one"}) {
			t.Errorf("a request and its retry: %+v, %+v", second.Rooms[room], again.Rooms[room])
		}
		third := ask(again.Pos)
		if len(third.Rooms) != 0 {
			t.Errorf("told twice: %+v", third.Rooms)
		}
		refused := func(d *device, path string, body object) {
			t.Helper()
			d.refused("POST", path, body, 400, "M_UNKNOWN_POS")
		}
		refused(bob, slidingPath, object{"pos": first.Pos})
		refused(bob, slidingPath, object{"pos": second.Pos})
		refused(bob, slidingPath, object{"pos": "s1.x.1"})
		refused(bob, slidingPath, object{"pos": "nonsense"})
		refused(bob, slidingPath, object{"pos": third.Pos, "conn_id": "another"})
		refused(alice, slidingPath, object{"pos": third.Pos})
		refused(bob.another("OTHER"), slidingPath, object{"pos": third.Pos})
		bob.refused("POST", proposedPath+"?pos=nonsense", object{}, 400, "M_UNKNOWN_POS")
		if a := ask(third.Pos); len(a.Rooms) != 0 {
			t.Errorf("after all that: %+v", a.Rooms)
		}
		// Its place is one in history, too.
		page := bob.must("GET", v3+"/rooms/"+room+"/messages?dir=b&limit=1&from="+third.Pos, nil)
		if !strings.Contains(page.body, `"one"`) {
			t.Errorf("history before a pos: %s", page.body)
		}
		// A second connection knows nothing of the first.
		if a := loop.askAt("", object{"conn_id": "x", "lists": everything(9, 5)["lists"]}, 0); !a.Rooms[room].Initial {
			t.Errorf("a new connection: %+v", a.Rooms)
		}
	})
}

func TestSlidingTimelineGrows(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		for i := range 6 {
			alice.say(room, fmt.Sprint(i))
		}
		loop := bob.sliding(proposedPath)
		if a := loop.ask(everything(9, 1), 0); !slices.Equal(slidBodies(a.Rooms[room].Timeline), []string{"5"}) {
			t.Errorf("the newest event: %+v", a.Rooms[room])
		}
		body := everything(9, 1)
		body["room_subscriptions"] = object{room: object{"timeline_limit": 4, "required_state": [][]string{{"m.room.create", ""}}}}
		r := loop.ask(body, 0).Rooms[room]
		if r == nil || r.Initial || !r.ProposedExpanded || !r.Limited || *r.NumLive != 0 || len(r.State) != 1 ||
			!slices.Equal(slidBodies(r.Timeline), []string{"2", "3", "4", "5"}) {
			t.Errorf("more of the newest events: %+v", r)
		}
		if a := loop.ask(body, 0); len(a.Rooms) != 0 {
			t.Errorf("told twice: %+v", a.Rooms[room])
		}
		alice.say(room, "6")
		if r = loop.ask(body, time.Minute).Rooms[room]; r.ProposedExpanded || r.Limited || *r.NumLive != 1 || !slices.Equal(slidBodies(r.Timeline), []string{"6"}) {
			t.Errorf("a new event: %+v", r)
		}
		// It has the newest five by now.
		body["room_subscriptions"] = object{room: object{"timeline_limit": 5}}
		if a := loop.ask(body, 0); len(a.Rooms) != 0 {
			t.Errorf("what it has already: %+v", a.Rooms[room])
		}
		bob.sliding(slidingPath).ask(object{"lists": object{"all": object{
			"range": []int{0, 9}, "timeline_limit": 1, "required_state": object{"include": []object{{}}, "lazy_members": true},
		}}}, 0)
	})
}

func TestSlidingRequiredState(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		room := alice.room(bob, carol)
		alice.must("PUT", v3+"/rooms/"+room+"/state/x.custom/a", object{"n": 1})
		alice.must("PUT", v3+"/rooms/"+room+"/state/x.custom/b", object{"n": 1})
		carol.say(room, "hello")
		for _, c := range []struct {
			path     string
			required any
			want     []string
		}{
			{proposedPath, [][]string{}, nil},
			{proposedPath, [][]string{{"x.custom", "*"}}, []string{"x.custom|a", "x.custom|b"}},
			{proposedPath, [][]string{{"*", "b"}}, []string{"x.custom|b"}},
			{proposedPath, [][]string{{"m.room.member", "$LAZY"}}, []string{"m.room.member|" + carol.user}},
			{proposedPath, [][]string{{"m.room.member", "$LAZY"}, {"m.room.member", "$ME"}}, []string{"m.room.member|" + bob.user, "m.room.member|" + carol.user}},
			{proposedPath, [][]string{{"m.room.member", "*"}}, []string{"m.room.member|" + alice.user, "m.room.member|" + bob.user, "m.room.member|" + carol.user}},
			{slidingPath, object{"include": []object{{"type": "x.custom"}}, "exclude": []object{{"state_key": "a"}}}, []string{"x.custom|b"}},
			{slidingPath, object{"include": []object{{"type": "x.custom", "state_key": "a"}}, "lazy_members": true}, []string{"m.room.member|" + carol.user, "x.custom|a"}},
			{slidingPath, object{"include": []object{{"type": "m.room.member"}}, "lazy_members": true}, []string{"m.room.member|" + carol.user}},
		} {
			a := bob.sliding(c.path).ask(object{"room_subscriptions": object{room: object{"timeline_limit": 1, "required_state": c.required}}}, 0)
			if got := types(a.Rooms[room].State); !same(got, c.want) {
				t.Errorf("%v: %v, want %v", c.required, got, c.want)
			}
		}
		loop := bob.sliding(proposedPath)
		body := everything(9, 1, []string{"m.room.member", "$LAZY"}, []string{"x.custom", "*"})
		loop.ask(body, 0)
		carol.say(room, "again")
		if r := loop.ask(body, time.Minute).Rooms[room]; len(r.State) != 0 {
			t.Errorf("state that the client has: %v", types(r.State))
		}
		alice.must("PUT", v3+"/rooms/"+room+"/state/x.custom/a", object{"n": 2})
		if r := loop.ask(body, time.Minute).Rooms[room]; !same(types(r.State), []string{"m.room.member|" + alice.user, "x.custom|a"}) {
			t.Errorf("state that is new: %v", types(r.State))
		}
		carol.leave(room)
		if r := loop.ask(body, time.Minute).Rooms[room]; !same(types(r.State), []string{"m.room.member|" + carol.user}) || *r.Joined != 2 {
			t.Errorf("somebody has left: %v", r)
		}
		if a := loop.ask(everything(9, 1, []string{"m.room.create", ""}), 0); !same(types(a.Rooms[room].State), []string{"m.room.create|"}) {
			t.Errorf("state that is newly asked for: %+v", a.Rooms[room])
		}
	})
}

func TestSlidingMemberships(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		for _, path := range []string{slidingPath, proposedPath} {
			room := alice.must("POST", v3+"/createRoom", object{"preset": "private_chat", "name": "Club", "invite": []string{bob.user}}).field("room_id")
			loop := bob.sliding(path)
			ask := func() *slidingRoom { t.Helper(); return loop.ask(everything(9, 3), time.Minute).Rooms[room] }
			r := ask()
			if r == nil || !r.Initial || r.Membership != "invite" || len(r.Stripped)+len(r.InviteState) < 3 || r.Timeline != nil || r.State != nil || r.Name != nil {
				t.Fatalf("an invite: %+v", r)
			}
			if r := loop.ask(everything(9, 3), 0).Rooms[room]; r != nil {
				t.Errorf("the invite again: %+v", r)
			}
			bob.join(room)
			if r = ask(); r == nil || !r.Initial || r.Membership != "join" || *r.Name != "Club" || len(r.Timeline) != 3 || *r.Joined != 2 {
				t.Errorf("a join: %+v", r)
			}
			alice.must("PUT", v3+"/rooms/"+room+"/state/m.room.name", object{"name": "Pub"})
			if r = ask(); r.Initial || r.Membership != "" || *r.Name != "Pub" || r.Joined != nil {
				t.Errorf("another name: %+v", r)
			}
			alice.must("POST", v3+"/rooms/"+room+"/kick", object{"user_id": bob.user})
			alice.say(room, "he is gone")
			if r = ask(); r.Initial || r.Membership != "leave" || len(r.Timeline) != 1 || *r.Timeline[0].StateKey != bob.user {
				t.Errorf("a kick: %+v", r)
			}
			if r := loop.ask(everything(9, 3), 0).Rooms[room]; r != nil {
				t.Errorf("the kick again: %+v", r)
			}
			if r := bob.sliding(path).ask(everything(9, 9), 0).Rooms[room]; r == nil || r.Membership != "leave" || slices.Contains(slidBodies(r.Timeline), "he is gone") {
				t.Errorf("a room that the user was kicked out of, for a new connection: %+v", r)
			}
			loop = bob.sliding(path)
			alice.must("POST", v3+"/rooms/"+room+"/invite", object{"user_id": bob.user})
			if r = ask(); r == nil || !r.Initial || r.Membership != "invite" {
				t.Errorf("a second invite: %+v", r)
			}
			bob.leave(room)
			if r = ask(); r == nil || r.Membership != "leave" || len(r.Timeline) != 1 {
				t.Errorf("a refused invite: %+v", r)
			}
			if a := bob.sliding(path).ask(everything(9, 9), 0); len(a.Rooms) != 0 || *a.Lists["all"].Count != 0 {
				t.Errorf("a room that the user left, for a new connection: %+v", a.Rooms)
			}
		}
	})
}

func TestSlidingFilters(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		plain, direct := alice.room(), alice.room(bob)
		encrypted := alice.room()
		alice.must("PUT", v3+"/rooms/"+encrypted+"/state/m.room.encryption", object{"algorithm": "m.megolm.v1.aes-sha2"})
		space := alice.must("POST", v3+"/createRoom", object{"creation_content": object{"type": "m.space"}}).field("room_id")
		alice.must("PUT", v3+"/rooms/"+space+"/state/m.space.child/"+plain, object{"via": []string{"hs.example"}})
		alice.must("PUT", v3+"/rooms/"+space+"/state/m.space.child/"+direct, object{})
		account := v3 + "/user/" + alice.user
		alice.must("PUT", account+"/account_data/m.direct", object{bob.user: []string{direct}})
		alice.must("PUT", account+"/rooms/"+plain+"/tags/m.favourite", object{"order": 0.5})
		invited := bob.must("POST", v3+"/createRoom", object{"invite": []string{alice.user}}).field("room_id")
		loop := alice.sliding(proposedPath)
		check := func(filters object, want ...string) {
			t.Helper()
			a := alice.sliding(proposedPath).ask(object{"lists": object{"x": object{"ranges": [][]int{{0, 99}}, "timeline_limit": 0, "filters": filters}}}, 0)
			var got []string
			for id := range a.Rooms {
				got = append(got, id)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) || *a.Lists["x"].Count != len(want) {
				t.Errorf("%v: %v, want %v", filters, got, want)
			}
		}
		check(object{}, plain, direct, encrypted, space, invited)
		check(object{"is_dm": true}, direct)
		check(object{"is_dm": false}, plain, encrypted, space, invited)
		check(object{"is_encrypted": true}, encrypted)
		check(object{"is_invite": true}, invited)
		check(object{"is_invited": false, "is_encrypted": false}, plain, direct, space)
		check(object{"room_types": []any{"m.space"}}, space)
		check(object{"room_types": []any{nil}, "not_room_types": []any{"m.space"}}, plain, direct, encrypted, invited)
		check(object{"not_room_types": []any{nil}}, space)
		check(object{"tags": []string{"m.favourite"}}, plain)
		check(object{"tags": []string{"m.favourite"}, "not_tags": []string{"m.favourite"}})
		check(object{"not_tags": []string{"m.favourite"}}, direct, encrypted, space, invited)
		check(object{"spaces": []string{space, "!unknown:hs.example"}}, plain)
		// Being direct is news, and so is it for the lists.
		body := object{"lists": object{"dm": object{"ranges": [][]int{{0, 9}}, "filters": object{"is_dm": true}}}}
		if a := loop.ask(body, 0); !*a.Rooms[direct].IsDM {
			t.Errorf("a direct chat: %+v", a.Rooms[direct])
		}
		alice.must("PUT", account+"/account_data/m.direct", object{bob.user: []string{direct, plain}})
		if a := loop.ask(body, time.Minute); a.Rooms[plain] == nil || !*a.Rooms[plain].IsDM || *a.Lists["dm"].Count != 2 {
			t.Errorf("another direct chat: %+v", a)
		}
		alice.must("DELETE", account+"/rooms/"+plain+"/tags/m.favourite", nil)
		check(object{"tags": []string{"m.favourite"}})
	})
}
