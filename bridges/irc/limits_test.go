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

// manyChannels are more than some servers take in one JOIN.
func manyChannels() (names []string) {
	for i := range 45 {
		names = append(names, fmt.Sprintf("#c%d", i))
	}
	return names
}

// However many channels there are, the bot is in all of them.
func TestManyChannelsAreJoined(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		c := config(h, server.Addr, t.TempDir())
		c.Networks[0].Channels = manyChannels()
		start(t, h, c)
		bob := testkit.DialIRC(t, server.Addr, "bob")
		for _, name := range c.Networks[0].Channels {
			bob.Join(name)
		}
		inAll(bob, c.Networks[0].Channels)
	})
}

// inAll waits until the bot is seen in all channels.
func inAll(bob *testkit.IRCClient, names []string) {
	missing := slices.Clone(names)
	for tick := time.NewTicker(20 * time.Millisecond); len(missing) > 0; <-tick.C { // who asks all the time is thrown out
		bob.Send("WHOIS trestle")
		bob.ExpectFunc("the bot's channels", func(line string) bool {
			for _, word := range strings.Fields(line) {
				missing = slices.DeleteFunc(missing, func(name string) bool { return strings.TrimLeft(word, ":@+~&%") == name })
			}
			return strings.Contains(line, " 318 ")
		})
	}
}

// A server that takes no more than so many channels in one JOIN says so.
func TestJoinsHaveNoMoreTargetsThanTheServerTakes(t *testing.T) {
	t.Parallel()
	for token, most := range map[string]int{"TARGMAX=PRIVMSG:4,JOIN:3": 3, "MAXTARGETS=7": 7, "TARGMAX=JOIN:": 100} {
		h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{Support: []string{token}})
		usual, all, seen := server.Command("JOIN"), make(chan int), map[string]bool{}
		server.Handle("JOIN", func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
			targets := strings.Split(m.Param(0), ",")
			if len(targets) > most {
				t.Errorf("%s: JOIN %s", token, m.Param(0))
			}
			for _, name := range targets {
				seen[name] = true
			}
			if usual(s, c, m); len(seen) == len(manyChannels()) {
				close(all)
				seen = map[string]bool{}
			}
		})
		c := config(h, server.Addr, t.TempDir())
		c.Networks[0].Channels = manyChannels()
		_, stop := start(t, h, c)
		<-all
		stop()
	}
}

// What is longer than a server takes is cut between characters, and not by the server amid one.
func TestTopicsAndReasonsAreCutBetweenCharacters(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{Support: []string{"TOPICLEN=21", "KICKLEN=11"}})
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].History = irc.HistoryShared
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	bob.Send("MODE #trestle +o alice")
	bob.Expect("MODE #trestle", "+o alice")
	bob.Send("MODE #trestle -t")
	empty := ""
	h.Send(room, alice, "m.room.topic", &empty, fmt.Sprintf(`{"topic":%q}`, strings.Repeat("мост ", 20)))
	if line := bob.Expect(":alice!", "TOPIC #trestle"); !strings.HasSuffix(line, ":мост мост…") {
		t.Errorf("the topic is %q", line)
	}
	testkit.DialIRC(t, server.Addr, "eve").Join("#trestle")
	h.WaitMembership(room, ghost("eve"), "join")
	h.Member(room, alice, ghost("eve"), "leave", "за флуд и спам")
	if line := bob.Expect(":alice!", "KICK #trestle eve"); !strings.HasSuffix(line, ":за ф…") {
		t.Errorf("the kick is %q", line)
	}
}

// User names that are longer than a server takes would be cut, and be those of others. Nobody is in a channel by such
// a name, even if they connect before the bridge knows.
func TestUserNamesAreAsShortAsTheServerTakes(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{Support: []string{"USERLEN=8"}})
	c := config(h, server.Addr, t.TempDir())
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	users, names := map[string]string{"alice1": "away.example", "alice2": "away.example", "alicealic": "localhost"}, map[string]string{}
	joins := func(nick string) string {
		line := bob.Expect(":"+nick+"!", "JOIN")
		name, _, _ := strings.Cut(strings.TrimPrefix(line, ":"+nick+"!"), "@")
		if len(name) > 7 {
			t.Errorf("%s has the name %q", nick, name)
		}
		return name
	}
	for nick, homeserver := range users {
		user := "@" + nick + ":" + homeserver
		h.Register(user, nick)
		if _, refusal := h.Join(user, "#irc_local_#trestle:localhost"); refusal != "" {
			t.Fatal(refusal)
		}
		name := joins(nick)
		if names[name] != "" {
			t.Errorf("%s and %s have the name %q", nick, names[name], name)
		}
		names[name] = nick
	}
	stop()
	// The bot comes last.
	usual, last := server.Command("NICK"), func() {}
	server.Handle("NICK", func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
		if m.Param(0) == "trestle" {
			last = func() { usual(s, c, m) }
			return
		}
		usual(s, c, m)
	})
	server.Handle("RELEASE", func(*ircv3.Server, *ircv3.Client, *ircv3.Message) { last() })
	start(t, h, c)
	for range users {
		line := bob.ExpectFunc("somebody's JOIN", func(line string) bool { return strings.HasPrefix(line, ":alice") && strings.Contains(line, " JOIN ") })
		nick, rest, _ := strings.Cut(line[1:], "!")
		if name, _, _ := strings.Cut(rest, "@"); names[name] != nick {
			t.Errorf("%s has the name %q now", nick, name)
		}
	}
	bob.Send("RELEASE")
	bob.Expect(":trestle!", "JOIN")
}

// The "~" of who is not identified takes a byte of a user name on many servers, whether they say how long it may be or not.
func TestUserNamesLeaveRoomForTheTilde(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		options ircv3.Options
		late    bool // a cut name is seen once
	}{
		"said":                {ircv3.Options{UserLen: 10, Support: []string{"USERLEN=10"}, Curt: true}, false},
		"seen in a greeting":  {ircv3.Options{UserLen: 10}, false},
		"seen in a channel":   {ircv3.Options{UserLen: 10, Curt: true}, true},
		"shorter than it may": {ircv3.Options{UserLen: 4, Curt: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, server := fakehomeserver.New(t), ircv3.Start(t, one.options)
			bob := testkit.DialIRC(t, server.Addr, "bob")
			bob.Join("#trestle")
			start(t, h, config(h, server.Addr, t.TempDir()))
			bob.Expect(":trestle!", "JOIN")
			owners := map[string]string{}
			for _, nick := range []string{"alicealica", "alicealicb", "alicealic"} {
				h.Register("@"+nick+":localhost", nick)
				if _, refusal := h.Join("@"+nick+":localhost", "#irc_local_#trestle:localhost"); refusal != "" {
					t.Fatal(refusal)
				}
				shown := func() string {
					line := bob.Expect(":"+nick+"!", "JOIN")
					user, _, _ := strings.Cut(strings.TrimPrefix(line, ":"+nick+"!"), "@")
					return user
				}
				user := shown()
				if cut := strings.HasSuffix(user, "alicealic") && nick != "alicealic"; cut && one.late && len(owners) == 0 {
					bob.Expect(":"+nick+"!", "QUIT")
					user = shown()
				}
				if one.options.UserLen < 5 {
					continue // there is no such name; they do not come and go for ever
				}
				if len(user) > one.options.UserLen || owners[user] != "" {
					t.Errorf("%s has the user name %q, as has %q", nick, user, owners[user])
				}
				owners[user] = nick
			}
		})
	}
}

// One that does not say so, and is silent about the rest, is asked again.
func TestChannelsThatTheServerHasForgotten(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	usual := server.Command("JOIN")
	server.Handle("JOIN", func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
		first, _, _ := strings.Cut(m.Param(0), ",")
		usual(s, c, ircv3.NewMessage("", "JOIN", first))
	})
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Channels = manyChannels()[:3]
	bob := testkit.DialIRC(t, server.Addr, "bob")
	for _, name := range c.Networks[0].Channels {
		bob.Join(name)
	}
	start(t, h, c)
	for range c.Networks[0].Channels {
		bob.Expect(":trestle!", "JOIN")
	}
}
