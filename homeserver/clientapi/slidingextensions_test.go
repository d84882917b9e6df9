package clientapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// with is a request for the newest rooms with extensions.
func with(extensions object) object {
	body := everything(9, 1)
	body["extensions"] = extensions
	return body
}

func TestSlidingToDevice(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		send := func(n int) {
			t.Helper()
			alice.must("PUT", fmt.Sprintf("%s/sendToDevice/x.test/%d", v3, n), object{"messages": object{bob.user: object{bob.id: object{"n": n}}}})
		}
		send(1)
		loop := bob.sliding(proposedPath)
		a := loop.ask(with(object{"to_device": object{"enabled": true}}), 0)
		if got := a.Extensions.ToDevice; got == nil || len(got.Events) != 1 || !same(got.Events[0], object{"type": "x.test", "sender": alice.user, "content": object{"n": 1}}) {
			t.Fatalf("the first message: %+v", got)
		}
		// Until it is acknowledged, it is sent again.
		first := a.Extensions.ToDevice.NextBatch
		if a = loop.ask(with(object{"to_device": object{"enabled": true}}), 0); len(a.Extensions.ToDevice.Events) != 1 {
			t.Errorf("without since: %+v", a.Extensions.ToDevice)
		}
		send(2)
		a = loop.ask(with(object{"to_device": object{"enabled": true, "since": first}}), time.Minute)
		if got := a.Extensions.ToDevice; len(got.Events) != 1 || !same(got.Events[0]["content"], object{"n": 2}) {
			t.Errorf("the second message: %+v", got)
		}
		second := a.Extensions.ToDevice.NextBatch
		a = bob.sliding(slidingPath).ask(with(object{"to_device": object{"enabled": true, "since": second}}), 0)
		if len(a.Extensions.ToDevice.Events) != 0 || a.Extensions.ToDevice.NextBatch == "" {
			t.Errorf("all is acknowledged: %+v", a.Extensions.ToDevice)
		}
		bob.refused("POST", slidingPath, with(object{"to_device": object{"enabled": true, "since": "x"}}), 400, "M_INVALID_PARAM")
	})
}

func TestSlidingEncryption(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		on := with(object{"e2ee": object{"enabled": true}})
		loop := bob.sliding(proposedPath)
		if got := loop.ask(on, 0).Extensions.E2EE; got == nil || got.DeviceLists != nil || got.OneTimeKeys == nil || got.FallbackKeys == nil {
			t.Errorf("at first: %+v", got)
		}
		if got := loop.ask(on, 0).Extensions.E2EE; got.DeviceLists != nil {
			t.Errorf("nothing new: %+v", got.DeviceLists)
		}
		alice.another("SECOND").uploadDevice(1)
		got := loop.ask(on, time.Minute).Extensions.E2EE
		if got.DeviceLists == nil || !same(got.DeviceLists.Changed, []string{alice.user}) || len(got.DeviceLists.Left) != 0 {
			t.Errorf("another device: %+v", got.DeviceLists)
		}
		alice.leave(room)
		if got = loop.ask(on, time.Minute).Extensions.E2EE; got.DeviceLists == nil || !same(got.DeviceLists.Left, []string{alice.user}) {
			t.Errorf("they share no room any more: %+v", got.DeviceLists)
		}
	})
}

func TestSlidingAccountData(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice := s.person("alice")
		room, other := alice.room(), alice.room()
		set := func(room, value string) {
			t.Helper()
			path := v3 + "/user/" + alice.user
			if room != "" {
				path += "/rooms/" + room
			}
			alice.must("PUT", path+"/account_data/x.test", object{"v": value})
		}
		set("", "global")
		set(room, "in the room")
		set(other, "in the other")
		on := object{"lists": object{"one": object{"ranges": [][]int{{0, 0}}}}, "extensions": object{"account_data": object{"enabled": true}}}
		loop := alice.sliding(proposedPath)
		got := loop.ask(on, 0).Extensions.AccountData
		if len(got.Global) != 2 || len(got.Rooms) != 1 || !same(got.Rooms[other], []object{{"type": "x.test", "content": object{"v": "in the other"}}}) {
			t.Errorf("at first, with push rules: %+v", got)
		}
		if got := loop.ask(on, 0).Extensions.AccountData; got != nil {
			t.Errorf("nothing new: %+v", got)
		}
		set(room, "2")
		set(other, "2")
		if got := loop.ask(on, time.Minute).Extensions.AccountData; len(got.Global) != 0 || len(got.Rooms) != 1 || len(got.Rooms[other]) != 1 {
			t.Errorf("news of the room in the window: %+v", got)
		}
		on["room_subscriptions"] = object{room: object{}}
		if got := loop.ask(on, 0).Extensions.AccountData; !same(got.Rooms, object{room: []object{{"type": "x.test", "content": object{"v": "2"}}}}) {
			t.Errorf("a room that is new in the answer: %+v", got)
		}
		set("", "2")
		if got := loop.ask(on, time.Minute).Extensions.AccountData; len(got.Global) != 1 || len(got.Rooms) != 0 {
			t.Errorf("global news: %+v", got)
		}
	})
}

func TestSlidingReceiptsAndTyping(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		one := alice.say(room, "one")
		bob.read(room, "m.read", one, "")
		bob.typing(room, true)
		on := with(object{"receipts": object{"enabled": true}, "typing": object{"enabled": true}})
		loop := alice.sliding(slidingPath)
		a := loop.ask(on, 0).Extensions
		if a.Receipts == nil || a.Receipts.Rooms[room]["type"] != "m.receipt" || a.Typing == nil || !same(a.Typing.Rooms[room].Content.Users, []string{bob.user}) {
			t.Errorf("at first: %+v, %+v", a.Receipts, a.Typing)
		}
		if a = loop.ask(on, 0).Extensions; a.Receipts != nil || a.Typing != nil {
			t.Errorf("nothing new: %+v, %+v", a.Receipts, a.Typing)
		}
		bob.typing(room, false)
		if a = loop.ask(on, time.Minute).Extensions; a.Typing == nil || len(a.Typing.Rooms[room].Content.Users) != 0 {
			t.Errorf("nobody types: %+v", a.Typing)
		}
		two := alice.say(room, "two")
		loop.ask(on, time.Minute)
		bob.read(room, "m.read", two, "")
		res := loop.ask(on, time.Minute)
		if got := res.Extensions.Receipts; got == nil || !strings.Contains(fmt.Sprint(got.Rooms[room]), two) || strings.Contains(fmt.Sprint(got.Rooms[room]), one) {
			t.Errorf("a receipt: %+v", got)
		}
		if len(res.Rooms) != 0 {
			t.Errorf("the room has no news: %+v", res.Rooms[room])
		}
		off := with(object{"receipts": object{"enabled": true, "lists": []string{}, "rooms": []string{}}})
		if a = loop.ask(off, 0).Extensions; a.Receipts != nil || a.Typing != nil {
			t.Errorf("for no list: %+v", a)
		}
	})
}

// A waiting client is woken by what it looks at, and by nothing else.
func TestSlidingWaits(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newWholeServer(t, url)
		alice, bob := s.person("alice"), s.person("bob")
		room, other := alice.room(bob), alice.room(bob)
		loop := bob.sliding(proposedPath)
		body := object{"room_subscriptions": object{room: object{"timeline_limit": 5}}}
		loop.ask(body, 0)
		done := make(chan slidingAnswer, 1)
		go func() { done <- loop.askAt(loop.pos, body, time.Minute) }()
		alice.say(other, "not seen")
		alice.say(room, "seen")
		select {
		case a := <-done:
			if r := a.Rooms[room]; len(a.Rooms) != 1 || r == nil || !same(slidBodies(r.Timeline), []string{"seen"}) {
				t.Errorf("woken by %+v", a.Rooms)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("the client was not woken")
		}
		// Without news the time runs out, and the next pos is one to go on from.
		a := loop.askAt(loop.pos, object{}, time.Millisecond)
		if len(a.Rooms) != 0 || a.Pos == loop.pos {
			t.Errorf("nothing: %+v", a)
		}
	})
}

func TestSlidingRefuses(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		alice := newWholeServer(t, url).person("alice")
		many := object{}
		for i := range 101 {
			many[fmt.Sprint("l", i)] = object{}
		}
		list := func(l any) object { return object{"lists": object{"x": l}} }
		for _, c := range []struct {
			body any
			code string
		}{
			{`{`, "M_NOT_JSON"},
			{`[]`, "M_BAD_JSON"},
			{object{"lists": 1}, "M_BAD_JSON"},
			{object{"lists": many}, "M_INVALID_PARAM"},
			{list(nil), "M_BAD_JSON"},
			{list(object{"ranges": 5}), "M_BAD_JSON"},
			{list(object{"ranges": [][]int{{5, 1}}}), "M_INVALID_PARAM"},
			{list(object{"ranges": [][]int{{1}}}), "M_INVALID_PARAM"},
			{list(object{"range": []int{-1, 3}}), "M_INVALID_PARAM"},
			{list(object{"timeline_limit": -1}), "M_INVALID_PARAM"},
			{list(object{"timeline_limit": "1"}), "M_BAD_JSON"},
			{list(object{"required_state": "x"}), "M_BAD_JSON"},
			{list(object{"required_state": [][]string{{"a"}}}), "M_BAD_JSON"},
			{list(object{"filters": object{"is_dm": "yes"}}), "M_BAD_JSON"},
			{object{"room_subscriptions": object{"nope": object{}}}, "M_INVALID_PARAM"},
			{object{"set_presence": "asleep"}, "M_INVALID_PARAM"},
			{object{"timeout": -1}, "M_INVALID_PARAM"},
			{object{"extensions": object{"e2ee": true}}, "M_BAD_JSON"},
		} {
			for _, path := range []string{slidingPath, proposedPath} {
				alice.refused("POST", path, c.body, 400, c.code)
			}
		}
		alice.refused("POST", proposedPath+"?timeout=-1", object{}, 400, "M_INVALID_PARAM")
		// What is not the user's, or is nowhere, is not in the answer.
		theirs := alice.wholeServer.person("bob").room()
		a := alice.sliding(slidingPath).ask(object{"room_subscriptions": object{theirs: object{"timeline_limit": 5}, "!nowhere:hs.example": object{}}}, 0)
		if len(a.Rooms) != 0 {
			t.Errorf("rooms of others: %+v", a.Rooms)
		}
	})
}
