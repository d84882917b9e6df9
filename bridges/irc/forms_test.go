package irc_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// People who know other bridges say things as those want them.
func TestCommandsInTheFormOfOtherBridges(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	bob.Join("#else")
	service, _ := start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	room := garden(h)
	k := newTalk(t, h)
	k.says("!active")
	k.hears("no connection")
	k.says("!plumb " + room + " elsewhere #trestle")
	k.hears("Say which channel")
	k.says("!plumb " + room + " Local #trestle")
	k.hears("I have asked on Local")
	code, _ := questionTo(t, bob)
	bob.Say("trestle", "yes "+code)
	bob.Expect(":trestle!", "NOTICE bob", "#trestle is linked")
	h.Say(room, alice, "hello")
	bob.Expect(":alice!", "PRIVMSG #trestle :hello")
	before := service.LastUse("local", alice)
	k.says("!active")
	k.hears("to Local counts as used now")
	if after := service.LastUse("local", alice); !after.After(before) {
		t.Errorf("the last use was at %s, and is at %s", before, after)
	}
	k.says("!active nowhere")
	k.hears("There is no network")
	k.says("!unlink " + room + " local #else")
	k.hears("not linked with #else on Local")
	k.says("!UNPLUMB " + room + " local #Trestle")
	k.hears("has ended the link with #trestle")
	h.WaitMembership(room, bot, "leave")
}

// A command that is a reply, or a correction, is one, and nothing for the channel: there can be a secret in it.
func TestCommandsInRepliesAndCorrections(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	bob.Say("#trestle", "what do you use?")
	said := h.WaitBody(room, ghost("bob"), "what do you use?").ID
	for _, content := range []string{
		`{"msgtype":"m.text","body":"!Irc storepass hunter2"}`,
		`{"msgtype":"m.text","body":"!storepass hunter2"}`,
		`{"msgtype":"m.text","body":"> <@irc_local_bob:localhost> what do you use?\n\n!irc storepass hunter2","m.relates_to":{"m.in_reply_to":{"event_id":"` + said + `"}}}`,
		`{"msgtype":"m.text","body":"!irc storepass hunter2","m.relates_to":{"m.in_reply_to":{"event_id":"` + said + `"}}}`,
		`{"msgtype":"m.text","body":"* !irc storepass hunter2","m.new_content":{"msgtype":"m.text","body":"!irc storepass hunter2"},"m.relates_to":{"rel_type":"m.replace","event_id":"` + said + `"}}`,
	} {
		redacted(t, h, room, h.Send(room, alice, "m.room.message", nil, content))
	}
	h.Say(room, alice, "after")
	if line := bob.Expect(":alice!", "PRIVMSG #trestle"); !strings.HasSuffix(line, ":after") {
		t.Errorf("IRC hears %q", line)
	}
}
