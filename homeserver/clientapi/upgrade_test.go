package clientapi_test

import (
	"net/url"
	"testing"

	"trestle/internal/testkit"
)

// stateOf is the content of a state event.
func (d *device) stateOf(room, typ string) reply {
	d.t.Helper()
	return d.must("GET", v3+"/rooms/"+room+"/state/"+typ+"/", nil)
}

func (d *device) setState(room, typ, key string, content any) {
	d.t.Helper()
	d.must("PUT", v3+"/rooms/"+room+"/state/"+typ+"/"+url.PathEscape(key), content)
}

func TestARoomIsUpgraded(t *testing.T) {
	for _, versions := range [][2]string{{"10", "11"}, {"11", "12"}, {"12", "12"}, {"12", "11"}} {
		testkit.Databases(t, func(t *testing.T, database string) {
			server := newWholeServer(t, database)
			alice, bob := server.person("alice"), server.person("bob")
			old := alice.must("POST", v3+"/createRoom", map[string]any{
				"room_version": versions[0], "preset": "public_chat", "visibility": "public", "name": "Talk", "topic": "of things", "room_alias_name": "talk",
				"creation_content": map[string]any{"type": "org.test", "m.federate": false},
				"initial_state": []any{
					map[string]any{"type": "m.room.encryption", "content": map[string]string{"algorithm": "m.megolm.v1.aes-sha2"}},
					map[string]any{"type": "org.test.sensitive", "content": map[string]string{}},
				},
			}).field("room_id")
			bob.join(old)
			alice.must("POST", v3+"/rooms/"+old+"/ban", map[string]string{"user_id": "@mallory:hs.example"})
			alice.must("PUT", v3+"/user/"+alice.user+"/rooms/"+old+"/tags/m.favourite", map[string]float64{"order": 0.5})
			for _, who := range []*device{alice, bob} {
				who.must("PUT", v3+"/pushrules/global/room/"+old, map[string]any{"actions": []string{"notify"}})
				who.must("PUT", v3+"/user/"+who.user+"/account_data/m.direct", map[string][]string{"@somebody:hs.example": {old}})
			}
			bob.must("PUT", v3+"/pushrules/global/override/"+old, map[string]any{
				"actions": []string{}, "conditions": []any{map[string]string{"kind": "event_match", "key": "room_id", "pattern": old}},
			})

			bob.refused("POST", v3+"/rooms/"+old+"/upgrade", map[string]string{"new_version": versions[1]}, 403, "M_FORBIDDEN")
			alice.refused("POST", v3+"/rooms/"+old+"/upgrade", map[string]string{"new_version": "no such"}, 400, "M_UNSUPPORTED_ROOM_VERSION")
			alice.refused("POST", v3+"/rooms/"+old+"/upgrade", map[string]string{}, 400, "M_MISSING_PARAM")
			room := alice.must("POST", v3+"/rooms/"+old+"/upgrade", map[string]any{
				"new_version": versions[1], "additional_creators": []string{bob.user},
			}).field("replacement_room")

			create := alice.stateOf(room, "m.room.create")
			if create.at("predecessor", "room_id") != old || create.at("type") != "org.test" || create.at("m.federate") != false || create.at("room_version") != versions[1] {
				t.Errorf("%v: created as %s", versions, create.body)
			}
			if creators := create.texts("additional_creators"); (len(creators) == 1) != (versions[1] == "12") {
				t.Errorf("%v: additional creators %v", versions, creators)
			}
			for typ, want := range map[string][2]string{
				"m.room.name": {"name", "Talk"}, "m.room.topic": {"topic", "of things"}, "m.room.join_rules": {"join_rule", "public"},
				"m.room.encryption": {"algorithm", "m.megolm.v1.aes-sha2"}, "m.room.canonical_alias": {"alias", "#talk:hs.example"},
			} {
				if got := alice.stateOf(room, typ).at(want[0]); got != want[1] {
					t.Errorf("%v: %s is %v", versions, typ, got)
				}
			}
			if banned := alice.must("GET", v3+"/rooms/"+room+"/state/m.room.member/@mallory:hs.example", nil); banned.at("membership") != "ban" {
				t.Errorf("%v: mallory is %s", versions, banned.body)
			}
			alice.refused("GET", v3+"/rooms/"+room+"/state/org.test.sensitive/", nil, 404, "M_NOT_FOUND")
			if found := alice.must("GET", v3+"/directory/room/%23talk:hs.example", nil).field("room_id"); found != room {
				t.Errorf("%v: the alias leads to %s", versions, found)
			}
			if listed := alice.must("GET", v3+"/directory/list/room/"+room, nil).field("visibility"); listed != "public" {
				t.Errorf("%v: the new room is %s", versions, listed)
			}
			if listed := alice.must("GET", v3+"/directory/list/room/"+old, nil).field("visibility"); listed != "private" {
				t.Errorf("%v: the old room is %s", versions, listed)
			}
			if tombstone := alice.stateOf(old, "m.room.tombstone"); tombstone.at("replacement_room") != room {
				t.Errorf("%v: tombstone %s", versions, tombstone.body)
			}
			bob.refused("PUT", v3+"/rooms/"+old+"/send/m.room.message/late", map[string]string{"msgtype": "m.text", "body": "late"}, 403, "M_FORBIDDEN")

			// People take what they said about the room with them.
			bob.join(room)
			for _, who := range []*device{alice, bob} {
				who.must("GET", v3+"/pushrules/global/room/"+room, nil)
				if chats := who.must("GET", v3+"/user/"+who.user+"/account_data/m.direct", nil).texts("@somebody:hs.example"); len(chats) != 2 {
					t.Errorf("%v: %s chats directly in %v", versions, who.user, chats)
				}
			}
			muted := bob.must("GET", v3+"/pushrules/global/override/"+room, nil)
			if conditions, _ := muted.at("conditions").([]any); len(conditions) != 1 || conditions[0].(map[string]any)["pattern"] != room {
				t.Errorf("%v: bob's mute is %s", versions, muted.body)
			}
			if tags := alice.must("GET", v3+"/user/"+alice.user+"/rooms/"+room+"/tags", nil); tags.at("tags", "m.favourite", "order") != 0.5 {
				t.Errorf("%v: alice's tags are %s", versions, tags.body)
			}
		})
	}
}

// A room that is replaced by hand hands over as well.
func TestARoomIsReplacedByHand(t *testing.T) {
	server := newWholeServer(t, testkit.SQLite(t))
	alice := server.person("alice")
	old := alice.room()
	alice.must("PUT", v3+"/pushrules/global/room/"+old, map[string]any{"actions": []string{"notify"}})
	room := alice.must("POST", v3+"/createRoom", map[string]any{
		"creation_content": map[string]any{"predecessor": map[string]string{"room_id": old, "event_id": "$unknown"}},
	}).field("room_id")
	alice.refused("GET", v3+"/pushrules/global/room/"+room, nil, 404, "M_NOT_FOUND")
	alice.setState(old, "m.room.tombstone", "", map[string]string{"body": "moved", "replacement_room": room})
	alice.must("GET", v3+"/pushrules/global/room/"+room, nil)

	// But not because somebody says so in the old room alone.
	stranger := alice.room()
	other := alice.room()
	alice.must("PUT", v3+"/pushrules/global/room/"+other, map[string]any{"actions": []string{"notify"}})
	alice.setState(other, "m.room.tombstone", "", map[string]string{"body": "moved", "replacement_room": stranger})
	alice.refused("GET", v3+"/pushrules/global/room/"+stranger, nil, 404, "M_NOT_FOUND")
}

// Who comes by a state event of theirs takes as much along as by any other way,
// once.
func TestComingByAStateEvent(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		server := newWholeServer(t, database)
		alice, bob := server.person("alice"), server.person("bob")
		old := alice.make("old")
		bob.join(old)
		tag := func(room string) string { return v3 + "/user/" + bob.user + "/rooms/" + room + "/tags" }
		bob.must("PUT", tag(old)+"/m.favourite", map[string]float64{"order": 0.5})
		room := alice.must("POST", v3+"/rooms/"+old+"/upgrade", map[string]string{"new_version": "12"}).field("replacement_room")
		bob.setState(room, "m.room.member", bob.user, map[string]string{"membership": "join"})
		if tags := bob.must("GET", tag(room), nil); tags.at("tags", "m.favourite", "order") != 0.5 {
			t.Errorf("tags: %s", tags.body)
		}
		bob.must("DELETE", tag(room)+"/m.favourite", nil)
		bob.setState(room, "m.room.member", bob.user, map[string]string{"membership": "join", "displayname": "Bob"})
		if tags := bob.must("GET", tag(room), nil); tags.at("tags", "m.favourite") != nil {
			t.Errorf("taken along again: %s", tags.body)
		}
	})
}

// Rooms of before version 10 can have texts for levels, which newer ones refuse.
func TestLevelsOfOldRoomsAreUpgraded(t *testing.T) {
	s := newWholeServer(t, testkit.SQLite(t))
	alice, bob := s.person("alice"), s.person("bob")
	old := alice.create(object{"room_version": "9", "power_level_content_override": object{
		"ban": " 60", "kick": "70", "invite": nil, "users": object{alice.user: "100", bob.user: "75"},
		"events": object{"org.example.a": "25"}, "notifications": object{"room": "30"},
	}})
	if kick := alice.stateOf(old, "m.room.power_levels").at("kick"); kick != "70" {
		t.Fatalf("the old room has %v", kick)
	}
	room := alice.must("POST", v3+"/rooms/"+old+"/upgrade", object{"new_version": "12"}).field("replacement_room")
	levels := alice.stateOf(room, "m.room.power_levels")
	if levels.at("kick") != 70.0 || levels.at("ban") != 60.0 || levels.at("notifications", "room") != 30.0 ||
		levels.at("events", "org.example.a") != 25.0 || levels.at("users", bob.user) != 75.0 || levels.at("users", alice.user) != nil || levels.at("invite") != nil {
		t.Errorf("%s", levels.body)
	}
}

// Levels above a creator's are taken along, whoever upgrades: were they made
// less, what takes more could be done by nobody.
func TestHighLevelsAreUpgraded(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		for _, c := range []struct {
			from, to            string
			alice, bob          any // levels in the old room
			wantAlice, wantBob  any
			topic, kick, upload float64
		}{
			{"10", "11", 500, 50, 500.0, 50.0, 300, 200, 250},
			{"10", "12", 500, 50, 500.0, nil, 300, 200, 250},
			{"12", "11", nil, 400, 400.0, 400.0, 100, 200, 250},
		} {
			users := object{bob.user: c.bob}
			if c.alice != nil {
				users[alice.user] = c.alice
			}
			old := alice.create(object{"room_version": c.from, "preset": "public_chat", "power_level_content_override": object{
				"users": users, "kick": c.kick, "notifications": object{"upload": c.upload},
				"events": object{"m.room.topic": c.topic, "m.room.tombstone": 50, "m.room.power_levels": 50},
			}})
			bob.join(old)
			room := bob.must("POST", v3+"/rooms/"+old+"/upgrade", object{"new_version": c.to}).field("replacement_room")
			levels := bob.stateOf(room, "m.room.power_levels")
			if levels.at("users", alice.user) != c.wantAlice || levels.at("users", bob.user) != c.wantBob ||
				levels.at("events", "m.room.topic") != c.topic || levels.at("kick") != c.kick || levels.at("notifications", "upload") != c.upload {
				t.Errorf("%s to %s: %s", c.from, c.to, levels.body)
			}
			alice.join(room)
			alice.setState(room, "m.room.topic", "", object{"topic": "as before"})
		}
	})
}

// Clients that follow a tombstone would never arrive.
func TestRoomsDoNotReplaceThemselves(t *testing.T) {
	s := newWholeServer(t, testkit.SQLite(t))
	alice := s.person("alice")
	room, other := alice.room(), alice.room()
	tombstone := v3 + "/rooms/" + room + "/state/m.room.tombstone/"
	alice.refused("PUT", tombstone, object{"body": "here", "replacement_room": room}, 400, "M_INVALID_PARAM")
	alice.must("PUT", tombstone, object{"body": "there", "replacement_room": other})
}
