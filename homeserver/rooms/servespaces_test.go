package rooms_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// What hangs below a space is told of as far as somebody of the server could come in or look.
func TestSpacesOfOthers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		state := func(typ, content string) []rooms.InitialState {
			return []rooms.InitialState{{Type: typ, Content: json.RawMessage(content)}}
		}
		club := f.create(rooms.CreateRequest{Preset: "public_chat"})
		members := fmt.Sprintf(`{"join_rule":"restricted","allow":[{"type":"m.room_membership","room_id":"!nowhere"},{"type":"m.room_membership","room_id":%q}]}`, club)
		names, order := map[matrix.RoomID]string{}, []matrix.RoomID{}
		for _, c := range []struct {
			name string
			rooms.CreateRequest
		}{
			{"public", rooms.CreateRequest{Preset: "public_chat"}},
			{"knock", rooms.CreateRequest{InitialState: state("m.room.join_rules", `{"join_rule":"knock"}`)}},
			{"readable", rooms.CreateRequest{InitialState: state("m.room.history_visibility", `{"history_visibility":"world_readable"}`)}},
			{"joined", rooms.CreateRequest{}},
			{"invited", rooms.CreateRequest{}},
			{"members", rooms.CreateRequest{InitialState: state("m.room.join_rules", members)}},
			{"secret", rooms.CreateRequest{}},
			{"shut", rooms.CreateRequest{Preset: "public_chat", InitialState: state("m.room.server_acl", `{"allow":["*"],"deny":["far.*"]}`)}},
			{"own", rooms.CreateRequest{Preset: "public_chat", CreationContent: map[string]json.RawMessage{"m.federate": json.RawMessage("false")}}},
			{"left", rooms.CreateRequest{Preset: "public_chat"}},
		} {
			id := f.create(c.CreateRequest)
			names[id], order = c.name, append(order, id)
			switch c.name {
			case "joined":
				f.do(f.invite, id, alice, zoe)
				f.arrive(id, zoe)
			case "invited":
				f.do(f.invite, id, alice, zoe)
			case "left":
				f.arrive(id, "@wim:elsewhere.example")
				f.do(f.leave, id, alice, "")
			}
		}
		space := f.create(rooms.CreateRequest{Preset: "public_chat", CreationContent: map[string]json.RawMessage{"type": json.RawMessage(`"m.space"`)}})
		for i, id := range append(slices.Clone(order), space, "!unknown:test") {
			content := fmt.Sprintf(`{"via":["test"],"order":"%02d","suggested":%t}`, i, i < 2)
			key := string(id)
			if _, err := f.Send(t.Context(), rooms.SendRequest{Room: space, Sender: alice, Type: "m.space.child", StateKey: &key, Content: json.RawMessage(content)}); err != nil {
				t.Fatal(err)
			}
		}
		check := func(suggested bool, children int, open, closed []string) {
			t.Helper()
			b, err := f.Peer(far).Branch(t.Context(), space, suggested)
			if err != nil {
				t.Fatal(err)
			}
			var got, not []string
			for _, p := range b.Children {
				got = append(got, names[p.RoomID])
			}
			for _, id := range b.Closed {
				not = append(not, names[id])
			}
			if b.Room.RoomID != space || len(b.Room.Children) != children || !slices.Equal(got, open) || !slices.Equal(not, closed) {
				t.Errorf("%s with %d children: %v are open and %v closed", b.Room.RoomID, len(b.Room.Children), got, not)
			}
		}
		check(true, 2, []string{"public", "knock"}, nil)
		check(false, 12, []string{"public", "knock", "readable", "joined", "invited"}, []string{"members", "secret", "shut", "own"})
		f.arrive(club, zoe)
		check(false, 12, []string{"public", "knock", "readable", "joined", "invited", "members"}, []string{"secret", "shut", "own"})
		f.depart(club, zoe)
		check(false, 12, []string{"public", "knock", "readable", "joined", "invited"}, []string{"members", "secret", "shut", "own"})
		for id, name := range names {
			b, err := f.Peer(far).Branch(t.Context(), id, false)
			if slices.Contains([]string{"public", "knock", "readable", "joined", "invited"}, name) {
				if err != nil || b.Room.RoomID != id || len(b.Children)+len(b.Closed)+len(b.Room.Children) > 0 {
					t.Errorf("%s: %+v, %v", name, b, err)
				}
			} else if matrix.Code(err) != "M_NOT_FOUND" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := f.Peer(far).Branch(t.Context(), "!unknown:test", false); matrix.Code(err) != "M_NOT_FOUND" {
			t.Error(err)
		}
	})
}
