package irc_test

import (
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// A rule about rooms ends links, and there are no new ones, until it is taken back.
func TestRulesAboutRooms(t *testing.T) {
	t.Parallel()
	for _, history := range []irc.History{irc.HistoryShared, irc.HistoryJoined} {
		t.Run(string(history), func(t *testing.T) {
			h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
			h.Register(alice, "alice")
			h.Register("@mod:localhost", "mod")
			rules := h.Room("@mod:localhost", "#rules:localhost")
			bob := testkit.DialIRC(t, server.Addr, "bob")
			bob.Join("#trestle")
			c := config(h, server.Addr, t.TempDir())
			c.Networks[0].PolicyRooms, c.Networks[0].History = []string{"#rules:localhost"}, history
			start(t, h, c)
			h.WaitMembership(rules, bot, "join")
			room := join(t, h, alice, "alice", bob)
			h.WaitMembership(room, ghost("bob"), "join")

			rule(h, rules, "room", "#irc_local_#garden:*", "m.ban")
			began := time.Now()
			rule(h, rules, "room", "#irc_local_#tr*:localhost", "m.ban")
			gone := map[string]bool{}
			bob.ExpectFunc("alice and the bot going", func(line string) bool {
				nick, _, _ := strings.Cut(strings.TrimPrefix(line, ":"), "!")
				if strings.Contains(line, " PART #trestle") || strings.Contains(line, " QUIT ") {
					gone[nick] = true
				}
				return gone["alice"] && gone["trestle"]
			})
			told(h, room, "not bridged to Local: spam")
			h.WaitMembership(room, ghost("bob"), "leave")
			if took := time.Since(began); took > promptly {
				t.Errorf("it took %s", took)
			}
			h.Say(room, alice, "anybody?")
			h.Say(room, alice, "!irc bridgeversion") // once it is answered, what was said before is dealt with
			told(h, room, "This is the IRC bridge")
			if _, refusal := h.Join(alice, "#irc_local_#garden:localhost"); !strings.Contains(refusal, "not bridged to Local: spam") {
				t.Errorf("a banned alias: %q", refusal)
			}

			rule(h, rules, "room", "#irc_local_#tr*:localhost", "")
			bob.Expect(":alice!", "JOIN")
			h.WaitMembership(room, ghost("bob"), "join")
			bob.Say("#trestle", "welcome back")
			h.WaitBody(room, ghost("bob"), "welcome back")
			h.Say(room, alice, "thanks")
			if line := bob.Expect(":alice!", "PRIVMSG #trestle :"); !strings.HasSuffix(line, ":thanks") {
				t.Errorf("what was said meanwhile is on IRC: %q", line)
			}
		})
	}
}
