package irc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

func rule(h *fakehomeserver.Homeserver, room, kind, entity, recommendation string) {
	key := "rule:" + entity
	h.Send(room, "@mod:localhost", "m.policy.rule."+kind, &key,
		fmt.Sprintf(`{"entity":%q,"recommendation":%q,"reason":"spam"}`, entity, recommendation))
}

func TestRulesAreRespectedAtOnce(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	h.Register(alice, "alice")
	h.Register(carol, "carol")
	h.Register("@mod:localhost", "mod")
	rules := h.Room("@mod:localhost", "#rules:localhost")
	rule(h, rules, "user", "@carol:*", "m.ban")
	bans := filepath.Join(t.TempDir(), "bans")
	if err := os.WriteFile(bans, []byte("# people that are not bridged\nirc *!evil@*\nnonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	evil := testkit.DialIRC(t, server.Addr, "evil")
	evil.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].PolicyRooms, c.Networks[0].BanFile = []string{"#rules:localhost"}, bans
	start(t, h, c)
	h.WaitMembership(rules, bot, "join")

	room := join(t, h, alice, "alice", bob)
	h.WaitMembership(room, ghost("bob"), "join")
	h.Member(room, carol, carol, "join", "")
	if e := h.WaitMembership(room, carol, "leave"); !strings.Contains(e.Reason(), "spam") {
		t.Errorf("carol is removed with %s", e.Content)
	}
	evil.Say("#trestle", "buy this")
	bob.Say("#trestle", "not that")
	h.WaitBody(room, ghost("bob"), "not that")
	if seen := h.Events(room, func(e fakehomeserver.Event) bool { return e.Sender == ghost("evil") }); len(seen) > 0 {
		t.Errorf("evil is bridged: %s", seen[0].Content)
	}

	// New rules end what is under way.
	began := time.Now()
	rule(h, rules, "server", "localhost", "m.ban")
	bob.Expect(":alice!", "QUIT")
	if e := h.WaitMembership(room, alice, "leave"); !strings.Contains(e.Reason(), "spam") {
		t.Errorf("alice is removed with %s", e.Content)
	}
	rule(h, rules, "user", ghost("bob"), "m.ban")
	h.WaitMembership(room, ghost("bob"), "leave")
	if err := os.WriteFile(bans, []byte("irc nobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.WaitMembership(room, ghost("evil"), "join")
	if took := time.Since(began); took > promptly {
		t.Errorf("it took %s", took)
	}
	// A rule that is taken back is none any more.
	rule(h, rules, "server", "localhost", "")
	rule(h, rules, "user", ghost("bob"), "")
	h.WaitMembership(room, ghost("bob"), "join")
	join(t, h, alice, "alice", bob)
}

// A list of many rules, brought in at once, does not have everybody held against all of them for each.
func TestManyRulesAtOnce(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	h.Register("@mod:localhost", "mod")
	rules := h.Room("@mod:localhost", "#rules:localhost")
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].PolicyRooms = []string{"#rules:localhost"}
	service, _ := start(t, h, c)
	h.WaitMembership(rules, bot, "join")
	room := join(t, h, alice, "alice", bob)
	h.WaitMembership(room, ghost("bob"), "join")
	eventually(t, "the rules", func() bool { return service.RoundsOfRules("local") > 0 })
	const many = 500
	for i := range many {
		rule(h, rules, "user", fmt.Sprintf("@*spam%d:*", i), "m.ban")
	}
	rule(h, rules, "user", ghost("bob"), "m.ban")
	h.WaitMembership(room, ghost("bob"), "leave")
	if rounds := service.RoundsOfRules("local"); rounds > many/2 {
		t.Errorf("%d rules were applied %d times", many, rounds)
	}
}

func TestARoomThatExistsBecomesAChannels(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	h.Register(alice, "alice")
	room := h.Room(alice, "#lobby:localhost")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Channels = nil
	c.Networks[0].Mappings = []irc.Mapping{{Channel: "#Lobby", Room: "#lobby:localhost"}}
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#lobby")
	start(t, h, c)
	bob.Expect(":alice!", "JOIN #lobby")
	h.Say(room, alice, "hello")
	bob.Expect(":alice!", "PRIVMSG", ":hello")
	bob.Say("#lobby", "hi")
	h.WaitBody(room, ghost("bob"), "hi")
}

// asks has somebody ask for all that one can: alice's ear, and alice and the bot into channels.
func asks(one *testkit.IRCClient, own string) {
	one.Say("alice", "psst")
	one.Send("INVITE trestle " + own)
	one.Send("INVITE alice #garden")
	one.Send("PING :done")
	one.Expect("PONG")
}

// Whom a rule names on IRC does not get at people of Matrix by another way than channels, either.
func TestRulesCountForPrivateWords(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		folder := t.TempDir()
		c := config(h, server.Addr, folder)
		c.Networks[0].BanFile, c.Networks[0].Direct = filepath.Join(folder, "bans"), irc.FromAll
		if err := os.WriteFile(c.Networks[0].BanFile, []byte("irc mallory\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		bob, mallory := testkit.DialIRC(t, server.Addr, "bob"), testkit.DialIRC(t, server.Addr, "mallory")
		bob.Join("#trestle")
		start(t, h, c)
		bob.Expect(":trestle!", "JOIN")
		join(t, h, alice, "alice", bob)
		h.Register(carol, "carol")
		bob.Join("#garden")
		garden, refusal := h.Join(carol, "#irc_local_#garden:localhost")
		if refusal != "" {
			t.Fatal(refusal)
		}
		mallory.Join("#garden")
		mallory.Join("#spam")
		bob.Join("#den")
		asks(mallory, "#spam")
		asks(bob, "#den") // which shows that mallory was heard
		bob.Expect(":trestle!", "JOIN", "#den")
		mallory.Send("NAMES #spam")
		if line := mallory.Expect(" 353 ", "#spam"); strings.Contains(line, "trestle") {
			t.Errorf("the bot is where mallory wants it: %q", line)
		}
		eventually(t, "bob's invitations", func() bool { return len(h.Invitations(alice)) >= 2 })
		for _, room := range h.Invitations(alice) {
			if room != garden && h.Membership(room, ghost("bob")) == "" {
				t.Errorf("alice is invited into %s", room)
			}
		}
		if n := len(h.Invitations(alice)); n != 2 {
			t.Errorf("alice is invited into %d rooms", n)
		}
		for _, e := range h.Events(garden, func(e fakehomeserver.Event) bool {
			return e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == alice && e.Membership() == "invite"
		})[1:] {
			t.Errorf("mallory's invitation is one, too: %s", e.Content)
		}
	})
}
