package clientapi_test

import (
	"slices"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// state is the room's state events by type and state key.
func (d *device) allState(room string) map[string]map[string]any {
	d.t.Helper()
	list, _ := d.must("GET", v3+"/rooms/"+room+"/state", nil).at().([]any)
	state := map[string]map[string]any{}
	for _, e := range list {
		e := e.(map[string]any)
		state[strings.TrimSuffix(e["type"].(string)+"|"+e["state_key"].(string), "|")] = e["content"].(map[string]any)
	}
	return state
}

// history is the types of the room's events, from its beginning.
func (d *device) history(room string) []string {
	d.t.Helper()
	var types []string
	for _, e := range d.must("GET", v3+"/rooms/"+room+"/messages?dir=f&limit=100", nil).list("chunk") {
		typ := e["type"].(string)
		if content := e["content"].(map[string]any); typ == "m.room.member" {
			typ += " " + content["membership"].(string)
		}
		types = append(types, typ)
	}
	return types
}

func (d *device) create(request object) string {
	d.t.Helper()
	return d.must("POST", v3+"/createRoom", request).field("room_id")
}

// Presets are what the specification says, in every version of rooms.
func TestPresets(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		for _, version := range []string{"1", "9", "10", "11", "12"} {
			for _, tt := range []struct {
				preset, visibility, joinRule, guests string
				listed, trusted                      bool
			}{
				{"", "", "invite", "can_join", false, false},
				{"", "private", "invite", "can_join", false, false},
				{"", "public", "public", "forbidden", true, false},
				{"private_chat", "public", "invite", "can_join", true, false},
				{"public_chat", "private", "public", "forbidden", false, false},
				{"trusted_private_chat", "", "invite", "can_join", false, true},
			} {
				request := object{"room_version": version, "invite": []string{bob.user}, "is_direct": true}
				if tt.preset != "" {
					request["preset"] = tt.preset
				}
				if tt.visibility != "" {
					request["visibility"] = tt.visibility
				}
				room := alice.create(request)
				state := alice.allState(room)
				listed := alice.must("GET", v3+"/directory/list/room/"+room, nil).field("visibility") == "public"
				if state["m.room.join_rules"]["join_rule"] != tt.joinRule || state["m.room.guest_access"]["guest_access"] != tt.guests ||
					state["m.room.history_visibility"]["history_visibility"] != "shared" || listed != tt.listed {
					t.Errorf("%s %+v: %v, listed is %v", version, tt, state, listed)
				}
				if m := state["m.room.member|"+bob.user]; m["membership"] != "invite" || m["is_direct"] != true {
					t.Errorf("%s %+v: bob's membership: %v", version, tt, m)
				}
				create, levels := state["m.room.create"], state["m.room.power_levels"]
				users, _ := levels["users"].(map[string]any)
				events, _ := levels["events"].(map[string]any)
				if create["room_version"] != version || (create["creator"] == alice.user) != (version != "11" && version != "12") {
					t.Errorf("%s: %v", version, create)
				}
				if version != "12" {
					if users[alice.user] != 100.0 || (users[bob.user] == 100.0) != tt.trusted {
						t.Errorf("%s %+v: %v", version, tt, users)
					}
					continue
				}
				creators, _ := create["additional_creators"].([]any)
				if len(users) != 0 || slices.Contains(creators, any(bob.user)) != tt.trusted || events["m.room.tombstone"] != 150.0 {
					t.Errorf("%s %+v: %v %v", version, tt, create, levels)
				}
			}
		}
	})
}

// A room's first events are in the order that the specification has for them.
func TestFirstEventsOfARoom(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.create(object{
			"room_alias_name": "pub", "name": "The Grand Duke Pub", "topic": "Happy hours", "invite": []string{bob.user, bob.user, alice.user},
			"creation_content": object{"m.federate": false, "type": "m.space", "creator": "@x:y", "room_version": "1", "test": "azerty"},
			"initial_state": []object{
				{"type": "m.room.name", "content": object{"name": "overridden"}},
				{"type": "org.example.first", "state_key": "key", "content": object{}},
				{"type": "m.room.guest_access", "content": object{"guest_access": "forbidden"}},
				{"type": "m.room.encryption", "content": object{"algorithm": "m.megolm.v1.aes-sha2"}},
			},
		})
		want := []string{
			"m.room.create", "m.room.member join", "m.room.power_levels", "m.room.canonical_alias", "m.room.join_rules", "m.room.history_visibility",
			"org.example.first", "m.room.guest_access", "m.room.encryption", "m.room.name", "m.room.topic", "m.room.member invite",
		}
		if got := alice.history(room); !slices.Equal(got, want) {
			t.Errorf("%v", got)
		}
		state := alice.allState(room)
		create := state["m.room.create"]
		if create["m.federate"] != false || create["type"] != "m.space" || create["test"] != "azerty" || create["room_version"] != "12" || create["creator"] != nil {
			t.Errorf("%v", create)
		}
		if state["m.room.canonical_alias"]["alias"] != "#pub:hs.example" || state["m.room.name"]["name"] != "The Grand Duke Pub" ||
			!same(state["m.room.topic"], object{"topic": "Happy hours", "m.topic": object{"m.text": []object{{"body": "Happy hours"}}}}) {
			t.Errorf("%v", state)
		}
		if r := alice.must("GET", v3+"/directory/room/%23pub:hs.example", nil); r.field("room_id") != room {
			t.Errorf("%s", r.body)
		}
		alice.refused("POST", v3+"/createRoom", object{"room_alias_name": "pub"}, 400, "M_ROOM_IN_USE")
		plain := alice.create(object{"initial_state": []object{{"type": "m.room.topic", "content": object{"topic": "as it is"}}}})
		if topic := alice.allState(plain)["m.room.topic"]; !same(topic, object{"topic": "as it is"}) {
			t.Errorf("%v", topic)
		}
	})
}

// What a client says about power goes over what there is, and must make sense.
func TestPowerOfANewRoom(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		levels := func(request object) (users, events map[string]any) {
			content := alice.allState(alice.create(request))["m.room.power_levels"]
			users, _ = content["users"].(map[string]any)
			events, _ = content["events"].(map[string]any)
			return users, events
		}
		override := func(version string, levels object) object {
			return object{"room_version": version, "power_level_content_override": levels}
		}
		users, events := levels(override("12", object{"users": object{bob.user: 100}, "events": object{"com.example.test": 0}, "state_default": 160}))
		if !same(users, object{bob.user: 100}) || !same(events, object{"com.example.test": 0, "m.room.tombstone": 161}) {
			t.Errorf("%v %v", users, events)
		}
		if _, events = levels(override("12", object{"events": object{"m.room.tombstone": 51}})); !same(events, object{"m.room.tombstone": 51}) {
			t.Errorf("%v", events)
		}
		if _, events = levels(override("11", object{"events": object{"com.example.test": 0}})); !same(events, object{"com.example.test": 0}) {
			t.Errorf("%v", events)
		}
		for name, request := range map[string]object{
			"the creator has a level":          override("12", object{"users": object{alice.user: 100}}),
			"nobody may name it":               {"room_version": "11", "name": "x", "power_level_content_override": object{"users": object{}}},
			"levels that are none":             override("12", object{"users_default": "much"}),
			"a level of nobody":                override("12", object{"users": object{"nobody": 5}}),
			"creators that are no list":        {"creation_content": object{"additional_creators": "not-an-array"}},
			"creators that are no texts":       {"creation_content": object{"additional_creators": []any{"@foo:example.com", 42}}},
			"creators that are no users":       {"creation_content": object{"additional_creators": []any{"not-a-user-id"}}},
			"creators of no server":            {"creation_content": object{"additional_creators": []any{"@invalid:dom$ain$.com"}}},
			"creators of no server, trusted":   {"preset": "trusted_private_chat", "creation_content": object{"additional_creators": []any{"@invalid:dom$ain$.com"}}},
			"an alias of no room":              {"initial_state": []object{{"type": "m.room.power_levels", "content": object{"users": object{alice.user: 1}}}}},
			"a second creation":                {"initial_state": []object{{"type": "m.room.create", "content": object{}}}},
			"a membership that there is not":   {"initial_state": []object{{"type": "m.room.member", "state_key": bob.user, "content": object{"membership": "join"}}}},
			"a banned user who is invited too": {"invite": []string{bob.user}, "initial_state": []object{{"type": "m.room.member", "state_key": bob.user, "content": object{"membership": "ban"}}}},
		} {
			r := alice.do("POST", v3+"/createRoom", request)
			if r.status != 400 || !strings.HasPrefix(r.field("errcode"), "M_") {
				t.Errorf("%s: %d %s", name, r.status, r.body)
			}
		}
		if joined := alice.must("GET", v3+"/joined_rooms", nil).texts("joined_rooms"); len(joined) != 3 {
			t.Errorf("rooms are left of what was refused: %v", joined)
		}
		plain := &device{wholeServer: s.plain(), token: alice.token}
		for code, request := range map[string]object{
			"M_UNSUPPORTED_ROOM_VERSION": {"room_version": "ahfgwjyerhgiuveisbruvybseyrugvi"},
			"M_BAD_JSON":                 {"room_version": 1},
			"M_INVALID_PARAM":            {"preset": "secret_chat"},
		} {
			plain.refused("POST", v3+"/createRoom", request, 400, code)
		}
		for _, request := range []object{
			{"visibility": "hidden"}, {"room_alias_name": "a:b"}, {"room_alias_name": strings.Repeat("x", 300)}, {"invite": []string{"bob"}},
		} {
			plain.refused("POST", v3+"/createRoom", request, 400, "M_INVALID_PARAM")
		}
		plain.refused("POST", v3+"/createRoom", object{"initial_state": []object{{"type": "x"}}}, 400, "M_BAD_JSON")
	})
}

// Those who have made a room stand above its power levels.
func TestFurtherCreators(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		room := alice.create(object{"preset": "public_chat", "creation_content": object{"additional_creators": []string{bob.user}}})
		bob.join(room)
		alice.refused("POST", v3+"/rooms/"+room+"/kick", object{"user_id": bob.user}, 403, "M_FORBIDDEN")
		bob.setState(room, "m.room.name", "", object{"name": "Bob's"})
		r := alice.do("PUT", v3+"/rooms/"+room+"/state/m.room.power_levels/", object{"users": object{bob.user: 100}})
		if r.status != 400 {
			t.Errorf("a creator has a power level: %d %s", r.status, r.body)
		}
		room = alice.create(object{
			"preset": "trusted_private_chat", "invite": []string{bob.user, carol.user}, "creation_content": object{"additional_creators": []string{carol.user, "@dave:hs.example"}},
		})
		creators, _ := alice.allState(room)["m.room.create"]["additional_creators"].([]any)
		if !same(creators, []string{carol.user, "@dave:hs.example", bob.user}) {
			t.Errorf("%v", creators)
		}
	})
}
