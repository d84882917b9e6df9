package ircstory_test

import (
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

const (
	alias = "#irc_local_#trestle:localhost"
	ghost = id.UserID("@irc_local_bob:localhost")
)

func TestAliceJoinsAChannelByItsAlias(t *testing.T) {
	onBothOpened(t, func(t *testing.T, bob *testkit.IRCClient, trestle *testkit.Trestle) {
		bob.Expect(":trestle!", "JOIN")
		bob.Say("#trestle", "hello?")
		// The bot answers in order: what was said before is in its log.
		bob.Send("PRIVMSG trestle :\x01PING 1\x01")
		bob.Expect("NOTICE bob", "PING 1")
		bob.Send("TOPIC #trestle :about bridges")

		alice := newPerson(t, trestle, "alice")
		alice.joins(alias)
		hello := alice.hears(ghost, "m.text", "hello?")
		joined := alice.sees(alice.UserID, "join")
		if hello.Timestamp >= joined.Timestamp {
			t.Errorf("what bob said at %d is not before alice's join at %d", hello.Timestamp, joined.Timestamp)
		}
		var name event.RoomNameEventContent
		if err := alice.StateEvent(t.Context(), alice.room, event.StateRoomName, "", &name); err != nil || name.Name != "#trestle" {
			t.Errorf("the room is called %q, %v", name.Name, err)
		}
		var member event.MemberEventContent
		if err := alice.StateEvent(t.Context(), alice.room, event.StateMember, string(ghost), &member); err != nil || member.Displayname != "bob" {
			t.Errorf("bob is %+v, %v", member, err)
		}

		alice.says("1", text("hi!"))
		bob.Expect(":alice", "PRIVMSG #trestle :hi!")
		bob.Say("#trestle", "what's up?")
		alice.hears(ghost, "m.text", "what's up?")

		bothWays(t, alice, bob)
	})
}

// onBothOpened is onBoth with bob in #trestle before the bridge comes: he may set its topic, as whoever comes first.
func onBothOpened(t *testing.T, test func(t *testing.T, bob *testkit.IRCClient, trestle *testkit.Trestle)) {
	testkit.IRCServers(t, testkit.IRCOptions{}, func(t *testing.T, irc *testkit.IRCServer) {
		testkit.Databases(t, func(t *testing.T, url string) {
			bob := testkit.DialIRC(t, irc.Addr, "bob")
			deadline := time.Now().Add(patience)
			for bob.Send("JOIN #trestle"); !strings.Contains(bob.Expect(" 353 ", "#trestle"), "@bob"); bob.Send("JOIN #trestle") {
				if time.Now().After(deadline) {
					t.Fatal("the channel is somebody else's")
				}
				bob.Send("PART #trestle") // those of the test before may just be leaving
				bob.Expect(":bob!", "PART")
			}
			test(t, bob, startTrestle(t, url, irc))
		})
	})
}

// bothWays is what else goes from one side to the other.
func bothWays(t *testing.T, alice *person, bob *testkit.IRCClient) {
	t.Helper()
	bob.Send("PRIVMSG #trestle :\x01ACTION waves\x01")
	alice.hears(ghost, "m.emote", "waves")
	bob.Send("NOTICE #trestle :take note")
	alice.hears(ghost, "m.notice", "take note")
	bob.Say("#trestle", "this is \x02bold\x02")
	bold := alice.hears(ghost, "m.text", "this is bold")
	if html := bold.Content.Raw["formatted_body"]; html != "this is <strong>bold</strong>" {
		t.Errorf("bold is %q", html)
	}
	alice.says("emote", map[string]any{"msgtype": "m.emote", "body": "waves back"})
	bob.Expect(":alice", "PRIVMSG #trestle :\x01ACTION waves back\x01")
	alice.says("html", map[string]any{
		"msgtype": "m.text", "body": "see here", "format": "org.matrix.custom.html",
		"formatted_body": `<em>see</em> <a href="https://example.org/">here</a>`,
	})
	bob.Expect(":alice", "\x1dsee\x1d here (https://example.org/)")
	linksNeedNoLogin(t, alice, bob)
	if _, err := alice.SendStateEvent(t.Context(), alice.room, event.StateTopic, "", map[string]string{"topic": "over troubled water"}); err == nil {
		bob.Expect("TOPIC #trestle :over troubled water")
	}
	bob.Send("TOPIC #trestle :of steel")
	alice.until("the topic", func(e *event.Event) bool {
		return e.Type.Type == "m.room.topic" && e.Content.Raw["topic"] == "of steel"
	})
	bob.Send("NICK robert")
	alice.sees("@irc_local_robert:localhost", "join")
	bob.Send("NICK bob")
	alice.sees("@irc_local_robert:localhost", "leave")
	bob.Send("PART #trestle :bye")
	alice.sees(ghost, "leave")
	bob.Join("#trestle")
	if _, err := alice.LeaveRoom(t.Context(), alice.room, &mautrix.ReqLeave{}); err != nil {
		t.Fatal(err)
	}
	bob.ExpectFunc("alice leaving", func(line string) bool {
		return strings.HasPrefix(line, ":alice") && (strings.Contains(line, " PART ") || strings.Contains(line, " QUIT "))
	})
}
