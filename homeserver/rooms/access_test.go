package rooms_test

import (
	"encoding/json"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

func (f *fixture) state(room matrix.RoomID, sender matrix.UserID, typ, content string) {
	f.t.Helper()
	if _, err := f.Send(f.t.Context(), rooms.SendRequest{Room: room, Sender: sender, Type: typ, StateKey: new(string), Content: json.RawMessage(content)}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) do(what func(member rooms.MemberRequest) error, room matrix.RoomID, sender, target matrix.UserID) {
	f.t.Helper()
	if err := what(rooms.MemberRequest{Room: room, Sender: sender, Target: target}); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) invite(m rooms.MemberRequest) error { return f.Invite(f.t.Context(), m) }
func (f *fixture) leave(m rooms.MemberRequest) error  { return f.Leave(f.t.Context(), m) }
func (f *fixture) ban(m rooms.MemberRequest) error    { return f.Ban(f.t.Context(), m) }
func (f *fixture) unban(m rooms.MemberRequest) error  { return f.Unban(f.t.Context(), m) }
func (f *fixture) kick(m rooms.MemberRequest) error   { return f.Kick(f.t.Context(), m) }

// topicFor is the topic that a user may read.
func (f *fixture) topicFor(room matrix.RoomID, user matrix.UserID) string {
	f.t.Helper()
	access, err := f.Access(f.t.Context(), room, user)
	if err != nil {
		return matrix.Code(err)
	}
	e, err := access.State.Event(f.t.Context(), "m.room.topic", "")
	if err != nil || e == nil {
		f.t.Fatal(e, err)
	}
	var content struct{ Topic string }
	if err := json.Unmarshal(e.Content, &content); err != nil {
		f.t.Fatal(err)
	}
	return content.Topic
}

// Whoever has left sees the room as it was then, whatever is done to them later.
func TestAccessEndsWithTheLastTimeInTheRoom(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "private_chat"})
		f.state(room, alice, "m.room.topic", `{"topic":"first"}`)
		f.do(f.invite, room, alice, bob)
		f.do(f.invite, room, alice, carol)
		f.join(room, bob)
		f.do(f.leave, room, bob, "")
		f.do(f.leave, room, carol, "") // refuses
		f.state(room, alice, "m.room.topic", `{"topic":"second"}`)
		steps := []struct {
			name string
			do   func(rooms.MemberRequest) error
		}{{"left", nil}, {"banned", f.ban}, {"unbanned", f.unban}, {"invited again", f.invite}, {"uninvited", f.kick}}
		for _, step := range steps {
			if step.do != nil {
				f.do(step.do, room, alice, bob)
				f.do(step.do, room, alice, carol)
			}
			if topic := f.topicFor(room, bob); topic != "first" {
				t.Errorf("%s: who was in sees %s", step.name, topic)
			}
			if topic := f.topicFor(room, carol); topic != "M_FORBIDDEN" {
				t.Errorf("%s: who never was in sees %s", step.name, topic)
			}
		}
		if err := f.Forget(t.Context(), room, bob); err != nil {
			t.Fatal(err)
		}
		if topic := f.topicFor(room, bob); topic != "M_FORBIDDEN" {
			t.Errorf("who has forgotten the room sees %s", topic)
		}
	})
}

// Outsiders learn nothing about who is in a room from how they are refused.
func TestRefusalsToOutsidersSayNothing(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "private_chat"})
		f.do(f.invite, room, alice, bob)
		f.join(room, bob)
		for name, do := range map[string]func(rooms.MemberRequest) error{"invite": f.invite, "kick": f.kick, "ban": f.ban, "unban": f.unban} {
			var said string
			for _, target := range []matrix.UserID{alice, bob, "@stranger:test"} {
				err := do(rooms.MemberRequest{Room: room, Sender: carol, Target: target})
				f.wantCode(err, "M_FORBIDDEN")
				if err != nil && said != "" && err.Error() != said {
					t.Errorf("%s: %q and %q", name, err, said)
				}
				if err != nil {
					said = err.Error()
				}
			}
		}
	})
}

func TestGuestsJoinOnlyWhereTheyMay(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"}) // forbids guests
		key := string(bob)
		join := rooms.SendRequest{Room: room, Sender: bob, Guest: true, Type: "m.room.member", StateKey: &key, Content: json.RawMessage(`{"membership":"join"}`)}
		_, err := f.Send(t.Context(), join)
		f.wantCode(err, "M_GUEST_ACCESS_FORBIDDEN")
		_, err = f.Join(t.Context(), string(room), rooms.MemberRequest{Sender: bob, Guest: true})
		f.wantCode(err, "M_GUEST_ACCESS_FORBIDDEN")
		f.state(room, alice, "m.room.guest_access", `{"guest_access":"can_join"}`)
		if _, err := f.Send(t.Context(), join); err != nil {
			t.Error(err)
		}
	})
}

// The members of an earlier time are for those who may see that time.
func TestRewind(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat"})
		f.state(room, alice, "m.room.topic", `{"topic":"first"}`)
		f.state(room, alice, "m.room.history_visibility", `{"history_visibility":"joined"}`)
		f.state(room, alice, "m.room.topic", `{"topic":"second"}`)
		f.join(room, bob)
		events := f.history(room)
		hidden := events[len(events)-2].Position
		access, err := f.Access(t.Context(), room, bob)
		if err != nil {
			t.Fatal(err)
		}
		f.wantCode(f.Rewind(t.Context(), access, bob, hidden), "M_FORBIDDEN")
		if err := f.Rewind(t.Context(), access, bob, hidden-2); err != nil {
			t.Fatal(err)
		}
		e, err := access.State.Event(t.Context(), "m.room.member", string(bob))
		if e != nil || err != nil {
			t.Errorf("bob is there already: %v, %v", e, err)
		}
	})
}
