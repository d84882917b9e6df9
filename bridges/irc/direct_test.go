package irc_test

import (
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// invitation waits until a user is invited to a room.
func invitation(t *testing.T, h *fakehomeserver.Homeserver, user string) (room string) {
	t.Helper()
	eventually(t, "an invitation of "+user, func() bool {
		if rooms := h.Invitations(user); len(rooms) > 0 {
			room = rooms[0]
		}
		return room != ""
	})
	return room
}

func TestDirectChatsGoBothWays(t *testing.T) {
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		c := config(h, server.Addr, t.TempDir())
		_, stop := start(t, h, c)
		bob.Expect(":trestle!", "JOIN")

		// Alice begins, without having been on IRC before.
		h.Register(alice, "alice")
		room := h.DirectWith(alice, ghost("bob"))
		h.WaitMembership(room, ghost("bob"), "join")
		h.Say(room, alice, "psst")
		bob.Expect(":alice!", "PRIVMSG bob :psst")
		bob.Say("alice", "yes?")
		h.WaitBody(room, ghost("bob"), "yes?")
		bob.Say("alice", "\x01ACTION listens\x01")
		h.WaitBody(room, ghost("bob"), "listens")

		// It outlives the bridge, and follows bob.
		stop()
		_, stop = start(t, h, c)
		bob.Expect(":trestle!", "JOIN") // and sees who is renamed
		h.Say(room, alice, "still there?")
		bob.Expect(":alice!", "PRIVMSG bob :still there?")
		bob.Send("NICK robert")
		h.WaitMembership(room, ghost("robert"), "join")
		h.WaitMembership(room, ghost("bob"), "leave")
		h.Say(room, alice, "robert?")
		bob.Expect(":alice!", "PRIVMSG robert :robert?")
		bob.Say("alice", "the same")
		h.WaitBody(room, ghost("robert"), "the same")
		bob.Send("QUIT")
		bob.Expect("ERROR")
		h.Say(room, alice, "gone?")
		h.Wait(room, "that robert is gone", func(e fakehomeserver.Event) bool {
			return e.Sender == ghost("robert") && strings.Contains(e.Body(), "did not reach IRC")
		})

		// Who leaves has closed it, until somebody begins anew.
		h.Member(room, alice, alice, "leave", "")
		h.WaitMembership(room, ghost("robert"), "leave")
		stop()
	})
}

// What is said while the room learns of somebody's new nick goes to that nick.
func TestWordsFollowANewNick(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	service, _ := start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	h.Register(alice, "alice")
	room := h.DirectWith(alice, ghost("bob"))
	h.WaitMembership(room, ghost("bob"), "join")
	h.Say(room, alice, "psst")
	bob.Expect(":alice!", "PRIVMSG bob :psst")
	release := h.Hold(ghost("robert"), "/join")
	bob.Send("NICK robert")
	h.WaitMembership(room, ghost("robert"), "join")
	before := service.LastUse("local", alice)
	h.Say(room, alice, "robert?")
	eventually(t, "that the bridge has it", func() bool { return service.LastUse("local", alice).After(before) })
	release()
	bob.Expect(":alice!", "PRIVMSG robert :robert?")
}

func TestDirectChatsNeedConsent(t *testing.T) {
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		mallory := testkit.DialIRC(t, server.Addr, "mallory")
		c := config(h, server.Addr, t.TempDir())
		start(t, h, c)
		bob.Expect(":trestle!", "JOIN")
		join(t, h, alice, "alice", bob)
		mallory.Say("alice", "buy now")
		bob.Send("NOTICE alice :not worth a room")
		bob.Say("alice", "hello from bob")
		room := invitation(t, h, alice)
		h.WaitBody(room, ghost("bob"), "hello from bob")
		h.Member(room, alice, alice, "join", "")
		h.Say(room, alice, "hi bob")
		bob.Expect(":alice!", "PRIVMSG bob :hi bob")
		for _, left := range h.Invitations(alice) {
			t.Errorf("alice is invited to %s, too", left)
		}
		// She leaves, and he begins anew.
		h.Member(room, alice, alice, "leave", "")
		h.WaitMembership(room, ghost("bob"), "leave")
		bob.Say("alice", "sorry")
		again := invitation(t, h, alice)
		h.WaitBody(again, ghost("bob"), "sorry")
		if again == room {
			t.Error("it is the room that she has left")
		}
	})
}

func TestNobodyTakesPrivateMessagesWhereNobodyMay(t *testing.T) {
	server := testkit.Ngircd(t, testkit.IRCOptions{})
	h := fakehomeserver.New(t)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Direct = irc.FromNobody
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	bob.Say("alice", "psst")
	bob.Say("#trestle", "loud")
	h.WaitBody(room, ghost("bob"), "loud")
	if rooms := h.Invitations(alice); len(rooms) > 0 {
		t.Errorf("alice is invited to %v", rooms)
	}
	// She may begin all the same.
	direct := h.DirectWith(alice, ghost("bob"))
	h.Say(direct, alice, "hello")
	bob.Expect(":alice!", "PRIVMSG bob :hello")
	bob.Say("alice", "now?")
	h.WaitBody(direct, ghost("bob"), "now?")
}

func TestAnEncryptedDirectChatIsTold(t *testing.T) {
	server := testkit.Ngircd(t, testkit.IRCOptions{})
	h := fakehomeserver.New(t)
	start(t, h, config(h, server.Addr, t.TempDir()))
	h.Register(alice, "alice")
	began := time.Now()
	room := h.DirectWith(alice, ghost("bob"))
	empty := ""
	h.Send(room, alice, "m.room.encryption", &empty, `{"algorithm":"m.megolm.v1.aes-sha2"}`)
	e := h.Wait(room, "that the bridge cannot read", func(e fakehomeserver.Event) bool {
		return e.Sender == ghost("bob") && strings.Contains(e.Body(), "encrypted")
	})
	if took := e.Arrived.Sub(began); took > promptly {
		t.Errorf("that takes %s", took)
	}
}
