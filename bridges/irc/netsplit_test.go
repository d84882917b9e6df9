package irc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

func TestANetsplitIsNotSeenUnlessItLasts(t *testing.T) {
	o, h, room := watched(t)
	tell := func(line string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.tell(line, nil)
	}
	tell(":dave!u@h JOIN #trestle")
	h.WaitMembership(room, ghost("dave"), "join")
	tell(":dave!u@h QUIT :irc.east.net irc.west.net")
	tell(":dave!u@h JOIN #trestle")
	tell(":dave!u@h PRIVMSG #trestle :back")
	h.WaitBody(room, ghost("dave"), "back")
	moves := h.Events(room, func(e fakehomeserver.Event) bool { return e.Type == "m.room.member" && *e.StateKey == ghost("dave") })
	if len(moves) != 1 {
		t.Errorf("dave has come and gone %d times: %s", len(moves), moves[len(moves)-1].Content)
	}
	tell(":dave!u@h QUIT :irc.east.net has.a.new friend")
	h.WaitMembership(room, ghost("dave"), "leave")
}

// A nick that somebody had whom a split took can be somebody else's before they are back.
func TestOthersTakeTheNicksOfThoseWhoAreMissing(t *testing.T) {
	t.Parallel()
	o, h := newOracle(t), fakehomeserver.New(t)
	c := config(h, o.addr, t.TempDir())
	c.Networks[0].Netsplit = time.Hour
	service, _ := start(t, h, c)
	h.Register(alice, "")
	room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	eventually(t, "alice in the channel", func() bool { return o.present(alice) })
	tell := func(line string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.tell(line, nil)
	}
	for _, nick := range []string{"dave", "erin", "fred", "gina"} {
		tell(":" + nick + "!u@h JOIN #trestle")
		h.WaitMembership(room, ghost(nick), "join")
	}
	tell(":dave!u@h QUIT :irc.east.net irc.west.net")
	tell(":erin!u@h QUIT :irc.east.net irc.west.net")
	tell(":fred!u@h NICK dave")
	h.WaitMembership(room, ghost("fred"), "leave")
	service.SplitsEnd("local")
	h.WaitMembership(room, ghost("erin"), "leave")
	tell(":dave!u@h PRIVMSG #trestle :it is me")
	h.WaitBody(room, ghost("dave"), "it is me")
	tell(":gina!u@h PART #trestle")
	h.WaitMembership(room, ghost("gina"), "leave")
	if is := h.Membership(room, ghost("dave")); is != "join" {
		t.Errorf("dave, who was called fred, has left: %s", is)
	}
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return e.Type == "m.room.member" && *e.StateKey == ghost("dave") }) {
		if e.Membership() == "leave" {
			t.Errorf("dave has left: %s", e.Content)
		}
	}
}

// Where a connection of the bridge's takes the nick, who had it is out of the room.
func TestOursTakeTheNicksOfThoseWhoAreMissing(t *testing.T) {
	t.Parallel()
	o, h := newOracle(t), fakehomeserver.New(t)
	c := config(h, o.addr, t.TempDir())
	c.Networks[0].Netsplit = time.Hour
	start(t, h, c)
	h.Register(alice, "")
	room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	eventually(t, "alice in the channel", func() bool { return o.present(alice) })
	tell := func(line string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.tell(line, nil)
	}
	tell(":carol!u@h JOIN #trestle")
	h.WaitMembership(room, ghost("carol"), "join")
	tell(":carol!u@h QUIT :irc.east.net irc.west.net")
	h.Register(carol, "")
	if _, refusal := h.Join(carol, "#irc_local_#trestle:localhost"); refusal != "" {
		t.Fatal(refusal)
	}
	eventually(t, "carol in the channel", func() bool { return o.present(carol) })
	h.WaitMembership(room, ghost("carol"), "leave")
}

// watched is a channel with alice in its room.
func watched(t *testing.T) (*oracle, *fakehomeserver.Homeserver, string) {
	t.Helper()
	o, h := newOracle(t), fakehomeserver.New(t)
	start(t, h, config(h, o.addr, t.TempDir()))
	h.Register(alice, "")
	room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	eventually(t, "alice in the channel", func() bool { return o.present(alice) })
	return o, h, room
}

// Crowds go without delaying what others say.
func TestManyQuitsDelayNoMessage(t *testing.T) {
	many := testkit.Size(t, "TEST_IRC_QUITS", 3000)
	o, h, room := watched(t)
	lines := func(format string) {
		var text strings.Builder
		for i := range many {
			fmt.Fprintf(&text, format+"\r\n", i)
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.tell(strings.TrimSuffix(text.String(), "\r\n"), nil)
	}
	for _, reason := range []string{"a.example b.example", "Good night"} {
		lines(":guest%d!u@h JOIN #trestle")
		o.say("before " + reason)
		h.WaitBody(room, ghost("bob"), "before "+reason)
		began := time.Now()
		lines(":guest%d!u@h QUIT :" + reason)
		o.say("and " + reason)
		took := h.WaitBody(room, ghost("bob"), "and "+reason).Arrived.Sub(began)
		if t.Logf("a message behind %d QUITs takes %s", many, took); took > promptly {
			t.Errorf("a message behind %d QUITs takes %s", many, took)
		}
	}
}
