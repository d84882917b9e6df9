package ircv3_test

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/ircv3"
)

const everything = "CAP REQ :batch message-tags echo-message labeled-response server-time draft/message-redaction"

func TestTextsAreEchoedWithTheirIDs(t *testing.T) {
	s := ircv3.Start(t, ircv3.Options{})
	bob := testkit.DialIRC(t, s.Addr, "bob", everything)
	alice := testkit.DialIRC(t, s.Addr, "alice")
	bob.Join("#trestle")
	alice.Send("JOIN #Trestle")
	alice.Expect(" 366 ")
	bob.Send("@label=7;+draft/react=x PRIVMSG #trestle :hello there")
	echo := bob.Expect("PRIVMSG #trestle :hello there")
	tagged := regexp.MustCompile(`^@\+draft/react=x;label=7;msgid=(\w+);time=\d{4}-\d\d-\d\dT[\d:.]+Z :bob!bob@`)
	id := tagged.FindStringSubmatch(echo)
	if id == nil {
		t.Fatalf("the echo is %q", echo)
	}
	if line := alice.Expect("hello there"); !strings.HasPrefix(line, ":bob!bob@127.0.0.1 PRIVMSG #trestle :") {
		t.Errorf("alice has no tags and gets %q", line)
	}
	if log := s.History("#trestle"); len(log) != 1 || log[0].Tags["msgid"] != id[1] {
		t.Errorf("the history is %v", log)
	}
	bob.Send("@label=8 PONG x")
	bob.Expect("@label=8 ", "ACK")
	bob.Send("@label=9 WHOIS alice")
	start := bob.Expect("@label=9", "BATCH +", "labeled-response")
	reference := start[strings.Index(start, "BATCH +")+7 : strings.Index(start, " labeled")]
	bob.Expect("@batch="+reference, " 311 bob alice")
	bob.Expect("@batch="+reference, " 318 ")
	bob.Expect("BATCH -" + reference)
}

func TestRedaction(t *testing.T) {
	s := ircv3.Start(t, ircv3.Options{})
	bob := testkit.DialIRC(t, s.Addr, "bob", everything)
	eve := testkit.DialIRC(t, s.Addr, "eve", everything)
	old := testkit.DialIRC(t, s.Addr, "old")
	for _, c := range []*testkit.IRCClient{bob, eve, old} {
		c.Join("#trestle")
	}
	bob.Say("#trestle", "oops")
	bob.Expect("oops")
	id := s.History("#trestle")[0].Tags["msgid"]
	eve.Send("REDACT #trestle " + id + " :mine")
	eve.Expect("FAIL REDACT REDACT_FORBIDDEN #trestle " + id)
	eve.Send("REDACT #trestle none")
	eve.Expect("FAIL REDACT UNKNOWN_MSGID #trestle none")
	eve.Send("REDACT #elsewhere none")
	eve.Expect("FAIL REDACT INVALID_TARGET")
	bob.Send("REDACT #trestle " + id + " :a slip")
	eve.Expect(":bob!", "REDACT #trestle "+id+" :a slip")
	bob.Expect(":bob!", "REDACT #trestle "+id+" :a slip")
	if log := s.History("#trestle"); len(log) != 0 {
		t.Errorf("the history is %v", log)
	}
	bob.Say("#trestle", "next")
	old.ExpectFunc("no redaction", func(line string) bool {
		if strings.Contains(line, "REDACT") {
			t.Errorf("old gets %q", line)
		}
		return strings.Contains(line, ":next")
	})
}

func TestChannels(t *testing.T) {
	s := ircv3.Start(t, ircv3.Options{CaseMapping: "ascii", ChanModes: "bq,k,l,imnprst", Prefix: "(ohv)@%+"})
	bob := testkit.DialIRC(t, s.Addr, "bob", "CAP REQ multi-prefix")
	bob.Join("#trestle")
	alice := testkit.DialIRC(t, s.Addr, "alice")
	for mode, want := range map[string]string{
		"+b *!*@127.*": " 474 ", "+i": " 473 ", "+k key": " 475 ", "+r": " 477 ", "+l 1": " 471 ",
	} {
		bob.Send("MODE #trestle " + mode)
		bob.Expect("MODE #trestle", strings.Fields(mode)[0])
		alice.Send("JOIN #trestle")
		alice.Expect(want, "#trestle")
		bob.Send("MODE #trestle " + strings.Replace(mode, "+", "-", 1))
		bob.Expect("MODE #trestle", "-")
	}
	bob.Send("MODE #trestle +mtk key")
	alice.Send("JOIN #trestle key")
	alice.Expect(" 366 ")
	alice.Say("#trestle", "psst")
	alice.Expect(" 404 ")
	alice.Send("TOPIC #trestle :mine")
	alice.Expect(" 482 ")
	bob.Send("MODE #trestle +vh alice alice")
	alice.Expect("MODE #trestle +vh alice alice")
	alice.Say("#trestle", "thanks")
	bob.Expect(":alice!", "thanks")
	bob.Send("MODE #trestle +x-o alice nobody")
	bob.Expect(" 472 ", "x")
	bob.Send("NAMES #trestle")
	if line := bob.Expect(" 353 "); !strings.HasSuffix(line, ":%+alice @bob") {
		t.Errorf("the names are %q", line)
	}
	bob.Send("MODE #trestle")
	bob.Expect(" 324 bob #trestle +kmnt", "key")
	bob.Send("MODE #trestle +b-b+b a!*@* a!*@* x!*@*")
	bob.Expect("MODE #trestle +b-b+b a!*@* a!*@* x!*@*")
	bob.Send("MODE #trestle b")
	bob.Expect(" 367 ", "x!*@*")
	bob.Expect(" 368 ")
	bob.Send("KICK #trestle alice :out")
	alice.Expect("KICK #trestle alice :out")
	s.Refuse("#club", "520", "Cannot join channel (opers only)")
	alice.Send("JOIN #club")
	alice.Expect(" 520 alice #club :Cannot join")
	s.Forward("#old", "#new")
	alice.Send("JOIN #old")
	alice.Expect(" 470 alice #old #new :")
	alice.Expect("JOIN #new")
	bob.Join("#new")
	s.Disconnect("alice")
	bob.Expect(":alice!", "QUIT")
}

func FuzzParse(f *testing.F) {
	f.Add(`@a=b\s\:;+c :src CMD one two :three four`)
	f.Add("PRIVMSG # :")
	f.Add("@ : ")
	f.Fuzz(func(t *testing.T, line string) {
		m := ircv3.Parse(strings.Map(func(r rune) rune {
			if r == '\r' || r == '\n' || r == 0 {
				return -1
			}
			return r
		}, line))
		if m == nil || len(line) > 400 {
			return
		}
		again := ircv3.Parse(m.String())
		if again == nil || again.Command != m.Command || !slices.Equal(again.Params, m.Params) || !maps.Equal(again.Tags, m.Tags) && len(m.Tags) > 0 {
			t.Errorf("%q became %v, then %q and %v", line, m, m.String(), again)
		}
	})
}
