package homeserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

// TestPeopleOfTwoServersTalk has people of two servers in one room, by its alias and by an invite.
func TestPeopleOfTwoServersTalk(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		authority := testkit.NewAuthority(t)
		here, there := federate(t, authority, database, nil), federate(t, authority, testkit.SQLite(t), nil)
		alice, bob := login(t, here.clients, "alice"), login(t, there.clients, "bob")
		room, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat", RoomAliasName: "hall", Name: "Hall"})
		if err != nil {
			t.Fatal(err)
		}
		alias := "#hall:" + here.name
		joined, err := bob.JoinRoom(t.Context(), alias, nil)
		if err != nil || joined.RoomID != room.RoomID {
			t.Fatalf("bob joins %v, %v", joined, err)
		}
		say(t, alice, room.RoomID, "hello from here")
		hears(t, bob, room.RoomID, "hello from here")
		say(t, bob, room.RoomID, "hello from there")
		hears(t, alice, room.RoomID, "hello from there")

		// Both at once: what one says while the other does.
		for i := range 10 {
			say(t, alice, room.RoomID, fmt.Sprint("a", i))
			say(t, bob, room.RoomID, fmt.Sprint("b", i))
		}
		for i := range 10 {
			hears(t, bob, room.RoomID, fmt.Sprint("a", i))
			hears(t, alice, room.RoomID, fmt.Sprint("b", i))
		}
		if _, err := alice.SendStateEvent(t.Context(), room.RoomID, event.StateTopic, "", &event.TopicEventContent{Topic: "both"}); err != nil {
			t.Fatal(err)
		}
		say(t, alice, room.RoomID, "after the topic")
		hears(t, bob, room.RoomID, "after the topic")
		var topic event.TopicEventContent
		if err := bob.StateEvent(t.Context(), room.RoomID, event.StateTopic, "", &topic); err != nil || topic.Topic != "both" {
			t.Errorf("bob sees the topic %+v, %v", topic, err)
		}
		members, err := bob.JoinedMembers(t.Context(), room.RoomID)
		if err != nil || len(members.Joined) != 2 {
			t.Errorf("bob sees %+v, %v", members, err)
		}
		// A second one comes by way of the server that is in.
		carol := login(t, there.clients, "carol")
		if _, err := carol.JoinRoom(t.Context(), string(room.RoomID), nil); err != nil {
			t.Fatal(err)
		}
		say(t, carol, room.RoomID, "carol too")
		hears(t, alice, room.RoomID, "carol too")
		// Who is thrown out hears that, and nothing more.
		if _, err := alice.KickUser(t.Context(), room.RoomID, &mautrix.ReqKickUser{UserID: bob.UserID}); err != nil {
			t.Fatal(err)
		}
		say(t, alice, room.RoomID, "without bob")
		hears(t, carol, room.RoomID, "without bob")
		if state, err := bob.JoinedRooms(t.Context()); err != nil || len(state.JoinedRooms) != 0 {
			t.Errorf("bob is still in %+v, %v", state, err)
		}
	})
}

// TestRestrictedRoomsAcrossServers has somebody be let into a room by another server, since nobody of their own, which is in the room, may.
func TestRestrictedRoomsAcrossServers(t *testing.T) {
	authority := testkit.NewAuthority(t)
	here, there := federate(t, authority, testkit.SQLite(t), nil), federate(t, authority, testkit.SQLite(t), nil)
	alice, bob, carol := login(t, here.clients, "alice"), login(t, there.clients, "bob"), login(t, there.clients, "carol")
	space, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "public_chat"})
	if err != nil {
		t.Fatal(err)
	}
	room, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{
		Preset: "private_chat", RoomVersion: "11", Invite: []id.UserID{bob.UserID},
		PowerLevelOverride: &event.PowerLevelsEventContent{InvitePtr: new(50), Users: map[id.UserID]int{alice.UserID: 100}},
		InitialState: []*event.Event{{Type: event.StateJoinRules, Content: event.Content{Parsed: &event.JoinRulesEventContent{
			JoinRule: event.JoinRuleRestricted, Allow: []event.JoinRuleAllow{{Type: event.JoinRuleAllowRoomMembership, RoomID: space.RoomID}},
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	via := func(who *mautrix.Client, target id.RoomID) error {
		_, err := who.JoinRoom(t.Context(), string(target), &mautrix.ReqJoinRoom{Via: []string{here.name}})
		return err
	}
	if err := via(bob, room.RoomID); err != nil {
		t.Fatal(err)
	}
	if err := via(carol, room.RoomID); err == nil {
		t.Error("carol is in, and should not be")
	}
	if err := via(carol, space.RoomID); err != nil {
		t.Fatal(err)
	}
	if err := via(carol, room.RoomID); err != nil {
		t.Fatal(err)
	}
	say(t, carol, room.RoomID, "let in")
	hears(t, alice, room.RoomID, "let in")
	hears(t, bob, room.RoomID, "let in")
	// Who refuses an invite is told to be gone where it came from.
	other, err := alice.CreateRoom(t.Context(), &mautrix.ReqCreateRoom{Preset: "private_chat", Invite: []id.UserID{bob.UserID}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bob.LeaveRoom(t.Context(), other.RoomID); err != nil {
		t.Fatal(err)
	}
	var member event.MemberEventContent
	err = alice.StateEvent(t.Context(), other.RoomID, event.StateMember, bob.UserID.String(), &member)
	if err != nil || member.Membership != event.MembershipLeave {
		t.Errorf("bob is %+v, %v", member, err)
	}
}

// hears waits until a text is in what somebody gets to see of a room.
func hears(t *testing.T, who *mautrix.Client, room id.RoomID, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	filter := json.RawMessage(`{"room":{"timeline":{"limit":100}}}`)
	for since := ""; ; {
		answer, err := who.FullSyncRequest(ctx, mautrix.ReqSync{Timeout: 10_000, Since: since, FilterID: string(filter)})
		if err != nil {
			t.Fatalf("%s never hears %q: %v", who.UserID, text, err)
		}
		since = answer.NextBatch
		if joined := answer.Rooms.Join[room]; joined != nil {
			for _, e := range joined.Timeline.Events {
				if e.Content.Raw["body"] == text {
					return
				}
			}
		}
	}
}
