package irc_test

import (
	"fmt"
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// A direct chat goes with its room, too: nothing that is said meanwhile is lost.
func TestDirectChatsAreReplaced(t *testing.T) {
	t.Parallel()
	for _, restarts := range []bool{false, true} {
		t.Run(fmt.Sprint("restarts ", restarts), func(t *testing.T) {
			t.Parallel()
			h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
			bob := testkit.DialIRC(t, server.Addr, "bob")
			bob.Join("#trestle")
			c := config(h, server.Addr, t.TempDir())
			_, stop := start(t, h, c)
			bob.Expect(":trestle!", "JOIN")
			h.Register(alice, "alice")
			old := h.DirectWith(alice, ghost("bob"))
			h.WaitMembership(old, ghost("bob"), "join")
			h.Say(old, alice, "psst")
			bob.Expect(":alice!", "PRIVMSG bob :psst")

			next := h.Successor(alice, old, true)
			h.Tombstone(old, alice, next)
			if restarts {
				bob.Say("alice", "where are you?")
				stored(t, bob)
				stop()
				_, stop = start(t, h, c)
				bob.Expect(":trestle!", "JOIN")
			} else {
				bob.Say("alice", "where are you?")
			}
			h.Say(next, alice, "here")
			h.Member(next, alice, ghost("bob"), "invite", "")
			bob.Expect(":alice!", "PRIVMSG bob :here")
			h.WaitBody(next, ghost("bob"), "where are you?")
			bob.Say("alice", "ah")
			h.WaitBody(next, ghost("bob"), "ah")
			if rooms := h.Invitations(alice); len(rooms) > 0 {
				t.Errorf("alice is invited to %v", rooms)
			}
			h.Say(old, alice, "in the old room")
			h.Say(next, alice, "in the new room")
			if line := bob.Expect(":alice!", "PRIVMSG bob"); !strings.HasSuffix(line, ":in the new room") {
				t.Errorf("IRC hears %q", line)
			}
			// It is a direct chat as any other.
			bob.Send("NICK robert")
			h.WaitMembership(next, ghost("robert"), "join")
			h.Say(next, alice, "robert?")
			bob.Expect(":alice!", "PRIVMSG robert :robert?")
			h.Member(next, alice, alice, "leave", "")
			h.WaitMembership(next, ghost("robert"), "leave")
			stop()
		})
	}
}

// It does not go where others are.
func TestDirectChatsStayAlone(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	h.Register(alice, "alice")
	room := h.DirectWith(alice, ghost("bob"))
	h.WaitMembership(room, ghost("bob"), "join")
	h.Say(room, alice, "psst")
	bob.Expect(":alice!", "PRIVMSG bob :psst")
	next, empty := h.Successor(alice, room, false), ""
	h.Register(carol, "carol")
	h.Member(next, carol, carol, "join", "")
	h.Send(room, alice, "m.room.tombstone", &empty, fmt.Sprintf(`{"body":"moved","replacement_room":%q}`, next))
	h.Wait(room, "why not", func(e fakehomeserver.Event) bool { return strings.Contains(e.Body(), "spoken to alone") })
	h.WaitMembership(next, ghost("bob"), "leave")
	bob.Say("alice", "only for you")
	h.WaitBody(room, ghost("bob"), "only for you")
}
