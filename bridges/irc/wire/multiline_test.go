package wire_test

import (
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc/format"
	"trestle/bridges/irc/wire"
)

// multilineServer lets a client in and hands over what it sends afterwards.
func multilineServer(t testing.TB, offer string) (addr string, lines <-chan string) {
	sent := make(chan string, 1000)
	addr = serve(t, func(p *peer) {
		p.expect("CAP LS")
		p.send("CAP * LS :batch message-tags " + offer)
		p.send("CAP * ACK :" + strings.TrimPrefix(p.expect("CAP REQ "), ":"))
		p.expect("CAP END")
		p.send(":s 001 alice :hi", ":s 376 alice :end")
		for {
			line, err := p.lines.ReadString('\n')
			if err != nil {
				return
			}
			sent <- strings.TrimRight(line, "\r\n")
		}
	})
	return addr, sent
}

// paragraphs says a text and returns its paragraphs and what the server got.
func paragraphs(t *testing.T, offer string, kind wire.Kind, lines ...string) (texts, sent []string) {
	t.Helper()
	addr, got := multilineServer(t, offer)
	c, _ := dial(t, wire.Options{Addr: addr, Nick: "alice", Flood: &wire.Flood{Burst: 100}})
	ctx := withTimeout(t)
	var at wire.Place
	for at.Line < len(lines) {
		p, next := c.Paragraph(kind, "#c", lines, at, false)
		if next == at {
			t.Fatalf("stuck at %+v", at)
		}
		at = next
		block, err := c.Block(p)
		if err == nil {
			err = c.SendBlock(ctx, block)
		}
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, p.Text())
	}
	if err := c.Send(ctx, wire.NewMessage("JOIN", "#end")); err != nil {
		t.Fatal(err)
	}
	for line := range got {
		if strings.HasPrefix(line, "JOIN") {
			break
		}
		sent = append(sent, line)
	}
	return texts, sent
}

func TestMultiline(t *testing.T) {
	long := strings.Repeat("слово ", 100)
	texts, sent := paragraphs(t, "draft/multiline=max-bytes=4096,max-lines=4", wire.Privmsg, "one", "two", long, "last")
	if len(texts) != 2 || texts[0] != "one\ntwo\n"+long[:len(texts[0])-8] || texts[0][8:]+texts[1] != long+"\nlast" {
		t.Errorf("the paragraphs are %q", texts)
	}
	reference := strings.Fields(sent[0])[1][1:]
	if sent[0] != "BATCH +"+reference+" draft/multiline #c" || sent[1] != "@batch="+reference+" PRIVMSG #c :one" ||
		!strings.HasPrefix(sent[4], "@batch="+reference+";draft/multiline-concat PRIVMSG #c :") || sent[5] != "BATCH -"+reference {
		t.Errorf("the server got %q", sent)
	}
	for name, test := range map[string]struct {
		offer string
		kind  wire.Kind
		texts int
	}{
		"not offered":        {"echo-message", wire.Privmsg, 3},
		"nobody knows limit": {"draft/multiline", wire.Privmsg, 3},
		"few bytes":          {"draft/multiline=max-bytes=7,max-lines=4", wire.Privmsg, 2},
		"fewer than a line":  {"draft/multiline=max-bytes=1", wire.Privmsg, 3},
		"/me":                {"draft/multiline=max-bytes=4096", wire.Action, 3},
		"all":                {"draft/multiline=max-bytes=4096", wire.Notice, 1},
	} {
		if texts, _ := paragraphs(t, test.offer, test.kind, "one", "two", "three"); len(texts) != test.texts {
			t.Errorf("%s: %q", name, texts)
		}
	}
}

func TestSpare(t *testing.T) {
	addr, got := multilineServer(t, "")
	c, _ := dial(t, wire.Options{Addr: addr, Nick: "alice", Flood: &wire.Flood{Burst: 4, Interval: time.Hour}})
	typing := wire.NewMessage("TAGMSG", "#c")
	sent := 0
	for range 4 {
		if c.Spare(typing) {
			<-got
			sent++
		}
	}
	if sent != 2 { // the other half of the burst is for texts
		t.Errorf("%d of 4 were sent", sent)
	}
}

// However a text is cut, all of it is said, within the limits.
func FuzzParagraph(f *testing.F) {
	addr, lines := multilineServer(f, "draft/multiline=max-bytes=1000,max-lines=5")
	go func() {
		for range lines {
		}
	}()
	c, err := wire.Dial(f.Context(), wire.Options{Addr: addr, Nick: "alice"})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	f.Add("one\ntwo", 0)
	f.Add("\x04ab\x0304,5\x02\x1d"+strings.Repeat("cd,1 ", 300), 0)
	f.Add(strings.Repeat("слово ", 300)+"\n\n"+strings.Repeat(family, 30), 1)
	f.Fuzz(func(t *testing.T, text string, from int) {
		text = strings.NewReplacer("\r", "", "\x00", "", "\x01", "").Replace(text)
		all := strings.Split(text, "\n")
		said, at, first := "", wire.Place{Line: max(0, min(from, len(all)))}, max(0, min(from, len(all)))
		for at.Line < len(all) {
			p, next := c.Paragraph(wire.Privmsg, "#c", all, at, false)
			if next == at || len(p.Pieces) > 5 || len(p.Pieces) > 1 && len(p.Text()) > 1000 {
				t.Fatalf("from %+v to %+v: %d pieces, %d bytes", at, next, len(p.Pieces), len(p.Text()))
			}
			if len(p.Pieces) > 0 {
				if _, err := c.Block(p); err != nil {
					t.Fatal(err)
				}
			}
			said += strings.ReplaceAll(p.Text(), "\n", "")
			at = next
		}
		want := strings.Join(all[first:], "")
		if strings.ContainsAny(want, "\x02\x03\x04\x0f\x11\x16\x1d\x1e\x1f") { // each message has its own codes
			said, want = format.Strip(said), format.Strip(want)
		}
		if said != want {
			t.Fatalf("%q became %q", want, said)
		}
	})
}
