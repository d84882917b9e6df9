package irc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// bodies are what somebody has said in a room.
func bodies(h *fakehomeserver.Homeserver, room, sender string) (list []string) {
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == sender }) {
		list = append(list, e.Body())
	}
	return list
}

func TestTheGapIsFilled(t *testing.T) {
	server := ircv3.Start(t, ircv3.Options{ChatHistory: 4})
	h := fakehomeserver.New(t)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	bob.Say("#trestle", "line 0")
	h.WaitBody(room, ghost("bob"), "line 0")
	h.Say(room, alice, "from Matrix")
	bob.Expect(":alice!", "from Matrix")
	stop()
	began := time.Now()
	want := []string{"line 0"}
	for i := 1; i <= 10; i++ {
		want = append(want, fmt.Sprint("line ", i))
		bob.Say("#trestle", want[i])
	}
	eventually(t, "bob has said it", func() bool { return len(server.History("#trestle")) == 12 })
	ended := time.Now()
	_, stop = start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	bob.Say("#trestle", "line 11")
	h.WaitBody(room, ghost("bob"), "line 11")
	want = append(want, "line 11")
	if got := bodies(h, room, ghost("bob")); !slices.Equal(got, want) {
		t.Errorf("the room has %q, want %q", got, want)
	}
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return e.Body() == "line 5" }) {
		if at := time.UnixMilli(e.Time); at.Before(began.Add(-time.Second)) || at.After(ended.Add(time.Second)) {
			t.Errorf("line 5 was said at %s, not between %s and %s", at, began, ended)
		}
	}
	for _, e := range h.Events(room, isMessage) {
		if e.Sender == ghost("alice") {
			t.Errorf("alice hears herself: %s", e.Content)
		}
	}
	stop()
	for _, said := range server.History("#trestle") {
		if !strings.HasPrefix(said.Source, "bob!") && said.Param(1) != "from Matrix" {
			t.Errorf("the bridge has said %q", said.Param(1))
		}
	}
	// Once more, with nothing new: nothing is doubled.
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	bob.Say("#trestle", "line 12")
	h.WaitBody(room, ghost("bob"), "line 12")
	if got := bodies(h, room, ghost("bob")); !slices.Equal(got, append(want, "line 12")) {
		t.Errorf("the room has %q", got)
	}
}

func TestANewRoomHasWhatTheServerRemembers(t *testing.T) {
	for _, policy := range []irc.History{irc.HistoryShared, irc.HistoryJoined} {
		t.Run(string(policy), func(t *testing.T) {
			server := ircv3.Start(t, ircv3.Options{ChatHistory: 50})
			h := fakehomeserver.New(t)
			bob := testkit.DialIRC(t, server.Addr, "bob")
			bob.Join("#trestle")
			for i := range 5 {
				bob.Say("#trestle", fmt.Sprint("line ", i))
			}
			eventually(t, "bob has said it", func() bool { return len(server.History("#trestle")) == 5 })
			c := config(h, server.Addr, t.TempDir())
			c.Networks[0].Channels, c.Networks[0].History = nil, policy
			start(t, h, c)
			room := join(t, h, alice, "alice", bob)
			bob.Say("#trestle", "now")
			h.WaitBody(room, ghost("bob"), "now")
			want := []string{"line 0", "line 1", "line 2", "line 3", "line 4", "now"}
			if policy == irc.HistoryJoined {
				want = want[5:]
			}
			if got := bodies(h, room, ghost("bob")); !slices.Equal(got, want) {
				t.Errorf("the room has %q, want %q", got, want)
			}
		})
	}
}

// ZNC plays back with times, in batches or without; soju in batches. What is known is not
// doubled.
func TestBouncersPlayBack(t *testing.T) {
	o, h, room := watched(t)
	o.say("now")
	h.WaitBody(room, ghost("bob"), "now")
	then := time.Now().Add(-time.Hour).UTC().Truncate(time.Second)
	at := func(after int) string {
		return then.Add(time.Duration(after) * time.Second).Format("2006-01-02T15:04:05.000Z")
	}
	tell := func(lines ...string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.tell(strings.Join(lines, "\r\n"), nil)
	}
	tell(
		"@time="+at(0)+" :bob!u@h PRIVMSG #trestle :plain",
		":irc.test BATCH +z znc.in/playback #trestle",
		"@batch=z;time="+at(1)+" :bob!u@h PRIVMSG #trestle :batched",
		":irc.test BATCH -z",
	)
	o.say("meanwhile")
	h.WaitBody(room, ghost("bob"), "meanwhile")
	tell("@time="+at(0)+" :bob!u@h PRIVMSG #trestle :plain", "@time="+at(1)+" :bob!u@h PRIVMSG #trestle :batched")
	o.say("later")
	h.WaitBody(room, ghost("bob"), "later")
	want := []string{"now", "plain", "batched", "meanwhile", "later"}
	if got := bodies(h, room, ghost("bob")); !slices.Equal(got, want) {
		t.Errorf("the room has %q, want %q", got, want)
	}
	e := h.WaitBody(room, ghost("bob"), "batched")
	if said := time.UnixMilli(e.Time); !said.Equal(then.Add(time.Second)) {
		t.Errorf("what was played back was said at %s, not at %s", said, then)
	}
}

// A server that plays back without an end keeps nobody from being heard, and nothing piles up.
func TestPlaybackWithoutAnEnd(t *testing.T) {
	o, h, room := watched(t)
	then := time.Now().Add(-time.Hour).UTC().Format("2006-01-02T15:04:05.000Z")
	deadline := time.Now().Add(2 * time.Minute)
	for i := 0; len(bodies(h, room, ghost("bob"))) == 0; i++ {
		if time.Now().After(deadline) {
			t.Fatalf("of %d lines none is heard", i)
		}
		o.mu.Lock()
		o.tell(fmt.Sprintf("@time=%s :bob!u@h PRIVMSG #trestle :old %d\r\n:bob!u@h PRIVMSG #trestle :new %d", then, i, i), nil)
		o.mu.Unlock()
	}
}
