package irc_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// onOurs starts a bridge to a server whose refusals a test chooses.
func onOurs(t *testing.T, change func(*irc.Network)) (*fakehomeserver.Homeserver, *ircv3.Server, *irc.Service) {
	t.Helper()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{ChanModes: "bq,k,l,imnprst", Prefix: "(ohv)@%+", Without: []string{"draft/multiline"}})
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Channels = nil // who makes a channel is its operator
	if change != nil {
		change(&c.Networks[0])
	}
	service, _ := start(t, h, c)
	h.Register(alice, "alice")
	h.Register(carol, "carol")
	return h, server, service
}

func TestEveryRefusalIsTheErrorOfTheJoin(t *testing.T) {
	t.Parallel()
	h, server, service := onOurs(t, func(n *irc.Network) { n.Channels = nil })
	refusals := map[string]string{
		"403": "No such channel", "405": "You have joined too many channels", "437": "Temporarily unavailable",
		"471": "It is full", "473": "Invited people only", "474": "You are banned", "475": "Wrong key",
		"477": "Registered nicks only", "479": "Illegal name", "489": "Secure connections only", "520": "Operators only",
		"499": "A rule that nobody has heard of", "927": "Neither of this one",
	}
	for numeric, text := range refusals {
		server.Refuse("#no"+numeric, numeric, text)
	}
	var all sync.WaitGroup
	for numeric, text := range refusals {
		all.Go(func() {
			_, refusal := h.Join(alice, fmt.Sprintf("#irc_local_#no%s:localhost", numeric))
			code := "M_FORBIDDEN"
			if numeric == "403" || numeric == "479" {
				code = "M_NOT_FOUND"
			}
			if !strings.Contains(refusal, text) || !strings.Contains(refusal, code) || !strings.Contains(refusal, numeric) {
				t.Errorf("%s: %q", numeric, refusal)
			}
		})
	}
	all.Wait()
	if status := service.Status(context.Background()); status.Bridge.Portals != 0 || status.Networks[0].Channels != 0 {
		t.Errorf("there are %d rooms, and %d channels", status.Bridge.Portals, status.Networks[0].Channels)
	}
}

func TestForwardsLeadNobodyAway(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#new")
	server.Forward("#old", "#new")
	_, refusal := h.Join(alice, "#irc_local_#old:localhost")
	if !strings.Contains(refusal, "forwards #old to #new") {
		t.Errorf("the join is refused with %q", refusal)
	}
	bob.Expect(":trestle!", "JOIN #new")
	bob.Expect(":trestle!", "PART #new")
	// Nor is a person who is in the room already moved.
	bob.Join("#lobby")
	room, refusal := h.Join(alice, "#irc_local_#lobby:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	bob.Expect(":alice!", "JOIN #lobby")
	server.Forward("#lobby", "#new")
	h.Member(room, carol, carol, "join", "")
	bob.Expect(":carol!", "JOIN #new")
	bob.Expect(":carol!", "PART #new")
	if e := h.WaitMembership(room, carol, "leave"); !strings.Contains(e.Reason(), "forwards #lobby to #new") {
		t.Errorf("carol is removed with %s", e.Content)
	}
}

func TestForwardsCanBeFollowed(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, func(n *irc.Network) { n.FollowForwards = true })
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#new")
	server.Forward("#old", "#new")
	server.Forward("#round", "#round2")
	server.Forward("#round2", "#round")
	room, refusal := h.Join(alice, "#irc_local_#old:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	told(h, room, "#old forwards to #new")
	h.WaitMembership(room, ghost("bob"), "join")
	bob.Expect(":alice!", "JOIN #new")
	if same, _ := h.Join(carol, "#irc_local_#new:localhost"); same != room {
		t.Errorf("#new is %s, #old is %s", same, room)
	}
	h.Say(room, alice, "here")
	bob.Expect(":alice!", "PRIVMSG #new :here")
	// However often somebody asks, the room is told once.
	direct := h.Direct(carol)
	for _, asked := range []string{"join #old", "join #OLD"} {
		h.Say(direct, carol, asked)
		told(h, direct, strings.TrimPrefix(asked, "join ")+" is the room")
	}
	h.Say(room, alice, "still here")
	bob.Expect(":alice!", "PRIVMSG #new :still here")
	bob.Say("#new", "yes")
	h.WaitBody(room, ghost("bob"), "yes")
	if notices := h.Events(room, func(e fakehomeserver.Event) bool { return e.Sender == bot && strings.Contains(e.Body(), "forwards to") }); len(notices) != 1 {
		t.Errorf("the room is told %d times", len(notices))
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, func(n *irc.Network) {
		n.Mappings = []irc.Mapping{{Channel: "#Club", Key: "sesame", Alias: "#club:localhost"}}
	})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#club")
	bob.Join("#secret")
	bob.Send("MODE #club +k sesame")
	bob.Send("MODE #secret +k open")
	bob.Expect("MODE #secret +k")
	// The operator's key is for all, and the operator's alias is one more.
	room, refusal := h.Join(alice, "#club:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	if same, refusal := h.Join(alice, "#irc_local_#CLUB:localhost"); same != room {
		t.Errorf("the other alias leads to %q, %s", same, refusal)
	}
	bob.Expect(":alice!", "JOIN #club")

	// A key that somebody brings is for those who know it, or are invited.
	if _, refusal := h.Join(alice, "#irc_local_#secret:localhost"); !strings.Contains(refusal, "wrong channel key") {
		t.Errorf("without a key: %q", refusal)
	}
	direct := h.Direct(alice)
	h.WaitMembership(direct, bot, "join")
	h.Say(direct, alice, "join #secret shut")
	told(h, direct, "wrong channel key")
	h.Say(direct, alice, "join #secret open")
	told(h, direct, "You are invited")
	waitState(h, h.Resolve("#irc_local_#secret:localhost"), "m.room.join_rules", `"invite"`)
	h.Member(h.Resolve("#irc_local_#secret:localhost"), alice, alice, "join", "")
	bob.Expect(":alice!", "JOIN #secret")
	other := h.Direct(carol)
	h.WaitMembership(other, bot, "join")
	h.Say(other, carol, "join #secret")
	told(h, other, "for those who are invited")
	h.Say(other, carol, "join #secret open")
	told(h, other, "You are invited")
}

func TestRedactions(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob", "CAP REQ :message-tags echo-message draft/message-redaction")
	bob.Join("#trestle")
	room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	bob.Expect(":alice!", "JOIN")
	// From Matrix: all that a long message has become.
	long := h.Say(room, alice, strings.Repeat("It was not meant so. ", 40))
	var ids []string
	for len(ids) < 2 {
		ids = append(ids, tag(bob.Expect(":alice!", "PRIVMSG #trestle"), "msgid"))
	}
	h.Say(room, alice, "end")
	bob.Expect(":alice!", ":end")
	bob.Say("#trestle", "fence")
	fence := h.WaitBody(room, ghost("bob"), "fence")
	h.Send(room, alice, "m.room.redaction", nil, fmt.Sprintf(`{"redacts":%q,"reason":"a slip"}`, long))
	for _, id := range ids {
		bob.Expect(":alice!", "REDACT #trestle "+id+" :a slip")
	}
	// What IRC refuses is told; bob is an operator, and alice is none.
	h.Send(room, alice, "m.room.redaction", nil, fmt.Sprintf(`{"redacts":%q}`, fence.ID))
	told(h, room, "not authorised to delete")
	// From IRC: one's own, and an operator's.
	said := server.History("#trestle")
	bob.Send("REDACT #trestle " + said[len(said)-1].Tags["msgid"] + " :not so")
	h.Wait(room, "bob's redaction", func(e fakehomeserver.Event) bool {
		return e.Type == "m.room.redaction" && e.Sender == ghost("bob") && strings.Contains(string(e.Content), fence.ID) && strings.Contains(string(e.Content), "not so")
	})
	end := h.Events(room, func(e fakehomeserver.Event) bool { return e.Body() == "end" })[0]
	bob.Send("REDACT #trestle " + said[len(said)-2].Tags["msgid"])
	h.Wait(room, "the operator's redaction", func(e fakehomeserver.Event) bool {
		return e.Type == "m.room.redaction" && e.Sender == bot && strings.Contains(string(e.Content), end.ID)
	})
	if n := len(h.Events(room, func(e fakehomeserver.Event) bool { return e.Type == "m.room.redaction" })); n != 4 {
		t.Errorf("there are %d redactions, of which two are alice's", n)
	}
}

// Who talks to somebody alone takes back what they have said there, from either side.
func TestRedactionsBetweenTwo(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob", "CAP REQ :message-tags echo-message draft/message-redaction")
	bob.Join("#trestle")
	h.Register(alice, "alice")
	room := h.DirectWith(alice, ghost("bob"))
	h.WaitMembership(room, ghost("bob"), "join")
	mine := h.Say(room, alice, "a secret")
	id := tag(bob.Expect(":alice!", "PRIVMSG bob :a secret"), "msgid")
	bob.Say("alice", "oh")
	his := tag(bob.Expect(":bob!", "PRIVMSG alice :oh"), "msgid")
	oh := h.WaitBody(room, ghost("bob"), "oh")
	bob.Say("alice", "the bridge has written that down when this is there")
	h.WaitBody(room, ghost("bob"), "the bridge has written that down when this is there")
	h.Send(room, alice, "m.room.redaction", nil, fmt.Sprintf(`{"redacts":%q,"reason":"not for you"}`, mine))
	bob.Expect(":alice!", "REDACT bob "+id+" :not for you")
	bob.Send("REDACT alice " + his + " :a slip")
	h.Wait(room, "bob's redaction", func(e fakehomeserver.Event) bool {
		return e.Type == "m.room.redaction" && e.Sender == ghost("bob") && strings.Contains(string(e.Content), oh.ID) && strings.Contains(string(e.Content), "a slip")
	})
	// What bob takes back of somebody else's, or what nobody knows, is nothing to alice.
	bob.Send("REDACT alice unknown")
	bob.Expect("FAIL REDACT UNKNOWN_MSGID")
	if n := len(h.Events(room, func(e fakehomeserver.Event) bool { return e.Type == "m.room.redaction" })); n != 2 {
		t.Errorf("there are %d redactions, of which one is alice's", n)
	}
}

// tag is the value of a line's tag.
func tag(line, name string) string {
	_, rest, _ := strings.Cut(line, name+"=")
	end := strings.IndexAny(rest, "; ")
	return rest[:max(end, 0)]
}

func TestFiftyJoinsAreOneRoom(t *testing.T) {
	t.Parallel()
	t.Run("ngircd", func(t *testing.T) {
		fiftyJoins(t, testkit.Ngircd(t, testkit.IRCOptions{}).Addr, "#many", "#MANY", "#Many", "#mAnY")
	})
	t.Run("inspircd", func(t *testing.T) {
		fiftyJoins(t, testkit.Inspircd(t, testkit.IRCOptions{}).Addr, `#m{a}|n^`, `#M[A]\N~`, `#m{A]|N~`, `#M[a}\n^`)
	})
	t.Run("rfc1459", func(t *testing.T) {
		fiftyJoins(t, ircv3.Start(t, ircv3.Options{}).Addr, "#many{^", "#MANY{~", "#Many[^", "#mAnY[~")
	})
}

// fiftyJoins are at the same time, before the bot is connected.
func fiftyJoins(t *testing.T, addr string, spellings ...string) {
	h := fakehomeserver.New(t)
	c := config(h, addr, t.TempDir())
	c.Networks[0].Channels = nil
	start(t, h, c)
	h.Register(alice, "alice")
	var mu sync.Mutex
	rooms := map[string]int{}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			room, refusal := h.Join(alice, "#irc_local_"+spellings[i%len(spellings)]+":localhost")
			mu.Lock()
			defer mu.Unlock()
			if rooms[room]++; refusal != "" {
				t.Error(refusal)
			}
		})
	}
	all.Wait()
	if len(rooms) != 1 {
		t.Errorf("there are %d rooms: %v", len(rooms), rooms)
	}
}

func TestNamesThatLookOdd(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Channels = nil
	_, stop := start(t, h, c)
	h.Register(alice, "alice")
	bob := testkit.DialIRC(t, server.Addr, "bob")
	for channel, alias := range map[string]string{
		"#a/b": "#a/b", "#c++": "#c++", "&local": "&local", "+free": "+free", "#q=3d": "#q=3d3d", "#été": "#été",
		"##-[]{}": "##-[]{}", "#\xff": "#=ff",
	} {
		bob.Join(channel)
		room, refusal := h.Join(alice, "#irc_local_"+alias+":localhost")
		if refusal != "" {
			t.Errorf("%q: %s", channel, refusal)
			continue
		}
		bob.Expect(":alice!", "JOIN", channel)
		h.Say(room, alice, "in "+alias)
		bob.Expect(":alice!", "PRIVMSG "+channel+" :in "+alias)
		bob.Say(channel, "and back")
		h.WaitBody(room, ghost("bob"), "and back")
	}
	stop()
	bob.Expect(":alice!", "QUIT")
	start(t, h, c)
	for range 8 { // the bridge knows them all again
		bob.Expect(":alice!", "JOIN")
	}
}
