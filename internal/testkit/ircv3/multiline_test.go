package ircv3_test

import (
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/ircv3"
)

func TestTextsOfSeveralLines(t *testing.T) {
	s := ircv3.Start(t, ircv3.Options{})
	bob := testkit.DialIRC(t, s.Addr, "bob", everything+" draft/multiline")
	eve := testkit.DialIRC(t, s.Addr, "eve", "CAP REQ :message-tags")
	bob.Join("#trestle")
	eve.Join("#trestle")
	for _, line := range []string{
		"@+reply=id0 BATCH +1 draft/multiline #trestle", "@batch=1 PRIVMSG #trestle :one", "@batch=1 PRIVMSG #trestle :",
		"@batch=1;draft/multiline-concat PRIVMSG #trestle :two", "BATCH -1",
	} {
		bob.Send(line)
	}
	bob.Expect("@+reply=id0;msgid=id", ":bob!bob@127.0.0.1 BATCH +", " draft/multiline #trestle")
	bob.Expect("@batch=", "PRIVMSG #trestle :one")
	bob.Expect("@batch=", ";draft/multiline-concat ", "PRIVMSG #trestle :two")
	bob.Expect("BATCH -")
	eve.Expect("@+reply=id0;msgid=id", "PRIVMSG #trestle :one")
	eve.Expect(":bob!bob@127.0.0.1 PRIVMSG #trestle :two")
	if said := s.History("#trestle")[0].Param(1); said != "one\ntwo" {
		t.Errorf("the text is %q", said)
	}
	for want, lines := range map[string][]string{
		"MULTILINE_INVALID_TARGET": {"BATCH +1 draft/multiline #trestle", "@batch=1 PRIVMSG #other :x", "BATCH -1"},
		"MULTILINE_INVALID ":       {"BATCH +1 draft/multiline #trestle", "@batch=1 PRIVMSG #trestle :", "BATCH -1"},
		"INVALID_REFTAG":           {"BATCH -9"},
	} {
		for _, line := range lines {
			bob.Send(line)
		}
		bob.Expect("FAIL BATCH " + want)
	}
}
