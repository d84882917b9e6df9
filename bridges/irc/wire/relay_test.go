package wire_test

import (
	"strings"
	"testing"

	"trestle/bridges/irc/wire"
)

// saidAs says lines for somebody else and returns what the server got.
func saidAs(t *testing.T, c *wire.Conn, got <-chan string, as wire.Guise, kind wire.Kind, lines ...string) (sent []string) {
	t.Helper()
	ctx := withTimeout(t)
	var at wire.Place
	for at.Line < len(lines) {
		p, next := c.Relayed(as, kind, "#c", lines, at)
		if next == at || len(p.Pieces) > 1 {
			t.Fatalf("%d pieces, from %+v to %+v", len(p.Pieces), at, next)
		}
		if at = next; len(p.Pieces) == 0 {
			break
		}
		p.Tags = map[string]string{"+x": "y"}
		block, err := c.Block(p)
		if err == nil {
			err = c.SendBlock(ctx, block)
		}
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, <-got)
	}
	return sent
}

func TestSpeakingForOthers(t *testing.T) {
	addr, got := multilineServer(t, "draft/relaymsg=!/ draft/multiline=max-bytes=4096,max-lines=4")
	c, _ := dial(t, wire.Options{Addr: addr, Nick: "bot", Caps: []string{wire.RelayCap}, Flood: &wire.Flood{Burst: 100}})
	if separator, ok := c.RelaySeparator(); separator != "/" || !ok {
		t.Errorf("the separator is %q", separator)
	}
	for _, test := range []struct {
		as    wire.Guise
		kind  wire.Kind
		start string
		end   string
	}{
		{wire.Guise{Nick: "alice/m"}, wire.Privmsg, "@+x=y RELAYMSG #c alice/m :", ""},
		{wire.Guise{Nick: "alice/m"}, wire.Action, "@+x=y RELAYMSG #c alice/m :\x01ACTION ", "\x01"},
		{wire.Guise{Before: "<alice> "}, wire.Privmsg, "@+x=y PRIVMSG #c :<alice> ", ""},
		{wire.Guise{Before: "<alice> "}, wire.Notice, "@+x=y NOTICE #c :<alice> ", ""},
	} {
		if sent := saidAs(t, c, got, test.as, test.kind, "", ":one", "", "two "); len(sent) != 2 ||
			sent[0] != test.start+":one"+test.end || sent[1] != test.start+"two "+test.end {
			t.Errorf("%+v: the server got %q", test.as, sent)
		}
		long, whole := strings.Repeat("слово ", 200)+strings.Repeat("👨‍👩‍👧‍👦", 40), ""
		for _, line := range saidAs(t, c, got, test.as, test.kind, long) {
			text, ok := strings.CutPrefix(strings.TrimSuffix(line, test.end), test.start)
			if whole += text; !ok || len(line)-len("@+x=y ")+len("\r\n") > 512 {
				t.Errorf("%d bytes: %q", len(line), line)
			}
		}
		if whole != long {
			t.Errorf("%q became %q", long, whole)
		}
	}
}

func TestSeparatorsOfRelayedNicks(t *testing.T) {
	for offer, want := range map[string]string{"draft/relaymsg": "/", "draft/relaymsg=~": "~", "draft/relaymsg=!@#": "", "other": ""} {
		addr, _ := multilineServer(t, offer)
		c, _ := dial(t, wire.Options{Addr: addr, Nick: "bot", Caps: []string{wire.RelayCap}})
		if separator, ok := c.RelaySeparator(); separator != want || ok != (want != "") {
			t.Errorf("%s: %q, %v", offer, separator, ok)
		}
	}
}

func FuzzRelayed(f *testing.F) {
	addr, _ := multilineServer(f, "draft/relaymsg=/")
	c, err := wire.Dial(f.Context(), wire.Options{Addr: addr, Nick: "bot", Caps: []string{wire.RelayCap}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	f.Add("<alice> ", "", "hello\nthere", uint8(0))
	f.Add("", "alice/m", strings.Repeat("ё", 400), uint8(2))
	f.Fuzz(func(t *testing.T, before, nick, text string, kind uint8) {
		if len(before) > 60 || len(nick) > 60 || len(text) > 16<<10 {
			return
		}
		lines, said := strings.Split(text, "\n"), 0
		for at := (wire.Place{}); at.Line < len(lines); {
			p, next := c.Relayed(wire.Guise{Nick: nick, Before: before}, wire.Kind(kind%3), "#c", lines, at)
			if next.Line < at.Line || next.Line == at.Line && next.Offset <= at.Offset {
				t.Fatalf("from %+v to %+v", at, next)
			}
			if at = next; len(p.Pieces) == 0 {
				break
			}
			said += len(p.Pieces[0].Text)
			block, err := c.Block(p)
			if err != nil {
				continue // it cannot be said, and is not
			}
			if line := string(block.Bytes()); len(line) > 512 || strings.ContainsAny(line[:len(line)-2], "\r\n\x00") || !strings.HasSuffix(line, "\r\n") {
				t.Fatalf("%d bytes: %q", len(line), line)
			}
		}
		if said != len(strings.Join(lines, "")) {
			t.Fatalf("of %d bytes %d are said", len(strings.Join(lines, "")), said)
		}
	})
}
