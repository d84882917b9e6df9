package ircv3_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/ircv3"
)

func TestRelayedMessages(t *testing.T) {
	s := ircv3.Start(t, ircv3.Options{Relay: true, RelaySeparators: "/"})
	bob := testkit.DialIRC(t, s.Addr, "bob", "CAP REQ :message-tags echo-message draft/relaymsg")
	old := testkit.DialIRC(t, s.Addr, "old")
	bob.Join("#trestle")
	old.Join("#trestle")
	for nick, code := range map[string]string{"alice": "INVALID_NICK", "a!b/m": "INVALID_NICK", "alice/m": "BLANK_MSG"} {
		text := "hi"
		if code == "BLANK_MSG" {
			text = ""
		}
		bob.Send("RELAYMSG #trestle " + nick + " :" + text)
		bob.Expect("FAIL RELAYMSG " + code)
	}
	bob.Send("RELAYMSG #trestle alice/m :hi there")
	bob.Expect("@draft/relaymsg=bob;msgid=", ":alice/m!relay@", "PRIVMSG #trestle :hi there")
	if line := old.Expect("hi there"); !strings.HasPrefix(line, ":alice/m!relay@irc.test PRIVMSG #trestle :") {
		t.Errorf("old gets %q", line)
	}
	old.Send("RELAYMSG #trestle alice/m :hi")
	old.Expect(" 421 ")
	eve := testkit.DialIRC(t, s.Addr, "eve", "CAP REQ draft/relaymsg")
	eve.Join("#trestle")
	eve.Send("RELAYMSG #trestle alice/m :hi")
	eve.Expect("FAIL RELAYMSG PRIVS_NEEDED")
}
