package adminapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/rooms"
	"trestle/internal/testkit"
)

func TestRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice, bob := s.admin(), s.person("alice"), s.person("bob")
		attic, cellar := alice.room("private_chat", "Attic"), alice.room("public_chat", "Cellar")
		bob.must("POST", v3+"/rooms/"+cellar+"/join", map[string]any{})
		list := root.must("GET", v1+"/rooms", nil)
		first, _ := list.at("rooms").([]any)[0].(map[string]any)
		if list.at("total_rooms") != 2.0 || first["room_id"] != attic || first["name"] != "Attic" || first["joined_local_members"] != 1.0 {
			t.Error(list.body)
		}
		if first["history_visibility"] != "shared" || first["state_events"].(float64) < 6 || first["federatable"] != true {
			t.Error(list.body)
		}
		root.refused("GET", v3+"/rooms/!none:hs.example/aliases", nil, 403, "M_FORBIDDEN")
		bob.refused("GET", v3+"/rooms/"+attic+"/aliases", nil, 403, "M_FORBIDDEN")
		if r := root.must("GET", v3+"/rooms/"+attic+"/aliases", nil); r.body != `{"aliases":[]}` {
			t.Errorf("an administrator asks for aliases: %s", r.body)
		}
		for query, want := range map[string]string{"order_by=joined_members": cellar, "order_by=size&dir=b": attic, "dir=b": cellar, "order_by=alphabetical": attic,
			"order_by=joined_local_members": cellar, "order_by=joined_local_members&dir=b": attic, "order_by=join_rules": attic, "order_by=join_rules&dir=b": cellar,
			"empty_rooms=false&dir=b": cellar, "public_rooms=false": attic, "search_term=ell": cellar, "search_term=" + attic: attic} {
			list := root.must("GET", v1+"/rooms?limit=1&"+query, nil)
			if first, _ := list.at("rooms").([]any)[0].(map[string]any); first["room_id"] != want {
				t.Errorf("%s: %s", query, list.body)
			}
		}
		for _, query := range []string{"empty_rooms=true", "public_rooms=true"} {
			if list := root.must("GET", v1+"/rooms?"+query, nil); list.at("total_rooms") != 0.0 {
				t.Errorf("%s: %s", query, list.body)
			}
		}
		for _, order := range rooms.Orders() {
			if list := root.must("GET", v1+"/rooms?dir=b&order_by="+order, nil); len(list.at("rooms").([]any)) != 2 {
				t.Errorf("%s: %s", order, list.body)
			}
		}
		root.refused("GET", v1+"/rooms?order_by=colour", nil, 400, "M_INVALID_PARAM")
		shown := root.must("GET", v1+"/rooms/"+attic, nil)
		if shown.text("creator") != alice.user || shown.text("history_visibility") != "shared" || shown.at("state_events").(float64) < 6 || shown.at("federatable") != true {
			t.Error(shown.body)
		}
		if r := root.must("GET", v1+"/rooms/"+cellar+"/members", nil); r.at("total") != 2.0 {
			t.Error(r.body)
		}
		if r := root.must("GET", v1+"/rooms/"+cellar+"/state", nil); !strings.Contains(r.body, `"m.room.create"`) {
			t.Error(r.body)
		}
		root.refused("GET", v1+"/rooms/!none:hs.example", nil, 404, "M_NOT_FOUND")

		// Where nobody is asked in, a member asks the user in.
		root.must("POST", v1+"/join/"+attic, map[string]string{"user_id": bob.user})
		bob.say(attic, "here")
		root.must("POST", v1+"/rooms/"+attic+"/make_room_admin", map[string]string{"user_id": bob.user})
		bob.must("PUT", v3+"/rooms/"+attic+"/state/m.room.name/", map[string]string{"name": "Mine"})
		root.must("POST", v1+"/rooms/"+attic+"/make_room_admin", map[string]string{})
		root.must("POST", v3+"/rooms/"+attic+"/join", map[string]any{})

		root.must("PUT", v1+"/rooms/"+cellar+"/block", map[string]bool{"block": true})
		carol := s.person("carol")
		carol.refused("POST", v3+"/rooms/"+cellar+"/join", map[string]any{}, 403, "M_FORBIDDEN")
		for _, membership := range []string{"join", "knock"} {
			content := map[string]string{"membership": membership}
			if r := carol.do("PUT", v3+"/rooms/"+cellar+"/state/m.room.member/"+carol.user, content); r.status != 403 || !strings.Contains(r.body, "blocked") {
				t.Errorf("%s by a state event: %d %s", membership, r.status, r.body)
			}
		}
		if r := carol.do("POST", v3+"/knock/"+cellar, map[string]any{}); r.status != 403 || !strings.Contains(r.body, "blocked") {
			t.Errorf("knocking: %d %s", r.status, r.body)
		}
		if r := root.must("GET", v1+"/rooms/"+cellar+"/block", nil); r.at("block") != true || r.text("user_id") != root.user {
			t.Error(r.body)
		}
		root.must("PUT", v1+"/rooms/"+cellar+"/block", map[string]bool{"block": false})
		s.login("carol", password).must("POST", v3+"/rooms/"+cellar+"/join", map[string]any{})
	})
}

func TestPurgeHistory(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice := s.admin(), s.person("alice")
		room := alice.room("public_chat", "Talk")
		var events []string
		for i := range 12 {
			events = append(events, alice.say(room, fmt.Sprint("message-", i)))
		}
		purge := func(path string, body map[string]any) {
			t.Helper()
			id := root.must("POST", path, body).text("purge_id")
			root.until(v1+"/purge_history_status/"+id, func(r reply) bool { return r.text("status") == "complete" })
		}
		shown := func() (texts []string) {
			r := alice.must("GET", v3+"/rooms/"+room+"/messages?dir=b&limit=100", nil)
			for _, e := range r.at("chunk").([]any) {
				content, _ := e.(map[string]any)["content"].(map[string]any)
				if body, ok := content["body"].(string); ok {
					texts = append(texts, body)
				}
			}
			slices.Reverse(texts)
			return texts
		}
		purge(v1+"/purge_history/"+room+"/"+events[10], map[string]any{})
		if len(shown()) != 12 {
			t.Error("what local users said went without being asked for")
		}
		purge(v1+"/purge_history/"+room+"/"+events[10], map[string]any{"delete_local_events": true})
		if got := shown(); !slices.Equal(got, []string{"message-10", "message-11"}) {
			t.Errorf("left: %q", got)
		}
		alice.refused("GET", v3+"/rooms/"+room+"/event/"+events[0], nil, 404, "M_NOT_FOUND")
		alice.say(room, "on")
		purge(v1+"/purge_history/"+room, map[string]any{"delete_local_events": true, "purge_up_to_ts": time.Now().Add(time.Hour).UnixMilli()})
		if got := shown(); !slices.Equal(got, []string{"on"}) {
			t.Errorf("left: %q", got)
		}
		alice.must("GET", v3+"/rooms/"+room+"/state", nil)
		alice.must("GET", v3+"/sync", nil)
		alice.say(room, "and on")
		root.refused("POST", v1+"/purge_history/"+room, map[string]any{}, 400, "M_MISSING_PARAM")
		root.refused("POST", v1+"/purge_history/"+room+"/$none", map[string]any{}, 404, "M_NOT_FOUND")
		root.refused("GET", v1+"/purge_history_status/none", nil, 404, "M_NOT_FOUND")
	})
}

func TestDeleteRoom(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice, bob := s.admin(), s.person("alice"), s.person("bob")
		room := alice.must("POST", v3+"/createRoom", map[string]any{"preset": "public_chat", "room_alias_name": "gone", "visibility": "public"}).text("room_id")
		bob.must("POST", v3+"/rooms/"+room+"/join", map[string]any{})
		alice.say(room, "hello")
		for _, p := range []*person{alice, bob} {
			p.syncUntil("room", func(r reply) bool { return r.at("rooms", "join", room) != nil })
		}
		id := root.must("DELETE", v2+"/rooms/"+room, map[string]any{
			"block": true, "new_room_user_id": root.user, "room_name": "Moved", "message": "Sorry.",
		}).text("delete_id")
		alice.syncUntil("farewell", func(r reply) bool { return r.at("rooms", "leave", room) != nil })
		done := root.until(v2+"/rooms/delete_status/"+id, func(r reply) bool { return r.text("status") == "complete" })
		successor := done.text("shutdown_room", "new_room_id")
		if len(done.at("shutdown_room", "kicked_users").([]any)) != 2 || done.at("shutdown_room", "local_aliases").([]any)[0] != "#gone:hs.example" {
			t.Error(done.body)
		}
		if r := root.must("GET", v2+"/rooms/"+room+"/delete_status", nil); !strings.Contains(r.body, id) {
			t.Error(r.body)
		}
		// Nothing is left, and nobody stumbles over that.
		root.refused("GET", v1+"/rooms/"+room, nil, 404, "M_NOT_FOUND")
		alice.refused("GET", v3+"/rooms/"+room+"/messages?dir=b", nil, 403, "M_FORBIDDEN")
		alice.refused("PUT", v3+"/rooms/"+room+"/send/m.room.message/2", map[string]string{"body": "x", "msgtype": "m.text"}, 403, "M_FORBIDDEN")
		bob.refused("POST", v3+"/rooms/"+room+"/join", map[string]any{}, 404, "M_NOT_FOUND")
		for _, p := range []*person{alice, bob} {
			p.must("GET", v3+"/sync?since="+p.since, nil)
			if r := p.must("GET", v3+"/sync?full_state=true", nil); r.at("rooms", "join", successor) == nil || strings.Contains(r.body, room) {
				t.Error(r.body)
			}
		}
		if r := bob.must("GET", v3+"/directory/room/%23gone:hs.example", nil); r.text("room_id") != successor {
			t.Error(r.body)
		}
		alice.refused("PUT", v3+"/rooms/"+successor+"/send/m.room.message/1", map[string]string{"body": "x", "msgtype": "m.text"}, 403, "M_FORBIDDEN")
		// Without waiting, and without another room.
		second := alice.room("public_chat", "Second")
		if r := root.must("DELETE", v1+"/rooms/"+second, map[string]any{}); r.at("kicked_users").([]any)[0] != alice.user {
			t.Error(r.body)
		}
		root.refused("DELETE", v1+"/rooms/"+second, map[string]any{}, 404, "M_NOT_FOUND")
		if r := root.must("GET", v1+"/rooms", nil); r.at("total_rooms") != 1.0 {
			t.Error(r.body)
		}
	})
}
