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

// relayed has somebody join #trestle for whom the bot speaks.
func relayed(t *testing.T, h *fakehomeserver.Homeserver, user, name string) (room string) {
	t.Helper()
	h.Register(user, name)
	room, refusal := h.Join(user, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	return room
}

// On servers that know nothing of it, a prefix says who speaks, on each line.
func TestTheBotSpeaksForPeople(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		c := config(h, server.Addr, t.TempDir())
		c.Networks[0].Relay, c.Networks[0].History = irc.Relay{Mode: irc.RelayOnly}, irc.HistoryJoined
		start(t, h, c)
		bob.Expect(":trestle!", "JOIN")
		room := relayed(t, h, alice, "Alice")
		said := func(want string) {
			t.Helper()
			line := bob.Expect(":trestle!", "#trestle :")
			if _, text, _ := strings.Cut(line, "#trestle :"); text != want {
				t.Errorf("%q, want %q", line, want)
			}
		}
		h.Say(room, alice, "hi!")
		said("<Alice> hi!")
		bob.Say("#trestle", "Alice: what's up?")
		question := h.WaitBody(room, ghost("bob"), "Alice: what's up?")
		if !strings.Contains(string(question.Content), `"user_ids":["`+alice+`"]`) || !strings.Contains(string(question.Content), "matrix.to/#/@alice:localhost") {
			t.Errorf("alice is not mentioned: %s", question.Content)
		}
		bob.Send("PRIVMSG #trestle :next")
		h.WaitBody(room, ghost("bob"), "next")
		h.Send(room, alice, "m.room.message", nil, fmt.Sprintf(`{"msgtype":"m.text","body":"all well","m.relates_to":{"m.in_reply_to":{"event_id":%q}}}`, question.ID))
		said("<Alice> bob: all well")
		h.Send(room, alice, "m.room.message", nil, `{"msgtype":"m.emote","body":"waves"}`)
		said("* Alice waves")
		h.Send(room, alice, "m.room.message", nil, `{"msgtype":"m.notice","body":"lunch"}`)
		said("<Alice> lunch")
		h.Say(room, alice, "one\r\nQUIT :two\x00three")
		said("<Alice> one")
		said("<Alice> QUIT :twothree")
		typo := h.Say(room, alice, "one teh")
		said("<Alice> one teh")
		h.Send(room, alice, "m.room.message", nil, fmt.Sprintf(
			`{"msgtype":"m.text","body":"* x","m.new_content":{"msgtype":"m.text","body":"one the"},"m.relates_to":{"rel_type":"m.replace","event_id":%q}}`, typo))
		said("<Alice> s/teh/the/")
		h.Send(room, alice, "m.reaction", nil, fmt.Sprintf(`{"m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"👍"}}`, question.ID))
		said("* Alice reacted to bob (“Alice: what's up?”) with 👍")
		h.Send(room, alice, "m.room.message", nil, `{"msgtype":"m.image","body":"cat.png","url":"mxc://localhost/cat"}`)
		bob.Expect(":trestle!", "<Alice> sent cat.png: ", "/_trestle/irc/media/")
		sayLong(t, h, bob, room)

		// Nobody has the bot's rights.
		empty := ""
		h.Send(room, alice, "m.room.topic", &empty, `{"topic":"mine"}`)
		told(h, room, "IRC did not take the topic: the bridge's bot speaks for them")
		h.Member(room, alice, ghost("bob"), "leave", "out")
		told(h, room, "IRC did not let "+alice+" kick bob")
		h.WaitMembership(room, ghost("bob"), "join")
	})
}

// sayLong has alice say texts that are longer than a line.
func sayLong(t *testing.T, h *fakehomeserver.Homeserver, bob *testkit.IRCClient, room string) {
	t.Helper()
	for _, long := range []string{strings.Repeat("Съешь же ещё этих мягких французских булок, да выпей чаю.", 40), strings.Repeat("👨‍👩‍👧‍👦", 160)} {
		h.Say(room, alice, long)
		for got := ""; got != long; {
			line := bob.Expect(":trestle!", "PRIVMSG #trestle :")
			_, text, _ := strings.Cut(line, "PRIVMSG #trestle :")
			piece, named := strings.CutPrefix(text, "<Alice> ")
			if !named || len(line) > 510 || !strings.HasPrefix(long, got+piece) {
				t.Fatalf("a piece of a long text is %q", line)
			}
			got += piece
		}
	}
}

// Whatever people call themselves, no line looks as if somebody else had said it.
func TestNobodySpeaksAsSomebodyElse(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Relay = irc.Relay{Mode: irc.RelayOnly, Prefix: "[{nick}] "}
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := ""
	check := func(user, want string) {
		t.Helper()
		h.Say(room, user, "it is me")
		line := bob.Expect(":trestle!", "PRIVMSG #trestle :")
		if _, text, _ := strings.Cut(line, "PRIVMSG #trestle :"); text != want+"it is me" {
			t.Errorf("%s: %q, want %q", user, text, want)
		}
	}
	people := []struct{ user, name, want string }{
		{alice, "alice", "[alice] "}, {"@a2:localhost", "ALICE", "[ALICE_] "}, {"@a3:localhost", "alice] hi [dave", "[alice_hi_dave] "},
		{"@b:localhost", "bob", "[bob_] "}, {"@t:localhost", "trestle", "[trestle_] "}, {"@x:localhost", "\x02\u200b\r\n\x00[]", "[x] "},
		{"@long:localhost", strings.Repeat("name", 100), "[namenamenamenamename] "},
	}
	for _, p := range people {
		room = relayed(t, h, p.user, p.name)
		check(p.user, p.want)
	}
	// Names stay over a restart.
	stop()
	bob.Expect(":trestle!", "QUIT")
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	for i := range people {
		p := people[len(people)-1-i]
		check(p.user, p.want)
	}
}

func TestRelayedNicksMayHaveColours(t *testing.T) {
	m := startRelay(t, ircv3.Options{}, irc.Relay{Mode: irc.RelayOnly, Colors: true, Break: true})
	m.Say(m.room, alice, "hi")
	line := m.bob.Expect(":trestle!", "PRIVMSG #trestle :<\x03")
	if !strings.HasSuffix(line, "a\u200blice\x0f> hi") {
		t.Errorf("%q", line)
	}
	m.bob.Say("#trestle", "a\u200blice: hello")
	if e := m.WaitBody(m.room, ghost("bob"), "a\u200blice: hello"); !strings.Contains(string(e.Content), `"user_ids":["`+alice+`"]`) {
		t.Errorf("alice is not mentioned: %s", e.Content)
	}
}

// startRelay is startModern with a bot that speaks for alice.
func startRelay(t *testing.T, options ircv3.Options, relay irc.Relay) *modern {
	t.Helper()
	m := &modern{Homeserver: fakehomeserver.New(t), server: ircv3.Start(t, options)}
	m.bob = testkit.DialIRC(t, m.server.Addr, "bob", "CAP REQ :message-tags draft/message-redaction")
	m.bob.Join("#trestle")
	c := config(m.Homeserver, m.server.Addr, t.TempDir())
	c.Networks[0].Relay = relay
	start(t, m.Homeserver, c)
	m.bob.Expect(":trestle!", "JOIN")
	m.room = relayed(t, m.Homeserver, alice, "alice")
	m.WaitMembership(m.room, ghost("bob"), "join")
	return m
}

func TestRelayedByRELAYMSG(t *testing.T) {
	t.Parallel()
	m := startRelay(t, ircv3.Options{Relay: true, RelaySeparators: "/"}, irc.Relay{Mode: irc.RelayOnly})
	m.Say(m.room, alice, "not yet allowed")
	m.bob.Expect(":trestle!", "PRIVMSG #trestle :<alice> not yet allowed")
	m.bob.Send("MODE #trestle +o trestle")
	m.bob.Expect("MODE #trestle +o trestle")
	m.bob.Say("#trestle", "you may")
	m.WaitBody(m.room, ghost("bob"), "you may") // behind the mode
	m.Say(m.room, alice, "hi")
	m.bob.Expect(":alice/m!relay@", "PRIVMSG #trestle :hi")
	m.send(`{"msgtype":"m.emote","body":"waves"}`)
	m.bob.Expect(":alice/m!relay@", "PRIVMSG #trestle :\x01ACTION waves\x01")
	m.send(`{"msgtype":"m.notice","body":"beep"}`)
	m.bob.Expect(":trestle!", "NOTICE #trestle :<alice> beep")
	long := strings.Repeat("мягких булок ", 80)
	event := m.send(`{"msgtype":"m.text","body":%q}`, long)
	for got := ""; got != strings.TrimRight(long, " "); {
		line := m.bob.Expect(":alice/m!relay@", "PRIVMSG #trestle :")
		_, text, _ := strings.Cut(line, "PRIVMSG #trestle :")
		if got += text; !strings.HasPrefix(long, got) || text == "" {
			t.Fatalf("a piece is %q", text)
		}
	}
	m.bob.Say("#trestle", "alice/m: yes")
	answer := m.WaitBody(m.room, ghost("bob"), "alice/m: yes")
	if !strings.Contains(string(answer.Content), `"user_ids":["`+alice+`"]`) {
		t.Errorf("alice is not mentioned: %s", answer.Content)
	}
	m.Redact(m.room, alice, event)
	m.bob.Expect(":trestle!", "REDACT #trestle")
	if ghosts := m.Events(m.room, func(e fakehomeserver.Event) bool { return strings.HasPrefix(e.Sender, "@irc_local_alice") }); len(ghosts) > 0 {
		t.Errorf("alice hears herself: %s", ghosts[0].Content)
	}
	// Others may use it too; they are heard.
	other := testkit.DialIRC(t, m.server.Addr, "other", "CAP REQ :message-tags draft/relaymsg")
	other.Join("#trestle")
	m.bob.Send("MODE #trestle +o other")
	other.Expect("MODE #trestle +o other")
	other.Send("RELAYMSG #trestle joe/chat :hi from elsewhere")
	m.WaitBody(m.room, ghost("joe/chat"), "hi from elsewhere")
}

// A server that refuses a name, or knows the capability and not the command, gets a prefix.
func TestARELAYMSGThatIsRefused(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]ircv3.Command{
		"the name": func(_ *ircv3.Server, c *ircv3.Client, _ *ircv3.Message) {
			c.Fail("RELAYMSG", "INVALID_NICK", "Invalid nickname")
		},
		"the command": func(_ *ircv3.Server, c *ircv3.Client, _ *ircv3.Message) {
			c.Reply("421", "RELAYMSG", "Unknown command")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := startRelay(t, ircv3.Options{Relay: true}, irc.Relay{Mode: irc.RelayOnly})
			m.server.Handle("RELAYMSG", refuse)
			m.Say(m.room, alice, "one")
			m.Say(m.room, alice, "two")
			m.bob.Expect(":trestle!", "PRIVMSG #trestle :<alice> one")
			m.bob.Expect(":trestle!", "PRIVMSG #trestle :<alice> two")
		})
	}
}

// What the bot says for people is as certain as what they say themselves.
func TestRelayedLinesAreNotLost(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"PRIVMSG", "RELAYMSG"} {
		t.Run(command, func(t *testing.T) {
			m := startRelay(t, ircv3.Options{Relay: command == "RELAYMSG"}, irc.Relay{Mode: irc.RelayOnly})
			if command == "RELAYMSG" {
				m.bob.Send("MODE #trestle +o trestle")
				m.bob.Expect("MODE #trestle +o trestle")
			}
			say := m.server.Command(command)
			calls := 0
			m.server.Handle(command, func(s *ircv3.Server, c *ircv3.Client, message *ircv3.Message) {
				if c.Nick() == "trestle" {
					if calls++; calls%5 == 3 { // never read
						c.Break()
						return
					}
				}
				say(s, c, message)
			})
			const n = 12
			for i := range n {
				m.Say(m.room, alice, fmt.Sprintf("line %d.", i))
			}
			m.bob.ExpectFunc("the last line", func(line string) bool {
				if strings.HasSuffix(line, "JOIN #trestle") {
					m.bob.Send("MODE #trestle +o trestle")
				}
				return strings.Contains(line, fmt.Sprintf("line %d.", n-1))
			})
			var got []string
			for _, said := range m.server.History("#trestle") {
				got = append(got, said.Param(1)[strings.Index(said.Param(1), "line"):])
			}
			for i, text := range got {
				if text != fmt.Sprintf("line %d.", i) {
					t.Errorf("IRC has %q", got)
					break
				}
			}
			if len(got) != n {
				t.Errorf("IRC has %d lines", len(got))
			}
		})
	}
}

// With "on", who has no connection is spoken for: those who want none, and those for whom there is none.
func TestConnectionsAndTheBotSideBySide(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, func(n *irc.Network) {
		n.Relay, n.MaxConnections, n.History = irc.Relay{Mode: irc.RelayOn}, 1, irc.HistoryJoined
	})
	direct := m.Direct(alice)
	m.WaitMembership(direct, bot, "join")
	m.Register(carol, "carol")
	m.Member(m.room, carol, carol, "join", "")
	told(m.Homeserver, m.room, "the bridge's bot speaks for them")
	m.Say(m.room, carol, "hello from carol")
	m.bob.Expect(":trestle!", "PRIVMSG #trestle :<carol> hello from carol")
	m.Say(m.room, alice, "and from alice")
	m.bob.Expect(":alice!", "PRIVMSG #trestle :and from alice")
	m.bob.Say("#trestle", "hello both")
	m.WaitBody(m.room, ghost("bob"), "hello both")

	m.Say(direct, alice, "relay on")
	m.bob.Expect(":alice!", "PART #trestle")
	m.Say(m.room, alice, "without a connection")
	m.bob.Expect(":trestle!", "PRIVMSG #trestle :<alice> without a connection")
	m.bob.Say("#trestle", "still there?")
	m.WaitBody(m.room, ghost("bob"), "still there?")
	m.Say(direct, alice, "relay off")
	m.bob.Expect(":alice!", "JOIN #trestle")
	m.Say(m.room, alice, "with one")
	m.bob.Expect(":alice!", "PRIVMSG #trestle :with one")
}

// Nobody gets past a refusal of IRC because the bot could speak for them.
func TestTheBotSpeaksForNobodyWhomIRCRefuses(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, func(n *irc.Network) { n.Relay, n.History = irc.Relay{Mode: irc.RelayOn}, irc.HistoryJoined })
	m.bob.Send("MODE #trestle +b carol!*@*")
	m.bob.Expect("MODE #trestle +b")
	m.Register(carol, "carol")
	direct := m.Direct(carol)
	m.WaitMembership(direct, bot, "join")
	for _, wish := range []string{"relay off", "relay on"} {
		m.Say(direct, carol, wish)
		m.Wait(direct, "an answer to "+wish, func(e fakehomeserver.Event) bool {
			return e.Sender == bot && strings.Contains(e.Body(), map[bool]string{true: "speaks for you", false: "of your own"}[wish == "relay on"])
		})
		before := time.Now()
		m.Member(m.room, carol, carol, "join", "")
		m.Wait(m.room, "carol's removal", func(e fakehomeserver.Event) bool {
			return e.Type == "m.room.member" && *e.StateKey == carol && e.Membership() == "leave" && e.Arrived.After(before) && strings.Contains(strings.ToLower(e.Reason()), "banned")
		})
	}
	m.bob.Send("MODE #trestle -b carol!*@*")
	m.bob.Say("#trestle", "carol may come")
	m.WaitBody(m.room, ghost("bob"), "carol may come")
	m.Member(m.room, carol, carol, "join", "")
	m.Say(m.room, carol, "thanks")
	m.bob.Expect(":trestle!", "<carol> thanks")
	m.bob.Send("MODE #trestle +b carol!*@*")
	m.bob.Say("#trestle", "or not")
	m.WaitBody(m.room, ghost("bob"), "or not")
	told(m.Homeserver, m.room, "bob of IRC has banned "+carol)
	m.Say(m.room, carol, "oh")
	told(m.Homeserver, m.room, "IRC has banned carol (carol!*@*)")
}

// A ban of somebody's connection is one of whom the bot would speak for without it, also after a restart.
func TestABanOfAConnectionOutlivesIt(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{UserLen: 11})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Relay = irc.Relay{Mode: irc.RelayOn}
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	k := newTalk(t, h)
	k.says("relay on")
	bob.Expect(":alice!", "PART #trestle")
	h.Say(room, alice, "spoken for")
	bob.Expect(":trestle!", "<alice> spoken for")
	bob.Send("MODE #trestle +b *!~alice@*")
	told(h, room, "bob of IRC has banned "+alice)
	banned := "IRC has banned alice (*!~alice@*)"
	h.Say(room, alice, "not any more")
	told(h, room, banned)
	stop()
	event := h.Say(room, alice, "nor now")
	start(t, h, c)
	h.Wait(room, "that this is not said either", func(e fakehomeserver.Event) bool {
		return e.Sender == bot && strings.Contains(string(e.Content), event) && strings.Contains(e.Body(), banned)
	})
	bob.Send("MODE #trestle -b *!~alice@*")
	bob.Say("#trestle", "alice may speak")
	h.WaitBody(room, ghost("bob"), "alice may speak")
	h.Say(room, alice, "thanks")
	if line := bob.Expect(":trestle!", "<alice> "); !strings.HasSuffix(line, "thanks") {
		t.Errorf("IRC hears %q", line)
	}
}

// A rule of the operator's counts for those for whom the bot speaks, too.
func TestTheBotSpeaksForNobodyWhomARuleNames(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c, bans := config(h, server.Addr, t.TempDir()), filepath.Join(t.TempDir(), "bans")
	c.Networks[0].Relay, c.Networks[0].BanFile = irc.Relay{Mode: irc.RelayOnly}, bans
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := relayed(t, h, alice, "alice")
	relayed(t, h, carol, "carol")
	h.Say(room, alice, "buy this")
	bob.Expect(":trestle!", "<alice> buy this")
	if err := os.WriteFile(bans, []byte("user "+alice+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.WaitMembership(room, alice, "leave")
	if h.Membership(room, carol) != "join" {
		t.Error("carol is not in the room")
	}
}

// Nor does it in rooms of others, out of which nobody is taken.
func TestRulesCountInRoomsOfOthers(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c, bans := config(h, server.Addr, t.TempDir()), filepath.Join(t.TempDir(), "bans")
	if err := os.WriteFile(bans, []byte("user "+carol+"\nuser @dave:localhost\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Networks[0].Relay, c.Networks[0].BanFile = irc.Relay{Mode: irc.RelayOnly}, bans
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	h.Register("@dave:localhost", "dave")
	if other, refusal := h.Join("@dave:localhost", "#irc_local_#other:localhost"); refusal == "" {
		h.WaitMembership(other, "@dave:localhost", "leave") // the rules have been read
	}
	room := garden(h)
	linked(t, h, room, bob)
	h.Say(room, carol, "buy this")
	told(h, room, "A rule says that you are not bridged")
	h.Say(room, alice, "not that")
	if line := bob.Expect(":trestle!", "PRIVMSG #trestle"); !strings.HasSuffix(line, ":<alice> not that") {
		t.Errorf("IRC hears %q", line)
	}
	if h.Membership(room, carol) != "join" {
		t.Error("carol is not in the room of others any more")
	}
}

// While IRC does not have the bot in the channel, nobody is told that they were heard.
func TestTheBotIsSentAway(t *testing.T) {
	t.Parallel()
	m := startRelay(t, ircv3.Options{}, irc.Relay{Mode: irc.RelayOnly})
	m.bob.Send("MODE #trestle +b trestle!*@*")
	m.bob.Expect("MODE #trestle +b")
	m.bob.Send("KICK #trestle trestle :no bots")
	told(m.Homeserver, m.room, "The bridge was kicked")
	m.Say(m.room, alice, "hello?")
	told(m.Homeserver, m.room, "did not reach IRC: IRC does not have the bridge's bot in the channel.")
}
