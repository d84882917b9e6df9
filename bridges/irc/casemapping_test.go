package irc_test

import (
	"fmt"
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

func TestPeopleMayBeThereBeforeTheBot(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{CaseMapping: "ascii"})
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	h.Register(alice, "alice")
	room, refusal := h.Join(alice, "#irc_local_#a[b]:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#a[b]")
	stop()
	letIn := server.Hold("trestle")
	start(t, h, c)
	bob.Expect(":alice!", "JOIN #a[b]")
	letIn()
	if line := bob.ExpectFunc("the bot, or alice leaving", func(line string) bool {
		return strings.HasPrefix(line, ":trestle!") && strings.Contains(line, " JOIN ") || strings.Contains(line, " PART ")
	}); strings.Contains(line, "PART") {
		t.Errorf("alice leaves: %q", line)
	}
	h.Say(room, alice, "here")
	bob.Expect(":alice!", "PRIVMSG #a[b] :here")
}

func TestANetworkChangesItsSpelling(t *testing.T) {
	t.Parallel()
	folder, room := t.TempDir(), ""
	h := fakehomeserver.New(t)
	for i, mapping := range []string{"ascii", "rfc1459", "ascii", "strict-rfc1459"} {
		server := ircv3.Start(t, ircv3.Options{CaseMapping: mapping})
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#a[b]")
		h.Register(alice, "alice")
		_, stop := start(t, h, config(h, server.Addr, folder))
		if room == "" {
			room, _ = h.Join(alice, "#irc_local_#a[b]:localhost")
		}
		bob.Expect(":alice!", "JOIN #a[b]")
		h.WaitMembership(room, ghost("bob"), "join")
		text := fmt.Sprint("hello ", mapping, i)
		h.Say(room, alice, text)
		bob.Expect(":alice!", "PRIVMSG #a[b] :"+text)
		bob.Say("#a[b]", text)
		h.WaitBody(room, ghost("bob"), text)
		if other, _ := h.Join(alice, "#irc_local_#A[B]:localhost"); other != room {
			t.Errorf("with %s, the alias leads to %s", mapping, other)
		}
		stop()
	}
}

func TestTwoChannelsBecomeOne(t *testing.T) {
	t.Parallel()
	folder, h := t.TempDir(), fakehomeserver.New(t)
	h.Register(alice, "alice")
	server := ircv3.Start(t, ircv3.Options{CaseMapping: "ascii"})
	_, stop := start(t, h, config(h, server.Addr, folder))
	first, _ := h.Join(alice, "#irc_local_#a{b}:localhost")
	second, _ := h.Join(alice, "#irc_local_#a[b]:localhost")
	stop()
	server = ircv3.Start(t, ircv3.Options{CaseMapping: "rfc1459"})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#a{b}")
	start(t, h, config(h, server.Addr, folder))
	told(h, second, "has a room of its own")
	bob.Expect(":trestle!", "JOIN")
	bob.Say("#a{b}", "who is here?")
	h.WaitBody(first, ghost("bob"), "who is here?")
}
