package clientapi_test

import (
	"slices"
	"testing"

	"trestle/internal/testkit"
)

// invited is whether a sync shows an invite into a room, and what it shows of it.
func (d *device) invited(room string) (shown bool, state []string) {
	d.t.Helper()
	d.since = ""
	events := d.sync().list("rooms", "invite", room, "invite_state", "events")
	for _, e := range events {
		state = append(state, e["type"].(string))
	}
	slices.Sort(state)
	return len(events) > 0, slices.Compact(state)
}

// People are invited, and accept, refuse or are taken off again.
func TestInvites(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		room := alice.create(object{"preset": "private_chat", "name": "Invites room", "room_version": "11"})
		path := v3 + "/rooms/" + room
		invite := func(d, who *device) { d.must("POST", path+"/invite", object{"user_id": who.user, "reason": "come"}) }

		bob.refused("POST", path+"/join", `{}`, 403, "M_FORBIDDEN")
		bob.refused("POST", path+"/invite", object{"user_id": carol.user}, 403, "M_FORBIDDEN")
		alice.refused("POST", path+"/invite", object{"user_id": alice.user}, 403, "M_FORBIDDEN")
		alice.refused("POST", path+"/invite", `{}`, 400, "M_MISSING_PARAM")
		alice.refused("POST", v3+"/rooms/!nowhere:hs.example/invite", object{"user_id": bob.user}, 403, "M_FORBIDDEN")

		invite(alice, bob)
		if shown, state := bob.invited(room); !shown || !slices.Equal(state, []string{"m.room.create", "m.room.join_rules", "m.room.member", "m.room.name"}) {
			t.Errorf("bob's invite: %v %v", shown, state)
		}
		bob.refused("GET", path+"/state", nil, 403, "M_FORBIDDEN")
		bob.leave(room) // refuses
		if shown, _ := bob.invited(room); shown {
			t.Error("an invite that was refused is shown")
		}
		invite(alice, bob)
		alice.must("POST", path+"/kick", object{"user_id": bob.user}) // takes it back
		bob.refused("POST", path+"/join", `{}`, 403, "M_FORBIDDEN")
		invite(alice, bob)
		bob.join(room)
		alice.refused("POST", path+"/invite", object{"user_id": bob.user}, 403, "M_FORBIDDEN")

		// Who has made a room can be invited back into it.
		alice.setState(room, "m.room.power_levels", "", object{"users": object{alice.user: 100, bob.user: 100}})
		alice.leave(room)
		alice.refused("POST", path+"/join", `{}`, 403, "M_FORBIDDEN")
		invite(bob, alice)
		alice.join(room)

		// An invite can be refused though nobody is there any more.
		invite(alice, carol)
		alice.leave(room)
		bob.leave(room)
		carol.leave(room)
		if shown, _ := carol.invited(room); shown {
			t.Error("an invite into an empty room is shown after it was refused")
		}
		carol.refused("POST", path+"/join", `{}`, 403, "M_FORBIDDEN")
	})
}

// Who is banned stays out until the ban ends; who may do what depends on power.
func TestKicksAndBans(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
		room := alice.room(bob)
		path := v3 + "/rooms/" + room
		alice.refused("POST", path+"/kick", object{"user_id": carol.user}, 403, "M_FORBIDDEN")
		carol.refused("POST", path+"/kick", object{"user_id": bob.user}, 403, "M_FORBIDDEN")
		for _, action := range []string{"kick", "ban", "unban"} {
			code := "M_FORBIDDEN"
			if action == "unban" {
				code = "M_BAD_STATE" // which alice is not, whoever asks
			}
			bob.refused("POST", path+"/"+action, object{"user_id": alice.user}, 403, code)
			alice.refused("POST", path+"/"+action, `{}`, 400, "M_MISSING_PARAM")
			alice.refused("POST", path+"/"+action, object{"user_id": "bob"}, 400, "M_INVALID_PARAM")
		}
		alice.must("POST", path+"/kick", object{"user_id": bob.user, "reason": "a while"})
		if r := alice.must("GET", path+"/state/m.room.member/"+bob.user, nil); r.field("membership") != "leave" || r.field("reason") != "a while" {
			t.Errorf("%s", r.body)
		}
		bob.join(room)
		alice.must("POST", path+"/ban", object{"user_id": bob.user, "reason": "for good"})
		bob.refused("POST", path+"/join", `{}`, 403, "M_FORBIDDEN")
		alice.refused("POST", path+"/invite", object{"user_id": bob.user}, 403, "M_FORBIDDEN")
		alice.refused("POST", path+"/unban", object{"user_id": carol.user}, 403, "M_BAD_STATE")
		alice.must("POST", path+"/unban", object{"user_id": bob.user})
		bob.join(room)
		alice.must("POST", path+"/ban", object{"user_id": carol.user}) // who was never there
		carol.refused("POST", path+"/join", `{}`, 403, "M_FORBIDDEN")
	})
}
