package irc_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

var empty = ""

// garden makes a room of alice's, in which carol is, too; the bridge's user is invited.
func garden(h *fakehomeserver.Homeserver) (room string) {
	room = plot(h)
	h.Member(room, alice, bot, "invite", "")
	h.WaitMembership(room, bot, "join")
	return room
}

// plot is the room without the bridge.
func plot(h *fakehomeserver.Homeserver) (room string) {
	h.Register(alice, "alice")
	h.Register(carol, "carol")
	room = h.Room(alice, "#garden:localhost")
	for kind, content := range map[string]string{
		"m.room.power_levels": `{"users":{"@alice:localhost":100}}`, "m.room.join_rules": `{"join_rule":"public"}`, "m.room.name": `{"name":"The garden"}`,
		"m.room.history_visibility": `{"history_visibility":"shared"}`, "m.room.topic": `{"topic":"Roses"}`, "m.room.canonical_alias": `{"alias":"#garden:localhost"}`,
	} {
		h.Send(room, alice, kind, &empty, content)
	}
	h.Member(room, carol, carol, "join", "")
	return room
}

var codePattern = regexp.MustCompile(`answer here: yes (\d+)( public)? `)

// question waits until somebody is asked for consent, and returns the code.
func questionTo(t *testing.T, op *testkit.IRCClient) (code string, public bool) {
	t.Helper()
	found := codePattern.FindStringSubmatch(op.Expect(":trestle!", "PRIVMSG", "answer here: yes "))
	if found == nil {
		t.Fatal("the question has no code")
	}
	return found[1], found[2] != ""
}

// linked links alice's room with #trestle, by bob's consent.
func linked(t *testing.T, h *fakehomeserver.Homeserver, room string, bob *testkit.IRCClient) {
	t.Helper()
	h.Say(room, alice, "!irc plumb #trestle by bob")
	told(h, room, "I have asked")
	code, _ := questionTo(t, bob)
	bob.Say("trestle", "yes "+code)
	bob.Expect(":trestle!", "NOTICE bob", "is linked")
	told(h, room, "is linked with #trestle")
}

// unheard makes sure that a room has nothing with this text, once the bridge has worked off what was said.
func unheard(t *testing.T, h *fakehomeserver.Homeserver, room string, bob *testkit.IRCClient, text string) {
	t.Helper()
	stored(t, bob)
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return e.Sender != alice && strings.Contains(e.Body(), text) }) {
		t.Errorf("the room has %s", e.Content)
	}
}

func TestARoomIsLinkedByTheConsentOfAnOperator(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob, mallory := testkit.DialIRC(t, server.Addr, "bob"), testkit.DialIRC(t, server.Addr, "mallory")
		bob.Join("#trestle")
		mallory.Join("#trestle")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		room := garden(h)
		bob.Say("#trestle", "before")

		h.Say(room, alice, "!irc plumb #trestle by mallory")
		told(h, room, "mallory is no operator of #trestle")
		h.Say(room, carol, "!irc plumb #trestle by bob")
		told(h, room, "for moderators of the room")
		h.Say(room, alice, "!irc plumb #trestle by bob")
		bob.Expect(":trestle!", "@alice:localhost wants to link #trestle with the Matrix room “The garden”", "3 are there, and anybody may join it")
		code, public := questionTo(t, bob)
		if public {
			t.Error("the room is not for everybody")
		}
		mallory.Say("trestle", "yes "+code)
		mallory.Expect(":trestle!", "NOTICE mallory", "You are no operator")
		bob.Say("trestle", "yes 1")
		bob.Expect(":trestle!", "NOTICE bob", "No question with that code")
		bob.Say("trestle", "YES "+code)
		bob.Expect(":trestle!", "NOTICE bob", "#trestle is linked")
		told(h, room, "is linked with #trestle")
		h.WaitMembership(room, ghost("bob"), "join")

		bob.Say("#trestle", "hello garden")
		h.WaitBody(room, ghost("bob"), "hello garden")
		h.Say(room, alice, "hello channel")
		bob.Expect(":alice!", "JOIN")
		bob.Expect(":alice!", "PRIVMSG #trestle :hello channel")
		unheard(t, h, room, bob, "before")

		// The room is its people's: a topic, a ban and a kick of IRC do nothing there.
		bob.Send("TOPIC #trestle :Weeds")
		bob.Send("MODE #trestle +im")
		bob.Send("KICK #trestle alice :out")
		bob.Expect("KICK #trestle alice")
		bob.Send("MODE #trestle -im")
		bob.Say("#trestle", "still here")
		h.WaitBody(room, ghost("bob"), "still here")
		if h.Membership(room, alice) != "join" || h.Membership(room, carol) != "join" {
			t.Error("somebody was removed from their own room")
		}
		changed := h.Events(room, func(e fakehomeserver.Event) bool {
			return e.StateKey != nil && e.Type != "m.room.member" && e.Sender != alice && !strings.HasSuffix(e.Type, ".bridge") // which says what is linked
		})
		for _, e := range changed {
			t.Errorf("the bridge has changed the room: %s %s", e.Type, e.Content)
		}
		h.Say(room, alice, "back")
		bob.Expect(":alice!", "PRIVMSG #trestle :back")

		mallory.Say("trestle", "unlink #trestle")
		mallory.Expect(":trestle!", "NOTICE mallory", "You are no operator")
		bob.Say("trestle", "unlink #trestle")
		mallory.Expect(":alice!", "PART #trestle")
		bob.Expect(":trestle!", "NOTICE bob", "The link has ended")
		bob.Say("#trestle", "a secret")
		h.Say(room, alice, "anybody?")
		h.WaitMembership(room, ghost("bob"), "leave")
		h.WaitMembership(room, bot, "leave")
		unheard(t, h, room, bob, "a secret")
		told(h, room, "bob has ended the link with #trestle on IRC")
	})
}

// operators is a channel on our own server in which bob is an operator and dave is not.
func operators(t *testing.T, change func(*irc.Network)) (h *fakehomeserver.Homeserver, room string, bob, dave *testkit.IRCClient) {
	t.Helper()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	bob, dave = testkit.DialIRC(t, server.Addr, "bob"), testkit.DialIRC(t, server.Addr, "dave")
	bob.Join("#trestle") // before the bot does
	dave.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	if change != nil {
		change(&c.Networks[0])
	}
	start(t, h, c)
	return h, garden(h), bob, dave
}

func TestOnlyWhoIsAnOperatorAtThatMomentConsents(t *testing.T) {
	t.Parallel()
	h, room, bob, dave := operators(t, nil)
	h.Say(room, alice, "!irc plumb #trestle")
	code, _ := questionTo(t, bob)
	// Bob loses his status, and dave takes his name.
	bob.Send("MODE #trestle +o dave")
	bob.Send("MODE #trestle -o bob")
	bob.Expect("MODE #trestle -o bob")
	bob.Say("trestle", "yes "+code)
	bob.Expect("NOTICE bob", "You are no operator")
	dave.Send("NICK other")
	dave.Expect(":dave!", "NICK")
	bob.Send("NICK dave")
	bob.Expect("NICK", "dave")
	bob.Say("trestle", "yes "+code)
	bob.Expect("NOTICE dave", "You are no operator")
	dave.Say("trestle", "yes "+code)
	dave.Expect("NOTICE other", "is linked")
	// Who was an operator can't end it; a moderator of the room can.
	bob.Say("trestle", "unlink #trestle")
	bob.Expect("NOTICE dave", "You are no operator")
	h.Say(room, carol, "!irc unlink")
	told(h, room, "for moderators")
	h.Say(room, alice, "!irc unlink")
	h.WaitMembership(room, bot, "leave")
}

func TestOperatorsRefuse(t *testing.T) {
	t.Parallel()
	h, room, bob, _ := operators(t, func(n *irc.Network) { n.PlumbWait = time.Minute })
	h.Say(room, alice, "!irc plumb #trestle by bob")
	code, _ := questionTo(t, bob)
	h.Say(room, alice, "!irc plumb #trestle by bob")
	told(h, room, "is being linked, or is linked already")
	bob.Say("trestle", "no "+code)
	bob.Expect("NOTICE bob", "Nothing is linked")
	told(h, room, "bob refuses to have #trestle linked")
	bob.Say("trestle", "yes "+code)
	bob.Expect("NOTICE bob", "No question with that code")
	h.Say(room, alice, "!irc plumb #trestle by bob")
	told(h, room, "has refused a short time ago")
	h.Say(room, alice, "!irc plumb #nobody by bob")
	told(h, room, "bob is no operator of #nobody")
	h.Say(room, alice, "!irc plumb #nobody by bob")
	h.Say(room, alice, "!irc plumb #nobody by bob")
	h.Wait(room, "that it is enough", func(e fakehomeserver.Event) bool {
		return e.Sender == bot && strings.Contains(strings.ToLower(e.Body()), "too")
	})
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	h, room, bob, _ := operators(t, func(n *irc.Network) { n.PlumbWait, n.Channels = 300*time.Millisecond, nil })
	h.Say(room, alice, "!irc plumb #trestle by bob")
	code, _ := questionTo(t, bob)
	told(h, room, "No operator of #trestle has answered in time")
	bob.Expect(":trestle!", "PART #trestle")
	bob.Say("trestle", "yes "+code)
	bob.Expect("NOTICE bob", "No question with that code")
}

func TestARoomForEverybodyIsSaidToBe(t *testing.T) {
	t.Parallel()
	h, room, bob, _ := operators(t, nil)
	world := func(visibility string) {
		h.Send(room, alice, "m.room.history_visibility", &empty, fmt.Sprintf(`{"history_visibility":%q}`, visibility))
	}
	linked(t, h, room, bob)
	world("world_readable")
	h.WaitMembership(room, bot, "leave")
	told(h, room, "Everybody can read this room now")
	bob.Say("#trestle", "a secret")
	unheard(t, h, room, bob, "a secret")

	h.Member(room, alice, bot, "invite", "")
	h.WaitMembership(room, bot, "join")
	h.Say(room, alice, "!irc plumb #trestle by bob")
	bob.Expect("PRIVMSG bob", "can be read by EVERYBODY")
	code, public := questionTo(t, bob)
	if !public {
		t.Error("the question does not want it to be said")
	}
	bob.Say("trestle", "yes "+code)
	bob.Expect("NOTICE bob", "Everybody can read that room")
	bob.Say("trestle", "yes "+code+" public")
	bob.Expect("NOTICE bob", "is linked")
	bob.Say("#trestle", "for all")
	h.WaitBody(room, ghost("bob"), "for all")
}

func TestARoomThatHasOpenedWhileTheBridgeWasAway(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	c := config(h, server.Addr, t.TempDir())
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := garden(h)
	linked(t, h, room, bob)
	stop()
	h.Open(room)
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	bob.Say("#trestle", "a secret")
	h.WaitMembership(room, bot, "leave")
	unheard(t, h, room, bob, "a secret")
}

func TestRoomsThatCannotBeLinked(t *testing.T) {
	t.Parallel()
	h, room, bob, _ := operators(t, nil)
	direct := h.Direct(alice)
	h.WaitMembership(direct, bot, "join")
	try := func(in, what, want string) {
		t.Helper()
		h.Say(in, alice, what)
		told(h, in, want)
	}
	try(direct, "plumb #trestle", "Say which room")
	try(direct, "unlink", "Say which room")
	try(direct, "unlink in #garden:localhost", "No channel is linked")
	h.Send(room, alice, "m.room.encryption", &empty, `{"algorithm":"m.megolm.v1.aes-sha2"}`)
	try(direct, "plumb #trestle in #garden:localhost by bob", "is encrypted")
	portal, refusal := h.Join(carol, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	shed := h.Room(alice, "#shed:localhost")
	h.Send(shed, alice, "m.room.power_levels", &empty, `{"users":{"@alice:localhost":60},"events_default":10}`)
	try(direct, "plumb #trestle in #shed:localhost by bob", "could not speak in the room")
	h.Send(shed, alice, "m.room.power_levels", &empty, `{"users":{"@alice:localhost":60},"invite":50}`)
	try(direct, "plumb #trestle in #shed:localhost by bob", "the power to invite")
	h.Send(shed, alice, "m.room.power_levels", &empty, `{"users":{"@alice:localhost":60}}`)
	key := "org.example.irc://irc/trestle"
	h.Send(shed, alice, "uk.half-shot.bridge", &key, `{"protocol":{"id":"irc"},"network":{"id":"local"},"channel":{"id":"#trestle"}}`)
	try(direct, "plumb #trestle in #shed:localhost by bob", "is linked with #trestle already, by "+alice)
	h.Send(shed, alice, "uk.half-shot.bridge", &key, `{}`)
	try(direct, "plumb #trestle in #shed:localhost by bob", "has a room already, in which there are people")
	// A room that the bridge has made and that everybody has left makes way.
	h.Member(portal, carol, carol, "leave", "")
	bob.Expect(":carol!", "PART #trestle")
	h.Register("@erin:localhost", "erin")
	h.Send(shed, alice, "m.room.power_levels", &empty, `{"users":{"@erin:localhost":60}}`)
	h.Member(shed, "@erin:localhost", "@erin:localhost", "join", "")
	hers := h.Direct("@erin:localhost")
	h.WaitMembership(hers, bot, "join")
	h.Say(hers, "@erin:localhost", "plumb #trestle in #shed:localhost by bob")
	told(h, hers, "I have asked")
	code, _ := questionTo(t, bob)
	bob.Say("trestle", "yes "+code)
	bob.Expect("NOTICE bob", "is linked")
	h.WaitMembership(portal, bot, "leave")
	if room := h.Resolve("#irc_local_#trestle:localhost"); room != "" {
		t.Errorf("the alias still leads to %s", room)
	}
	bob.Say("#trestle", "new home")
	h.WaitBody(shed, ghost("bob"), "new home")
	// Its alias leads nobody into a room of others, and the command invites nobody.
	if _, refusal := h.Join(carol, "#irc_local_#trestle:localhost"); !strings.Contains(refusal, "M_FORBIDDEN") || !strings.Contains(refusal, "linked with a room") {
		t.Errorf("joining by the alias: %q", refusal)
	}
	theirs := h.Direct(carol)
	h.WaitMembership(theirs, bot, "join")
	h.Say(theirs, carol, "join #trestle")
	told(h, theirs, "linked with a room of others")
	// Who takes the bridge out ends the link.
	h.Member(shed, alice, bot, "leave", "")
	told(h, hers, "The bridge was taken out of the room")
}

func TestPortalsCanBeOff(t *testing.T) {
	t.Parallel()
	h, room, bob, _ := operators(t, func(n *irc.Network) {
		n.NoPortals = true
		n.Mappings = []irc.Mapping{{Channel: "#Club", Key: "sesame", Alias: "#club:localhost"}}
	})
	bob.Join("#club")
	bob.Send("MODE #club +k sesame")
	bob.Expect("MODE #club +k")
	if _, refusal := h.Join(alice, "#irc_local_#trestle:localhost"); !strings.HasPrefix(refusal, "404 M_NOT_FOUND") || !strings.Contains(refusal, "no rooms of their own") {
		t.Errorf("joining a channel: %q", refusal)
	}
	if _, refusal := h.Join(alice, "#club:localhost"); refusal != "" {
		t.Errorf("joining what the operator has listed: %s", refusal)
	}
	bob.Expect(":alice!", "JOIN #club")
	linked(t, h, room, bob)
	bob.Say("#trestle", "hello")
	h.WaitBody(room, ghost("bob"), "hello")
}

func TestPlumbingCanBeOff(t *testing.T) {
	t.Parallel()
	h, room, _, _ := operators(t, func(n *irc.Network) { n.NoPlumbing = true })
	h.Say(room, alice, "!irc plumb #trestle")
	told(h, room, "cannot be linked")
}

// The bridge is killed after each step.
func TestALinkSurvivesBeingKilled(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	p := startProcess(t, h, server.Addr)
	bob.Expect(":trestle!", "JOIN")
	room := garden(h)
	again := func() {
		t.Helper()
		p.kill()
		bob.Expect(":trestle!", "QUIT")
		p.start()
		bob.Expect(":trestle!", "JOIN")
	}
	h.Say(room, alice, "!irc plumb #trestle")
	old, _ := questionTo(t, bob)
	again()
	code, _ := questionTo(t, bob) // he is asked once more, by another code
	told(h, room, "I have asked once more")
	if code != old {
		bob.Say("trestle", "yes "+old)
		bob.Expect("NOTICE bob", "No question with that code")
	}
	bob.Say("trestle", "yes "+code)
	p.kill() // it may have read that, and may have stored it, or not
	bob.Expect(":trestle!", "QUIT")
	p.start()
	bob.Expect(":trestle!", "JOIN")
	// If it was stored the room is linked now, and else he is asked again.
	line := bob.ExpectFunc("a link, or another question", func(line string) bool {
		found := codePattern.FindStringSubmatch(line)
		return found != nil && found[1] != code || strings.Contains(line, "NOTICE bob") && strings.Contains(line, "is linked")
	})
	if found := codePattern.FindStringSubmatch(line); found != nil {
		bob.Say("trestle", "yes "+found[1])
	}
	told(h, room, "is linked with #trestle")
	again()
	bob.Say("#trestle", "after the kill")
	h.WaitBody(room, ghost("bob"), "after the kill")
	bob.Say("trestle", "unlink #trestle")
	bob.Expect("NOTICE bob", "The link has ended")
	p.kill()
	bob.Expect(":trestle!", "QUIT")
	p.start()
	bob.Expect(":trestle!", "JOIN")
	bob.Say("#trestle", "a secret")
	h.WaitMembership(room, bot, "leave")
	h.WaitMembership(room, ghost("bob"), "leave")
	unheard(t, h, room, bob, "a secret")
}

// Where what is said is otherwise for those in the channel alone, the operator's consent is for the room as it is.
func TestALinkedRoomWaitsForNobody(t *testing.T) {
	t.Parallel()
	h, room, bob, _ := operators(t, func(n *irc.Network) { n.History, n.Hold = irc.HistoryJoined, 100*time.Millisecond })
	linked(t, h, room, bob)
	bob.Say("#trestle", "hello")
	h.WaitBody(room, ghost("bob"), "hello")
	bob.Send("MODE #trestle +b alice!*@*")
	bob.Expect("MODE #trestle +b")
	h.Say(room, alice, "let me in")
	h.Wait(room, "that alice is not heard", func(e fakehomeserver.Event) bool {
		return e.Sender == bot && strings.Contains(e.Body(), "did not reach IRC")
	})
	bob.Send("MODE #trestle -b alice!*@*")
	bob.Expect("MODE #trestle -b")
	h.Say(room, alice, "now")
	bob.Expect(":alice!", "PRIVMSG #trestle :now")
	bob.Say("#trestle", "welcome")
	h.WaitBody(room, ghost("bob"), "welcome")
	if h.Membership(room, alice) != "join" || h.Membership(room, carol) != "join" {
		t.Error("somebody was removed from their own room")
	}
	if now := h.Events(room, func(e fakehomeserver.Event) bool { return e.Type == "m.room.history_visibility" && e.Sender == bot }); len(now) > 0 {
		t.Errorf("the bridge has changed who may read the room: %s", now[0].Content)
	}
}

func TestWhatWaitsWhenALinkEndsIsNotSent(t *testing.T) {
	t.Parallel()
	h, room, bob, _ := operators(t, nil)
	linked(t, h, room, bob)
	bob.Say("#trestle", "hello")
	h.WaitBody(room, ghost("bob"), "hello")
	h.SetDown(true)
	for range 20 {
		bob.Say("#trestle", "a secret")
	}
	stored(t, bob)
	bob.Say("trestle", "unlink #trestle")
	bob.Expect("NOTICE bob", "The link has ended")
	h.SetDown(false)
	h.WaitMembership(room, bot, "leave")
	unheard(t, h, room, bob, "a secret")
	// It can be linked again.
	h.Member(room, alice, bot, "invite", "")
	h.WaitMembership(room, bot, "join")
	linked(t, h, room, bob)
	bob.Say("#trestle", "again")
	h.WaitBody(room, ghost("bob"), "again")
	unheard(t, h, room, bob, "a secret")
}

func TestAdminsEndLinks(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Admins = []string{"@erin:localhost"}
	start(t, h, c)
	room := garden(h)
	linked(t, h, room, bob)
	for _, user := range []string{carol, "@erin:localhost"} {
		h.Register(user, "")
		direct := h.Direct(user)
		h.WaitMembership(direct, bot, "join")
		h.Say(direct, user, "unlink in "+room)
		if user == carol {
			told(h, direct, "for moderators")
		} else {
			told(h, direct, "has ended the link with #trestle")
		}
	}
	h.WaitMembership(room, bot, "leave")
}

// The server has the last word, whatever the bot has seen before.
func TestTheServerIsAskedWhoIsAnOperator(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	start(t, h, config(h, server.Addr, t.TempDir()))
	room := garden(h)
	h.Say(room, alice, "!irc plumb #trestle")
	code, _ := questionTo(t, bob)
	server.Handle("NAMES", func(_ *ircv3.Server, c *ircv3.Client, _ *ircv3.Message) {
		c.Reply("353", "=", "#trestle", "bob trestle")
		c.Reply("366", "#trestle", "End of NAMES list")
	})
	bob.Say("trestle", "yes "+code)
	bob.Expect("NOTICE bob", "You are no operator")
	bob.Say("#trestle", "a secret")
	unheard(t, h, room, bob, "a secret")
}

// While a rule bans the room, its link rests; what happens to the room counts all the same.
func TestALinkThatRestsCanEnd(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	h.Register("@mod:localhost", "mod")
	rules := h.Room("@mod:localhost", "#rules:localhost")
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].PolicyRooms = []string{"#rules:localhost"}
	start(t, h, c)
	h.WaitMembership(rules, bot, "join")
	room := garden(h)
	linked(t, h, room, bob)
	rule(h, rules, "room", room, "m.ban")
	bob.Expect(":trestle!", "PART #trestle")
	rule(h, rules, "room", room, "")
	bob.Expect(":trestle!", "JOIN #trestle")
	bob.Say("#trestle", "resumed")
	h.WaitBody(room, ghost("bob"), "resumed")
	rule(h, rules, "room", room, "m.ban")
	bob.Expect(":trestle!", "PART #trestle")
	h.Send(room, alice, "m.room.history_visibility", &empty, `{"history_visibility":"world_readable"}`)
	h.WaitMembership(room, bot, "leave")
	rule(h, rules, "room", room, "")
	bob.Expect(":trestle!", "JOIN #trestle")
	bob.Say("#trestle", "a secret")
	unheard(t, h, room, bob, "a secret")
}
