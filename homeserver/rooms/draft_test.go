package rooms_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// A client that goes away while its event is made must not leave a number
// behind for a state key that nobody stores: the room could not be loaded again.
func TestADraftThatIsGivenUpLeavesNothing(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{})
		if err := f.Invite(t.Context(), rooms.MemberRequest{Room: room, Sender: alice, Target: carol}); err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.Invite(gone, rooms.MemberRequest{Room: room, Sender: alice, Target: "@new:test"}); err == nil {
			t.Fatal("the invite was made although its client had gone")

		}
		for _, user := range []matrix.UserID{bob, "@new:test"} {
			if err := f.Invite(t.Context(), rooms.MemberRequest{Room: room, Sender: alice, Target: user}); err != nil {
				t.Fatal(err)
			}
		}
		reopened := open(t, url)
		reopened.join(room, bob)
		reopened.join(room, "@new:test")
	})
}

func TestARepeatedRedactionMakesOneEvent(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{})
		said := f.send(room, alice, "", "oh no")
		ids, errs := make([]matrix.EventID, 20), make([]error, 20)
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() {
				ids[i], errs[i] = f.Send(t.Context(), rooms.SendRequest{
					Room: room, Sender: alice, Type: "m.room.redaction", Redacts: said, Content: json.RawMessage(`{}`), TxnKey: "txn",
				})
			})
		}
		all.Wait()
		for i, id := range ids {
			if errs[i] != nil || id != ids[0] {
				t.Fatalf("%s and %s, %v", id, ids[0], errs[i])
			}
		}
	})
}

// What a client sees of an event doesn't grow with every redaction of a redaction.
func TestRedactionsOfRedactionsStayShort(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{})
		first := f.send(room, alice, "", "first")
		last := first
		for range 5 {
			id, err := f.Send(t.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: "m.room.redaction", Redacts: last, Content: json.RawMessage(`{}`)})
			if err != nil {
				t.Fatal(err)
			}
			last = id
		}
		e, membership, err := f.Event(t.Context(), room, first, alice)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := f.Client(t.Context(), e, rooms.Reader{User: alice}, membership)
		if err != nil || strings.Count(string(raw), "redacted_because") != 1 {
			t.Errorf("%s, %v", raw, err)
		}
	})
}

// Two rooms that somebody makes in one millisecond are two rooms, although
// their create events differ in nothing.
func TestRoomsMadeAtOnce(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		ids, errs := make([]matrix.RoomID, 16), make([]error, 16)
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() {
				ids[i], errs[i] = f.Create(t.Context(), rooms.CreateRequest{Creator: alice, Timestamp: 1_700_000_000_000})
			})
		}
		all.Wait()
		seen := map[matrix.RoomID]bool{}
		for i, id := range ids {
			if errs[i] != nil || seen[id] {
				t.Errorf("room %s, %v", id, errs[i])
			}
			seen[id] = true
		}
		again, err := f.Create(t.Context(), rooms.CreateRequest{Creator: alice, Timestamp: 1_700_000_000_000})
		if err != nil || seen[again] {
			t.Errorf("later: %s, %v", again, err)
		}
	})
}

// PostgreSQL's texts hold no NUL. What may not have one is refused; what
// directories only copy goes without.
func TestNUL(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{})
		state := func(typ, key, content string) error {
			_, err := f.Send(t.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: typ, StateKey: &key, Content: json.RawMessage(content)})
			return err
		}
		if err := state("m.room.name", "", `{"name":"a\u0000b"}`); err != nil {
			t.Error(err)
		}
		if err := state("m.room.topic", "", `{"topic":"a\u0000b"}`); err != nil {
			t.Error(err)
		}
		f.wantCode(state("x", "a\x00b", `{}`), "M_BAD_JSON")
		f.wantCode(state("x\x00", "", `{}`), "M_BAD_JSON")
		_, err := f.Send(t.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: "x\x00y", Content: json.RawMessage(`{}`)})
		f.wantCode(err, "M_BAD_JSON")
		_, err = f.Send(t.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: "x", Content: json.RawMessage(`{}`), TxnKey: "a\x00"})
		f.wantCode(err, "M_INVALID_PARAM")
		_, err = f.Send(t.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: "m.room.redaction", Content: json.RawMessage(`{"redacts":"$a\u0000b"}`)})
		f.wantCode(err, "M_INVALID_PARAM")
		_, err = f.Create(t.Context(), rooms.CreateRequest{Creator: alice, InitialState: []rooms.InitialState{{Type: "x", StateKey: "\x00", Content: json.RawMessage(`{}`)}}})
		f.wantCode(err, "M_BAD_JSON")
		if _, err := f.PublicRooms(t.Context(), rooms.PublicRoomsQuery{Search: "\x00"}); err != nil {
			t.Error(err)
		}
		_, err = f.PublicRooms(t.Context(), rooms.PublicRoomsQuery{Network: "\x00"})
		f.wantCode(err, "M_INVALID_PARAM")
		f.send(room, alice, "", "still alive")
	})
}

// A room is made with all that was asked for, or not at all.
func TestInvitesOfANewRoom(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Invite: []matrix.UserID{bob, carol, bob, alice}, IsDirect: true})
		for _, user := range []matrix.UserID{bob, carol} {
			if m, err := f.Membership(t.Context(), room, user); m != "invite" || err != nil {
				t.Errorf("%s: %s, %v", user, m, err)
			}
		}
		ban := rooms.InitialState{Type: "m.room.member", StateKey: string(bob), Content: json.RawMessage(`{"membership":"ban"}`)}
		_, err := f.Create(t.Context(), rooms.CreateRequest{Creator: alice, Invite: []matrix.UserID{bob}, InitialState: []rooms.InitialState{ban}})
		f.wantCode(err, "M_INVALID_ROOM_STATE")
		joined, err := f.JoinedRooms(t.Context(), alice)
		if err != nil || fmt.Sprint(joined) != fmt.Sprint([]matrix.RoomID{room}) {
			t.Errorf("alice is in %v, %v", joined, err)
		}
	})
}

// A page of the directory is full although rooms of another type are between.
func TestDirectoryByType(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		var spaces []matrix.RoomID
		for i := range 9 {
			req := rooms.CreateRequest{Preset: "public_chat", Visibility: "public"}
			if i%3 == 0 {
				req.CreationContent = map[string]json.RawMessage{"type": json.RawMessage(`"m.space"`)}
			}
			id := f.create(req)
			if i%3 == 0 {
				spaces = append(spaces, id)
			}
		}
		for _, c := range []struct {
			types []string
			pages string
		}{
			{nil, "[2 2 2 2 1]"}, {[]string{"m.space"}, "[2 1]"}, {[]string{""}, "[2 2 2]"}, {[]string{"", "m.space"}, "[2 2 2 2 1]"},
			{[]string{}, "[0]"}, {[]string{"a\x00b"}, "[0]"},
		} {
			var pages []int
			var found []matrix.RoomID
			for since := ""; ; {
				page, err := f.PublicRooms(t.Context(), rooms.PublicRoomsQuery{RoomTypes: c.types, Limit: 2, Since: since})
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, len(page.Rooms))
				for _, r := range page.Rooms {
					found = append(found, r.RoomID)
				}
				if since = page.Next; since == "" {
					break
				}
			}
			if fmt.Sprint(pages) != c.pages || len(found) == 3 && fmt.Sprint(found) != fmt.Sprint(spaces) {
				t.Errorf("types %q: pages of %v, %v", c.types, pages, found)
			}
		}
	})
}

// To set what is set already is still for those who may.
func TestTheSameStateAfterLeaving(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		f := open(t, url)
		room := f.create(rooms.CreateRequest{Preset: "public_chat", PowerLevels: map[string]json.RawMessage{"state_default": json.RawMessage("0")}})
		f.join(room, bob)
		f.state(room, bob, "x", `{"a":1}`)
		f.state(room, bob, "x", `{"a":1}`)
		f.do(f.leave, room, bob, "")
		_, err := f.Send(t.Context(), rooms.SendRequest{Room: room, Sender: bob, Type: "x", StateKey: new(string), Content: json.RawMessage(`{"a":1}`)})
		f.wantCode(err, "M_FORBIDDEN")
	})
}
