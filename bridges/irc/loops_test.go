package irc_test

import (
	"fmt"
	"strings"
	"testing"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// Another bridge that brings what alice says back to IRC is heard for three messages at most.
func TestALoopOverAnotherBotEnds(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, nil)
	other := testkit.DialIRC(t, m.server.Addr, "matrixbot")
	other.Join("#trestle")
	m.WaitMembership(m.room, ghost("matrixbot"), "join")
	for i := range 8 {
		text := fmt.Sprint("m", i)
		m.Say(m.room, alice, text)
		m.bob.Expect(":alice!", "PRIVMSG #trestle :"+text)
		other.Say("#trestle", "<alice> "+text)
		m.bob.Expect(":matrixbot!", "<alice> "+text)
	}
	told(m.Homeserver, m.room, "matrixbot on IRC repeats what others have said")
	m.bob.Say("#trestle", "anybody else?")
	m.WaitBody(m.room, ghost("bob"), "anybody else?")
	if echoes := bodies(m.Homeserver, m.room, ghost("matrixbot")); len(echoes) >= 3 {
		t.Errorf("the room has %q", echoes)
	}
}

// Two bridges with virtual users in the same room and channel bring the same text round and round, each time
// from somebody new.
func TestALoopOfVirtualUsersEnds(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, nil)
	const text = "a text that goes round and round"
	m.Say(m.room, alice, text)
	m.bob.Expect(":alice!", text)
	rounds := 0
	for i := range 25 {
		nick := fmt.Sprint("u", i)
		c := testkit.DialIRC(t, m.server.Addr, nick)
		c.Join("#trestle")
		c.Say("#trestle", text)
		m.bob.Expect(":"+nick+"!", text)
		m.bob.Say("#trestle", "after "+nick)
		m.WaitBody(m.room, ghost("bob"), "after "+nick)
		rounds += len(bodies(m.Homeserver, m.room, ghost(nick)))
	}
	if rounds > 20 {
		t.Errorf("%d rounds", rounds)
	}
	told(m.Homeserver, m.room, "goes round and round")
	m.Say(m.room, alice, "and all of them may speak")
	m.bob.Expect(":alice!", "and all of them may speak")
}

// The same the other way round: a bridge in the room repeats there what was said on IRC.
func TestALoopInTheRoomEnds(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, nil)
	const other = "@other_bob:localhost"
	m.Register(other, "bob (other)")
	m.Member(m.room, other, other, "join", "")
	m.bob.Expect("JOIN #trestle")
	for i := range 6 {
		text := fmt.Sprint("from irc ", i)
		m.bob.Say("#trestle", text)
		m.WaitBody(m.room, ghost("bob"), text)
		m.Say(m.room, other, text)
	}
	told(m.Homeserver, m.room, other+" repeats what others have said")
	m.Say(m.room, alice, "quiet now?")
	m.bob.Expect(":alice!", "quiet now?")
	echoes := 0
	for _, said := range m.server.History("#trestle") {
		if strings.HasPrefix(said.Source, "other_bob!") {
			echoes++
		}
	}
	if echoes >= 3 {
		t.Errorf("%d messages came back", echoes)
	}
}

// People who agree, or quote each other, are no loop.
func TestPeopleMayRepeatEachOther(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, nil)
	for i, text := range []string{"yes", "ok", "lol", "+1", "me too", "gz", "hm", "no"} {
		m.Say(m.room, alice, text)
		m.bob.Expect(":alice!", "PRIVMSG #trestle :"+text)
		m.bob.Say("#trestle", text)
		m.WaitBody(m.room, ghost("bob"), text)
		if i%3 == 0 {
			m.bob.Say("#trestle", "<alice> "+text)
			m.bob.Say("#trestle", fmt.Sprint("you said that ", i))
			m.WaitBody(m.room, ghost("bob"), fmt.Sprint("you said that ", i))
		}
	}
}

// A crowd that congratulates somebody is no loop, and nobody of it is silenced.
func TestACrowdIsNoLoop(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, nil)
	const text = "a happy new year to all of you!"
	m.Say(m.room, alice, text)
	m.bob.Expect(":alice!", text)
	for i := range 12 {
		nick := fmt.Sprint("u", i)
		c := testkit.DialIRC(t, m.server.Addr, nick)
		c.Join("#trestle")
		c.Say("#trestle", text)
		m.WaitBody(m.room, ghost(nick), text)
		c.Say("#trestle", "and good luck, says "+nick)
		m.WaitBody(m.room, ghost(nick), "and good luck, says "+nick)
	}
}

// A room that another bridge has joined with the same channel does not become the channel's.
func TestARoomIsNotBridgedTwice(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	h.Register(alice, "alice")
	h.Register("@other:localhost", "other")
	rooms := map[string]string{}
	for name, info := range map[string]string{
		"same":     `{"protocol":{"id":"irc"},"network":{"id":"LOCAL"},"channel":{"id":"#Same"}}`,
		"unnamed":  `{"protocol":{"id":"irc"},"channel":{"id":"x","displayname":"#unnamed"}}`,
		"disabled": `{"status":"disabled","protocol":{"id":"irc"},"channel":{"id":"#disabled"}}`,
		"else":     `{"protocol":{"id":"irc"},"network":{"id":"oftc","external_url":"irc://irc.oftc.net"},"channel":{"id":"#else"}}`,
		"chat":     `{"protocol":{"id":"discord"},"channel":{"id":"#chat"}}`,
	} {
		rooms[name] = h.Room(alice, "#"+name+":localhost")
		key := "org.example://" + name
		kind := "uk.half-shot.bridge"
		if name == "unnamed" {
			kind = "m.bridge"
		}
		h.Send(rooms[name], "@other:localhost", kind, &key, info)
	}
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Channels = nil
	for name := range rooms {
		c.Networks[0].Mappings = append(c.Networks[0].Mappings, irc.Mapping{Channel: "#" + name, Room: "#" + name + ":localhost"})
	}
	bob := testkit.DialIRC(t, server.Addr, "bob")
	for name := range rooms {
		bob.Join("#" + name)
	}
	start(t, h, c)
	for _, name := range []string{"same", "unnamed"} {
		e := h.Wait(rooms[name], "the bot's leave", func(e fakehomeserver.Event) bool {
			return e.Type == "m.room.member" && *e.StateKey == bot && e.Membership() == "leave"
		})
		if !strings.Contains(e.Reason(), "bridged with #"+name+" already, by @other:localhost") {
			t.Errorf("%s is left with %q", name, e.Reason())
		}
	}
	for _, name := range []string{"disabled", "else", "chat"} {
		h.WaitMembership(rooms[name], ghost("bob"), "join")
	}
	// One that comes later is told of.
	key := "org.example://later"
	h.Send(rooms["chat"], "@other:localhost", "m.bridge", &key, `{"protocol":{"id":"irc"},"channel":{"id":"#chat"}}`)
	told(h, rooms["chat"], "@other:localhost bridges this room with #chat too")
}

// So is one that does not say what it is, and whose virtual users are there.
func TestVirtualUsersOfAnotherBridgeAreKnown(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	h.Register(alice, "alice")
	room := h.Room(alice, "#lobby:localhost")
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#lobby")
	for _, nick := range []string{"bob", "dave", "erin"} {
		if nick != "bob" {
			testkit.DialIRC(t, server.Addr, nick).Join("#lobby")
		}
		user := "@chat_" + nick + ":localhost"
		h.Register(user, nick)
		h.Member(room, user, user, "join", "")
	}
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Channels = nil
	c.Networks[0].Mappings = []irc.Mapping{{Channel: "#lobby", Room: "#lobby:localhost"}}
	start(t, h, c)
	told(h, room, "another bridge does that already")
	bob.Expect(":trestle!", "PART #lobby")
}
