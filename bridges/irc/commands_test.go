package irc_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// What somebody asks of IRC is said on their own connection, and the answer is shown.
func TestRawCommands(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		k := newTalk(t, h)
		k.says("cmd AWAY :lunch")
		k.hears("You have no connection to Local")
		room := join(t, h, alice, "alice", bob)
		k.says("cmd MODE #trestle +b spam!*@*")
		k.hears("#trestle") // 482, in the server's words
		bob.Send("MODE #trestle +o alice")
		waitLevels(t, h, room, "alice's power", func(l levels) bool { return l.Users[alice] == 50 })
		k.says("cmd MODE #trestle +b spam!*@*")
		bob.Expect(":alice!", "MODE #trestle +b", "spam!*@*")
		k.hears("MODE #trestle +b spam!*@*")
		k.says("cmd local TOPIC #trestle :made by hand")
		bob.Expect(":alice!", "TOPIC #trestle :made by hand")
		k.hears("TOPIC #trestle made by hand")
		k.says("CMD AWAY :out for lunch")
		k.hears("away")
		bob.Say("alice", "there?")
		bob.Expect(" 301 ", "out for lunch")
		// Nothing but the one command, and none that the bridge has to know of.
		k.says("cmd AWAY :x\r\nPART #trestle")
		k.hears("away")
		k.says("cmd AWAY :x\x00y")
		k.hears("IRC cannot be told that")
		k.says("cmd MODE #trestle " + strings.Repeat("x", 600))
		k.hears("IRC cannot be told that")
		for command, instead := range map[string]string{
			"JOIN #else": "join #channel", "PART #trestle": "Leave the channel's room", "QUIT": "“quit”", "NICK x": "“nick”", "privmsg bob :hi": "direct chat",
			"OPER root root": "does not pass on “OPER”", "@tag PRIVMSG bob :hi": "does not pass on", ":bob PRIVMSG #trestle :hi": "does not pass on",
			"CAP REQ :echo-message": "does not pass on", "PASS x": "does not pass on",
		} {
			k.says("cmd " + command)
			k.hears(instead)
		}
		k.says("cmd")
		k.hears("Say which command")
		// A refusal is not taken for one of a message.
		bob.Send("MODE #trestle -o alice")
		waitLevels(t, h, room, "alice without power", func(l levels) bool { return l.Users[alice] == 0 })
		for i := range 10 {
			h.Say(room, alice, fmt.Sprint("line ", i))
			k.says("cmd MODE #trestle +n")
		}
		for i := range 10 {
			bob.Expect(":alice!", fmt.Sprint(":line ", i))
		}
		k.says("bridgeversion")
		k.hears("IRC bridge of trestle ")
		if refused := h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == bot }); len(refused) > 0 {
			t.Errorf("the bridge says %q", refused[0].Body())
		}
	})
}

func TestWhoIsWho(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "Bob")
	bob.Join("#trestle")
	start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	k := newTalk(t, h)
	k.says("whois bob")
	k.hears("bob on Local is @irc_local_bob:localhost. You have no connection")
	k.says("whois @alice:localhost")
	k.hears("@alice:localhost is not connected to Local")
	join(t, h, alice, "alice", bob)
	k.says("whois bob")
	if text := k.hears("@irc_local_bob:localhost"); !strings.Contains(text, "127.0.0.1") {
		t.Errorf("IRC's answer is not in %q", text)
	}
	k.says("whois local @irc_local_bob:localhost")
	k.hears("@irc_local_bob:localhost")
	k.says("whois ALICE")
	k.hears("ALICE on Local is the Matrix user @alice:localhost")
	k.says("whois @alice:localhost")
	k.hears("@alice:localhost is alice on Local")
	k.says("whois trestle")
	k.hears("is this bridge")
	k.says("whois nobody_here")
	k.hears("nobody_here on Local is @irc_local_nobody_here:localhost")
	k.says("whois a b c")
	k.hears("Say whom")
	k.says("whois @nobody")
	k.hears("not a user ID")
}

// In a channel's room nobody is told of channels that are none of the others' business.
func TestOthersAreToldOfNoSecretChannels(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		bob.Join("#secret")
		bob.Send("MODE #secret +s")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN", "#trestle")
		k := newTalk(t, h)
		room := join(t, h, alice, "alice", bob)
		if _, refusal := h.Join(alice, "#irc_local_#secret:localhost"); refusal != "" {
			t.Fatal(refusal)
		}
		bob.Expect(":alice!", "JOIN", "#secret")
		for command, shown := range map[string]string{"whois bob": "is @irc_local_bob:localhost", "cmd WHOIS bob": "127.0.0.1", "listrooms": "direct chat"} {
			event := h.Say(room, alice, "!irc "+command)
			text := h.Wait(room, "an answer", func(e fakehomeserver.Event) bool {
				return e.Sender == bot && isMessage(e) && strings.Contains(e.Body(), shown) && e.ID != event
			}).Body()
			if strings.Contains(text, "#secret") {
				t.Errorf("%s: everybody reads %q", command, text)
			}
			k.says(command)
			if text := k.hears("#trestle"); !strings.Contains(text, "#secret") {
				t.Errorf("%s: alice is told %q", command, text)
			}
		}
	})
}

// What people say a little wrong is not taken for something else, and a refusal says what of.
func TestAnswersSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	h, server, folder := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{Accounts: map[string]string{"alice": "right"}}), t.TempDir()
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, folder)
	c.KeyFile = filepath.Join(folder, "irc.keys")
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	k := newTalk(t, h)
	join(t, h, alice, "alice", bob)
	k.says("nick nowhere ali")
	k.hears("A nick is one word")
	k.says("nick")
	k.hears("You are alice on Local.")
	k.says("storepass wrong")
	k.hears("Your connection to Local is not made: authentication refused")
}

// Who has quit is not on IRC, over restarts, and so reads nothing, until they come back.
func TestQuit(t *testing.T) {
	t.Parallel()
	for _, history := range []irc.History{irc.HistoryShared, irc.HistoryJoined} {
		t.Run(string(history), func(t *testing.T) {
			h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
			bob := testkit.DialIRC(t, server.Addr, "bob")
			bob.Join("#trestle")
			c := config(h, server.Addr, t.TempDir())
			c.Networks[0].History = history
			_, stop := start(t, h, c)
			bob.Expect(":trestle!", "JOIN")
			room := join(t, h, alice, "alice", bob)
			chat := h.DirectWith(alice, ghost("bob"))
			h.WaitMembership(chat, ghost("bob"), "join")
			k := newTalk(t, h)
			k.says("listrooms")
			if text := k.hears("#irc_local_#trestle:localhost"); !strings.Contains(text, "bob – a direct chat") {
				t.Errorf("the rooms are %q", text)
			}
			k.says("quit elsewhere")
			k.hears("There is no network")
			k.says("quit")
			k.hears("taken out of the rooms of #trestle")
			bob.Expect(":alice!", "QUIT")
			if e := h.WaitMembership(room, alice, "leave"); e.Sender != bot || !strings.Contains(e.Reason(), "You have quit Local") {
				t.Errorf("alice left with %s by %s", e.Content, e.Sender)
			}
			k.says("status")
			k.hears("you have quit")
			k.says("listrooms")
			k.hears("direct chat")

			stop()
			bob.Expect(":trestle!", "QUIT")
			_, stop = start(t, h, c)
			bob.Expect(":trestle!", "JOIN")
			k.says("status")
			k.hears("you have quit")
			k.says("whois @alice:localhost")
			k.hears("not connected")

			// Any of three things brings them back.
			h.Say(chat, alice, "are you there?")
			bob.Expect(":alice!", "PRIVMSG bob :are you there?")
			k.says("quit local")
			k.hears("You are not on Local any more. ")
			join(t, h, alice, "alice", bob)
			k.says("quit")
			k.hears("taken out")
			bob.Expect(":alice!", "QUIT")
			h.WaitMembership(room, alice, "leave")
			k.says("reconnect")
			k.hears("Connecting")
			k.says("status")
			k.hears("0 channels") // there is the direct chat
			stop()
		})
	}
}

func TestFeatures(t *testing.T) {
	t.Parallel()
	h, server, folder := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{}), t.TempDir()
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	_, stop := start(t, h, config(h, server.Addr, folder))
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	k := newTalk(t, h)
	k.says("feature")
	if text := k.hears("mentions is on"); strings.Count(text, "\n") != 2 {
		t.Errorf("the features are %q", text)
	}
	k.says("feature mentions off")
	k.hears("mentions is off")
	k.says("feature private false")
	k.hears("private is off")
	k.says("feature colours on")
	k.hears("There are: mentions, private, typing")
	k.says("feature typing sometimes")
	k.hears("on, off")
	stop()
	bob.Expect(":trestle!", "QUIT")
	start(t, h, config(h, server.Addr, folder))
	bob.ExpectJoins("trestle", "alice")
	k.says("whois @alice:localhost")
	k.hears("is alice on Local")
	bob.Say("#trestle", "alice: look")
	if e := h.WaitBody(room, ghost("bob"), "alice: look"); strings.Contains(string(e.Content), alice) {
		t.Errorf("alice is mentioned by %s", e.Content)
	}
	bob.Say("alice", "psst")
	k.says("feature mentions default")
	k.hears("mentions is on")
	bob.Say("#trestle", "alice: look again")
	if e := h.WaitBody(room, ghost("bob"), "alice: look again"); !strings.Contains(string(e.Content), alice) {
		t.Errorf("alice is not mentioned by %s", e.Content)
	}
	if rooms := h.Invitations(alice); len(rooms) > 0 {
		t.Error("alice is invited to a private chat")
	}
	k.says("feature private on")
	k.hears("private is on")
	bob.Say("alice", "psst!")
	eventually(t, "an invitation", func() bool { return len(h.Invitations(alice)) == 1 })
}

// Nobody gives commands for others, or too many; secrets do not stay in rooms, however they are spelt.
func TestCommandsAreOnesOwn(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	k := newTalk(t, h)
	h.Register(carol, "carol")
	h.Member(k.room, alice, carol, "invite", "")
	h.Member(k.room, carol, carol, "join", "")
	h.Say(k.room, carol, "quit")
	h.Say(k.room, carol, "!irc status")
	k.hears("local: not used") // carol's own
	h.Say(k.room, carol, "!irc quit @alice:localhost")
	k.hears("There is no network")
	k.says("username al")
	k.hears("others read along")
	h.Member(k.room, carol, carol, "leave", "")
	for _, said := range []string{"storepass " + secret, "!storepas " + secret, "STROEPASS " + secret, "storepassword " + secret} {
		id := h.Say(k.room, alice, said)
		redacted(t, h, k.room, id)
	}
	id := h.Say(room, alice, "!irc storpass "+secret)
	redacted(t, h, room, id)
	h.ForbidRedactions(k.room)
	k.says("storpass " + secret)
	k.hears("Did you mean “storepass”? I may not remove your message")
	k.says("jion #garden")
	k.hears("Did you mean “join”?")
	k.says("xyzzy")
	k.hears("Say “help”")
	k.says("!help whois")
	k.hears("whois [NETWORK] NICK | @USER:SERVER – ")
	k.says("help")
	for _, name := range []string{"bridgeversion", "certfp", "cmd", "feature", "help", "join", "listrooms", "networks", "nick", "quit", "reconnect", "removepass", "status", "storepass", "username", "whois"} {
		if text := h.WaitN(k.room, "the help", 1, func(e fakehomeserver.Event) bool { return strings.HasPrefix(e.Body(), "Commands (") })[0].Body(); !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("there is no %s in %q", name, text)
		}
	}
	before := time.Now()
	for range 60 {
		k.says("bridgeversion")
	}
	k.hears("That was too much at once")
	k.says("end")
	h.Say(room, alice, "still here")
	bob.Expect(":alice!", ":still here")
	if n := len(h.Events(k.room, func(e fakehomeserver.Event) bool { return strings.HasPrefix(e.Body(), "That was too much") })); n > 1+int(time.Since(before)/time.Second) {
		t.Errorf("it was said %d times", n)
	}
}

// Where everybody in the room has to be in the channel, who gives way, or was silent for too long,
// leaves the room at once, and nobody waits.
func TestWhoIsDisconnectedLeavesTheRoom(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*irc.Network){
		"idle":      func(n *irc.Network) { n.IdleTimeout = 2 * time.Second },
		"make room": func(n *irc.Network) { n.MaxConnections, n.MakeRoom = 1, time.Millisecond },
	} {
		for _, history := range []irc.History{irc.HistoryJoined, irc.HistoryShared} {
			t.Run(fmt.Sprint(name, " ", history), func(t *testing.T) {
				t.Parallel()
				h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
				bob := testkit.DialIRC(t, server.Addr, "bob")
				bob.Join("#trestle")
				bob.Join("#garden")
				c := config(h, server.Addr, t.TempDir())
				c.Networks[0].History, c.Networks[0].Hold = history, time.Hour
				change(&c.Networks[0])
				start(t, h, c)
				bob.Expect(":trestle!", "JOIN")
				room := join(t, h, alice, "alice", bob)
				bob.Say("#trestle", "before")
				h.WaitBody(room, ghost("bob"), "before")
				if name != "idle" {
					h.Register(carol, "carol")
					if _, refusal := h.Join(carol, "#irc_local_#garden:localhost"); refusal != "" {
						t.Fatal(refusal)
					}
				}
				bob.Expect(":alice!", "QUIT")
				bob.Say("#trestle", "after")
				h.WaitBody(room, ghost("bob"), "after")
				if history == irc.HistoryShared {
					// The room may be read by those who come later, and so by those who sleep; they come back with
					// their next word.
					if h.Membership(room, alice) != "join" {
						t.Error("alice is out of the room")
					}
					if name == "idle" {
						h.Say(room, alice, "awake")
						bob.Expect(":alice!", "PRIVMSG #trestle :awake")
					}
					return
				}
				if h.Membership(room, alice) != "leave" {
					t.Error("alice is still in the room")
				}
				for _, e := range sightings(h, room, alice) {
					if e.Body() == "after" {
						t.Error("alice can read what was said after she had gone")
					}
				}
				if name == "idle" {
					join(t, h, alice, "alice", bob)
				}
			})
		}
	}
}
