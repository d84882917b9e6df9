package irc_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/ircv3"
)

func TestNothingIsNoMessage(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	for _, text := range []string{"", " ", "\x02\x02", "\x0304,05", "\x0f", "\x01\x01", "\x01DCC SEND x 1 2 3\x01", "\x01VERSION\x01", "\x01ACTION \x01", "\x01ACTION\x01", "\x01"} {
		bob.Say("#trestle", text)
	}
	bob.Say("#trestle", "hello")
	h.WaitBody(room, ghost("bob"), "hello")
	for _, e := range h.Events(room, isMessage) {
		if e.Body() != "hello" {
			t.Errorf("the room has %s", e.Content)
		}
	}
	for _, text := range []string{"", " ", "\x01", "\x02\x03", "\n\n", "\r"} {
		h.Say(room, alice, text)
	}
	h.Say(room, alice, "end")
	if line := bob.Expect(":alice!", "PRIVMSG"); !strings.HasSuffix(line, ":end") {
		t.Errorf("alice says %q", line)
	}
}

func TestManyModesFit(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	bob.Send("MODE #trestle +o alice")
	waitLevels(t, h, room, "alice's power", func(l levels) bool { return l.Users[alice] == 50 })
	changes := map[string]int{}
	for i := range 20 {
		nick := fmt.Sprintf("%s%02d", strings.Repeat("n", 28), i)
		testkit.DialIRC(t, server.Addr, nick).Join("#trestle")
		h.WaitMembership(room, ghost(nick), "join")
		changes[ghost(nick)] = 50
	}
	sendLevels(h, room, alice, changes)
	missing := len(changes)
	for missing > 0 {
		line := bob.Expect(":alice!", "MODE #trestle +o")
		missing -= strings.Count(line, " nnn")
	}
}

func TestNewHostsAreLookedAt(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bans")
	if err := os.WriteFile(file, []byte("irc *!*@evil.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h, server, _ := onOurs(t, func(n *irc.Network) { n.BanFile = file })
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	h.WaitMembership(room, ghost("bob"), "join")
	server.Inject("trestle", ":bob!bob@127.0.0.1 CHGHOST bob evil.example")
	h.WaitMembership(room, ghost("bob"), "leave")
	server.Inject("trestle", ":bob!bob@evil.example CHGHOST bob good.example")
	h.WaitMembership(room, ghost("bob"), "join")
}

func TestInvitationsOfOthersAreTheirs(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	for _, channel := range []string{"#theirs", "#ours"} {
		bob.Join(channel)
		if _, refusal := h.Join(carol, "#irc_local_"+channel+":localhost"); refusal != "" {
			t.Fatal(refusal)
		}
	}
	join(t, h, alice, "alice", bob)
	server.Inject("alice", ":bob!bob@127.0.0.1 INVITE dave #theirs")
	bob.Send("INVITE alice #ours")
	if room := invitation(t, h, alice); room != h.Resolve("#irc_local_#ours:localhost") {
		t.Error("alice is invited where dave is")
	}
}

// However long a reason is, what it is the reason of happens.
func TestLongReasons(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	long := strings.Repeat("Слишком длинно. ", 100)
	room := join(t, h, alice, "alice", bob)
	bob.Send("MODE #trestle +o alice")
	waitLevels(t, h, room, "alice's power", func(l levels) bool { return l.Users[alice] == 50 })
	for _, nick := range []string{"dave", "erin"} {
		testkit.DialIRC(t, server.Addr, nick).Join("#trestle")
		h.WaitMembership(room, ghost(nick), "join")
	}
	empty := ""
	h.Send(room, alice, "m.room.topic", &empty, fmt.Sprintf(`{"topic":%q}`, long))
	bob.Expect(":alice!", "TOPIC #trestle :Слишком")
	h.Member(room, alice, ghost("dave"), "leave", long)
	bob.Expect(":alice!", "KICK #trestle dave :Слишком")
	h.Member(room, alice, ghost("erin"), "ban", long)
	bob.Expect(":alice!", "MODE #trestle +b")
	bob.Expect(":alice!", "KICK #trestle erin :Banned by")
	h.Member(room, alice, alice, "leave", long)
	bob.Expect(":alice!", "PART #trestle :Слишком")
}

// A room is told that the bot is not let back into its channel.
func TestARoomWhoseChannelIsShut(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	server.Refuse("#trestle", "474", "You are banned")
	server.Disconnect("trestle")
	told(h, room, "does not let the bridge into #trestle: You are banned.")
}

// A message says what it has: a file or a place without a name, or an edit without the new text.
func TestMessagesWithLittleInThem(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	for content, want := range map[string]string{
		`{"msgtype":"m.image","body":"","url":"mxc://localhost/a"}`:                                                       "sent file: http",
		`{"msgtype":"m.file","url":"mxc://localhost/a"}`:                                                                  "sent file: http",
		`{"msgtype":"m.location","geo_uri":"geo:48.8,2.3"}`:                                                               "(48.8,2.3)",
		`{"msgtype":"m.text","body":"* one","m.new_content":{},"m.relates_to":{"rel_type":"m.replace","event_id":"$x"}}`:  "* one",
		`{"msgtype":"m.text","body":"* two","m.new_content":"x","m.relates_to":{"rel_type":"m.replace","event_id":"$x"}}`: "* two",
		`{"body":"no type"}`: "no type",
		`{"msgtype":"m.text","body":"broken","m.relates_to":{"m.in_reply_to":5},"m.mentions":7,"format":5,"formatted_body":["x"]}`: "broken",
	} {
		m.send("%s", content)
		if line := m.bob.Expect(":alice!", "PRIVMSG #trestle :"); !strings.Contains(line, "PRIVMSG #trestle :"+want) {
			t.Errorf("%s becomes %q", content, line)
		}
	}
	m.Send(m.room, alice, "m.sticker", nil, `{"url":"mxc://localhost/cat"}`)
	m.bob.Expect(":alice!", "PRIVMSG #trestle :[sticker]")
}

// Nobody edits what others have said, whatever the homeserver lets through.
func TestEditsOfWhatOthersHaveSaid(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	m.Member(m.room, carol, carol, "join", "")
	m.bob.Expect(":carol!", "JOIN")
	m.bob.Say("#trestle", "I like tea")
	bobs := m.WaitBody(m.room, ghost("bob"), "I like tea").ID
	alices := m.send(`{"msgtype":"m.text","body":"I like milk"}`)
	m.bob.Expect(":alice!", "I like milk")
	edit := func(by, event, body string) {
		m.Send(m.room, by, "m.room.message", nil, fmt.Sprintf(
			`{"msgtype":"m.text","body":"* x","m.new_content":{"msgtype":"m.text","body":%q},"m.relates_to":{"rel_type":"m.replace","event_id":%q}}`, body, event))
	}
	edit(carol, bobs, "I like beer")
	edit(carol, alices, "I like rum")
	edit(alice, alices, "I like cream")
	if line := m.bob.Expect("PRIVMSG #trestle :"); !strings.Contains(line, ":alice!") || !strings.HasSuffix(line, ":s/milk/cream/") {
		t.Errorf("IRC hears %q", line)
	}
}
