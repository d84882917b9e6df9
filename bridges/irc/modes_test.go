package irc_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// levels are a room's power levels.
type levels struct {
	Users  map[string]int `json:"users"`
	Events map[string]int `json:"events"`
	Speak  int            `json:"events_default"`
}

func levelsOf(e fakehomeserver.Event) (l levels) {
	if e.Type == "m.room.power_levels" {
		_ = json.Unmarshal(e.Content, &l)
	}
	return l
}

func isPower(e fakehomeserver.Event) bool { return e.Type == "m.room.power_levels" }

// waitLevels waits until the power levels are such.
func waitLevels(t *testing.T, h *fakehomeserver.Homeserver, room, what string, match func(levels) bool) (l levels) {
	t.Helper()
	eventually(t, what, func() bool {
		all := h.Events(room, isPower)
		l = levelsOf(all[len(all)-1])
		return match(l)
	})
	return l
}

// lastLevels are the newest.
func lastLevels(h *fakehomeserver.Homeserver, room string) levels {
	all := h.Events(room, isPower)
	return levelsOf(all[len(all)-1])
}

// waitState waits for a state event whose content has a text in it.
func waitState(h *fakehomeserver.Homeserver, room, eventType, text string) {
	h.Wait(room, eventType+" with "+text, func(e fakehomeserver.Event) bool {
		return e.Type == eventType && e.Sender == bot && strings.Contains(string(e.Content), text)
	})
}

// told waits until the bridge says something in the room.
func told(h *fakehomeserver.Homeserver, room, text string) {
	h.Wait(room, "notice of "+text, func(e fakehomeserver.Event) bool {
		return e.Sender == bot && isMessage(e) && strings.Contains(e.Body(), text)
	})
}

func TestModesBecomeRights(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		bob.Send("MODE #trestle +nt")
		c := config(h, server.Addr, t.TempDir())
		c.Networks[0].Published = true
		_, stop := start(t, h, c)
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)
		waitLevels(t, h, room, "bob the operator", func(l levels) bool { return l.Users[ghost("bob")] == 50 && l.Events["m.room.topic"] >= 25 })
		dave := testkit.DialIRC(t, server.Addr, "dave")
		dave.Join("#trestle")
		h.WaitMembership(room, ghost("dave"), "join")
		before := len(h.Events(room, isPower))
		for _, mode := range []string{"+v dave", "+v alice", "+o dave", "-v dave", "-t"} {
			bob.Send("MODE #trestle " + mode)
		}
		l := waitLevels(t, h, room, "a burst", func(l levels) bool { return l.Users[alice] == 1 })
		if l.Users[ghost("dave")] != 50 || l.Users[bot] != 100 || l.Events["m.room.topic"] != 0 {
			t.Errorf("after the burst: %+v", l)
		}
		if n := len(h.Events(room, isPower)) - before; n != 1 {
			t.Errorf("a burst of modes is %d events", n)
		}
		// Who gets a voice speaks at once: the right has to be there before the text is.
		bob.Send("MODE #trestle +m")
		bob.Send("MODE #trestle -o dave")
		bob.Send("MODE #trestle +v dave")
		bob.Expect("MODE #trestle +v", "dave")
		dave.Say("#trestle", "at last")
		h.WaitBody(room, ghost("dave"), "at last")
		if l := lastLevels(h, room); l.Speak != 1 || l.Users[ghost("dave")] != 1 {
			t.Errorf("when dave speaks: %+v", l)
		}
		bob.Send("MODE #trestle -m+i")
		waitState(h, room, "m.room.join_rules", `"invite"`)
		bob.Send("MODE #trestle -i+s")
		waitState(h, room, "m.room.join_rules", `"public"`)
		eventually(t, "the room is not listed", func() bool { return !h.Listed(room) })
		bob.Send("MODE #trestle -s")
		eventually(t, "the room is listed", func() bool { return h.Listed(room) })

		// What has not changed while the bridge was away is not set again; what has is.
		events := len(h.Events(room, isPower))
		stop()
		bob.Expect(":trestle!", "QUIT")
		bob.Send("MODE #trestle -v dave")
		_, stop = start(t, h, c)
		waitLevels(t, h, room, "dave without power", func(l levels) bool { return l.Users[ghost("bob")] == 50 && l.Users[ghost("dave")] == 0 && l.Speak == 0 })
		stop()
		bob.Expect(":trestle!", "QUIT")
		start(t, h, c)
		bob.Expect(":alice!", "JOIN")
		bob.Send("MODE #trestle +v dave")
		waitLevels(t, h, room, "dave's voice", func(l levels) bool { return l.Users[ghost("dave")] == 1 })
		if n := len(h.Events(room, isPower)) - events; n > 4 {
			t.Errorf("%d changes of power over two restarts", n)
		}
	})
}

// sendLevels sends power levels as a person, with a few others than there are.
func sendLevels(h *fakehomeserver.Homeserver, room, by string, change map[string]int) {
	l := lastLevels(h, room)
	for user, level := range change {
		if l.Users[user] = level; user == "" { // what speaking takes
			delete(l.Users, user)
			l.Speak = level
		}
	}
	raw, _ := json.Marshal(l)
	empty := ""
	h.Send(room, by, "m.room.power_levels", &empty, string(raw))
}

func TestPowerBecomesModes(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		dave := testkit.DialIRC(t, server.Addr, "dave")
		dave.Join("#trestle")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)
		h.WaitMembership(room, ghost("dave"), "join")
		bob.Send("MODE #trestle +o alice")
		waitLevels(t, h, room, "alice's power", func(l levels) bool { return l.Users[alice] == 50 })
		sendLevels(h, room, alice, map[string]int{ghost("dave"): 50})
		bob.Expect(":alice!", "MODE #trestle +o", "dave")
		waitLevels(t, h, room, "dave's power", func(l levels) bool { return l.Users[ghost("dave")] == 50 })
		sendLevels(h, room, alice, map[string]int{ghost("dave"): 1})
		bob.ExpectFunc("dave with a voice only", func(line string) bool {
			return strings.HasPrefix(line, ":alice!") && strings.Contains(line, "MODE #trestle -o+v dave ") && strings.HasSuffix(line, "dave")
		})
		bob.Say("#trestle", "and now?") // the bot has heard of the last change when it hears this
		h.WaitBody(room, ghost("bob"), "and now?")
		waitLevels(t, h, room, "dave's voice", func(l levels) bool { return l.Users[ghost("dave")] == 1 })
		// What IRC has nothing for becomes what IRC has.
		sendLevels(h, room, alice, map[string]int{ghost("dave"): 60})
		bob.Expect(":alice!", "MODE #trestle +o", "dave")
		waitLevels(t, h, room, "dave's power", func(l levels) bool { return l.Users[ghost("dave")] == 50 })

		sendLevels(h, room, alice, map[string]int{"": 1})
		bob.Expect(":alice!", "MODE #trestle", "+m")
		sendLevels(h, room, alice, map[string]int{"": 0})
		bob.Expect(":alice!", "MODE #trestle", "-m")
		empty := ""
		h.Send(room, alice, "m.room.join_rules", &empty, `{"join_rule":"invite"}`)
		bob.Expect(":alice!", "MODE #trestle", "+i")
		h.Send(room, alice, "m.room.join_rules", &empty, `{"join_rule":"public"}`)
		bob.Expect(":alice!", "MODE #trestle", "-i")

		bob.Send("MODE #trestle -o alice")
		waitLevels(t, h, room, "alice without power", func(l levels) bool { _, has := l.Users[alice]; return !has })
		sendLevels(h, room, carol, map[string]int{ghost("bob"): 0})
		told(h, room, "IRC did not let "+carol)
		waitLevels(t, h, room, "bob's power again", func(l levels) bool { return l.Users[ghost("bob")] == 50 })
		sendLevels(h, room, alice, map[string]int{alice: 50})
		told(h, room, "IRC did not let "+alice)
		waitLevels(t, h, room, "alice's power taken back", func(l levels) bool { _, has := l.Users[alice]; return !has })
	})
}

func TestBansGoBothWays(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		dave := testkit.DialIRC(t, server.Addr, "dave")
		dave.Join("#trestle")
		c := config(h, server.Addr, t.TempDir())
		_, stop := start(t, h, c)
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)
		h.WaitMembership(room, ghost("dave"), "join")

		// Who may not ban on IRC does not ban in the room.
		h.Member(room, alice, ghost("dave"), "ban", "spam")
		told(h, room, "IRC did not let "+alice+" ban dave")
		h.WaitMembership(room, ghost("dave"), "join")

		bob.Send("MODE #trestle +o alice")
		waitLevels(t, h, room, "alice's power", func(l levels) bool { return l.Users[alice] == 50 })
		h.Member(room, alice, ghost("dave"), "ban", "spam")
		ban := bob.Expect(":alice!", "MODE #trestle +b", "@")
		dave.Expect(":alice!", "KICK #trestle dave", "spam")
		if strings.Contains(ban, "*!*@127.0.0.1") {
			t.Errorf("everybody of the host is banned: %s", ban)
		}
		dave.Send("JOIN #trestle")
		dave.Expect(" 474 ")
		h.Member(room, alice, ghost("dave"), "leave", "")
		bob.Expect(":alice!", "MODE #trestle -b", ban[strings.LastIndexByte(ban, ' ')+1:])
		dave.Join("#trestle")
		h.WaitMembership(room, ghost("dave"), "join")

		// A ban on IRC, and its end while the bridge is away.
		bob.Send("MODE #trestle +b alice!*@*")
		told(h, room, "has banned "+alice)
		bob.Send("KICK #trestle alice :out")
		if e := h.WaitMembership(room, alice, "ban"); e.Sender != bot || !strings.Contains(e.Reason(), "bob: out") {
			t.Errorf("alice is banned by %s with %s", e.Sender, e.Content)
		}
		bob.Send("MODE #trestle -b alice!*@*")
		h.WaitMembership(room, alice, "leave")
		join(t, h, alice, "alice", bob)
		bob.Send("KICK #trestle alice :out")
		h.WaitMembership(room, alice, "leave")
		bob.Send("MODE #trestle +b alice!*@*")
		h.WaitMembership(room, alice, "ban")
		stop()
		bob.Expect(":trestle!", "QUIT")
		bob.Send("MODE #trestle -b alice!*@*")
		bob.Expect("MODE #trestle -b")
		start(t, h, c)
		h.WaitMembership(room, alice, "leave")
		if events := h.Events(room, func(e fakehomeserver.Event) bool { return e.Membership() == "ban" && *e.StateKey == alice }); len(events) != 2 {
			t.Errorf("alice was banned %d times", len(events))
		}
	})
}

func TestQuietsAreTold(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)
		bob.Send("MODE #trestle +b al?ce!*@*")
		told(h, room, fmt.Sprintf("bob of IRC has banned %s (al?ce!*@*)", alice))
		bob.Send("MODE #trestle +m")
		bob.Expect("MODE #trestle", "+m")
		h.Say(room, alice, "mmph")
		told(h, room, "did not reach IRC")
	})
}

// eventually waits for what no event tells of.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline, tick := time.After(2*time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it does not come to be: " + what)
		}
	}
}

// Whoever insists on what IRC refuses, as another bridge may, is not answered as often as they like.
func TestInsistingIsAnsweredSeldom(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		bob.Send("MODE #trestle +t")
		bob.Send("TOPIC #trestle :bob's")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)
		empty := ""
		const times = 14
		for i := range times {
			h.Send(room, alice, "m.room.topic", &empty, fmt.Sprintf(`{"topic":"alice's %d"}`, i))
			h.WaitN(room, "a refusal", i+1, func(e fakehomeserver.Event) bool {
				return e.Sender == bot && strings.HasPrefix(e.Body(), "IRC did not take the topic")
			})
			bob.Say("#trestle", fmt.Sprint("after ", i)) // behind what the bridge has made of the refusal
			h.WaitBody(room, ghost("bob"), fmt.Sprint("after ", i))
		}
		taken := len(h.Events(room, func(e fakehomeserver.Event) bool {
			return e.Sender == bot && e.Type == "m.room.topic" && strings.Contains(string(e.Content), "bob's")
		}))
		if taken == 0 || taken > 11 { // the first is the room's own
			t.Errorf("of %d topics %d are taken back", times, taken)
		}
	})
}
