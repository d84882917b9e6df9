package wire_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"trestle/bridges/irc/wire"
	"trestle/internal/testkit"
)

const (
	family = "👨‍👩‍👧‍👦" // four emoji and three joiners: 25 bytes
	flag   = "🇩🇪"
	waving = "👋🏽"
)

// fourKB are texts of about 4 KB without a line break.
var fourKB = map[string]string{
	"ascii":     strings.Repeat("The quick brown fox jumps over the lazy dog, and then again.", 65),
	"unbroken":  strings.Repeat("x", 4096),
	"cyrillic":  strings.Repeat("Съешь же ещё этих мягких французских булок, да выпей чаю.", 40),
	"cjk":       strings.Repeat("いろはにほへとちりぬるを我が世誰ぞ常ならむ", 65),
	"emoji":     strings.Repeat(family, 160),
	"flags":     strings.Repeat(flag, 512),
	"skins":     strings.Repeat(waving, 512),
	"combining": strings.Repeat("e\u0301\u0323", 800),
	"hangul":    strings.Repeat("\u1112\u1161\u11ab", 450),
	"colours":   strings.Repeat("\x0304,12red\x03 \x0412ab34hex\x04.", 160),
	"mixed":     strings.Repeat("a"+family+"ж"+flag+"語 "+waving, 60),
}

// pieces that no cut may separate
var whole = []string{family, flag, waving, "e\u0301\u0323", "\u1112\u1161\u11ab", "\x0304,12", "\x0412ab34"}

func TestSplitText(t *testing.T) {
	for name, text := range fourKB {
		for _, limit := range []int{40, 64, 400, 439} {
			pieces := wire.SplitText(text, limit)
			if strings.Join(pieces, "") != text {
				t.Errorf("%s: the pieces are not the text", name)
			}
			inWhole := map[string]int{}
			for _, piece := range pieces {
				if len(piece) > limit || !utf8.ValidString(piece) {
					t.Errorf("%s: a piece of %d bytes, limit %d: %q", name, len(piece), limit, piece)
				}
				for _, w := range whole {
					inWhole[w] += strings.Count(piece, w)
				}
			}
			for _, w := range whole {
				if inWhole[w] != strings.Count(text, w) {
					t.Errorf("%s, limit %d: %q was cut", name, limit, w)
				}
			}
			if short := len(text)/limit + len(text)/limit + 2; len(pieces) > short {
				t.Errorf("%s, limit %d: %d pieces", name, limit, len(pieces))
			}
		}
	}
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"hello", 5, "hello"},
		{"hello world", 8, "hello| world"},
		{"a bcdefghijk", 8, "a bcdefg|hijk"}, // too short a piece
		{"hello  world", 8, "hello|  world"},
		{"abcdefg hij", 8, "abcdefg| hij"},
		{"a        b", 4, "a|    |    |b"}, // a server may cut them off
		{"ab\xff\xfe\xfdcd", 4, "ab\xff\xfe|\xfdcd"},
		{"жж", 1, "жж"}, // nobody has so little room
		{"жжж", 1, "жж|ж"},
	} {
		if got := strings.Join(wire.SplitText(c.text, c.limit), "|"); got != c.want {
			t.Errorf("SplitText(%q, %d) = %q, want %q", c.text, c.limit, got, c.want)
		}
	}
}

func FuzzSplitText(f *testing.F) {
	for _, text := range fourKB {
		f.Add(text[:60], 20)
	}
	f.Add("\x03\x03\x03,\x0412,\u200d\u200d", 4)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		pieces := wire.SplitText(text, limit)
		if strings.Join(pieces, "") != text {
			t.Errorf("SplitText(%q, %d) = %q", text, limit, pieces)
		}
		for i, piece := range pieces {
			if len(piece) > max(limit, utf8.UTFMax) || piece == "" && text != "" ||
				utf8.ValidString(text) && !utf8.ValidString(piece) {
				t.Errorf("SplitText(%q, %d): piece %d is %q", text, limit, i, piece)
			}
		}
	})
}

// What is sent arrives byte for byte, and in lines as long as the server allows.
func TestByteExact(t *testing.T) {
	onServers(t, testkit.IRCOptions{}, func(t *testing.T, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		c, _ := dial(t, wire.Options{Addr: server.Addr, Nick: "alice"})
		if err := c.JoinChannel(withTimeout(t), "#trestle", ""); err != nil {
			t.Fatal(err)
		}
		for name, text := range fourKB {
			for kind, command := range map[wire.Kind]string{wire.Privmsg: "PRIVMSG", wire.Notice: "NOTICE", wire.Action: "PRIVMSG"} {
				for _, target := range []string{"#trestle", "bob"} {
					d, err := c.Deliver(withTimeout(t), wire.Text{Kind: kind, Target: target, Lines: []string{text}})
					if err != nil || d.Taken != d.Lines {
						t.Fatalf("%s: %v of %v lines were taken: %v", name, d.Taken, d.Lines, err)
					}
					got, longest := "", 0
					for range d.Lines {
						line := bob.Expect(":alice!", " "+command+" "+target+" :")
						_, said, _ := strings.Cut(line, target+" :")
						if kind == wire.Action {
							said = strings.TrimSuffix(strings.TrimPrefix(said, "\x01ACTION "), "\x01")
						}
						got, longest = got+said, max(longest, len(line)+2)
					}
					if got != text {
						t.Errorf("%s to %s as %s: arrived as %q", name, target, command, got)
					}
					if longest > 512 || name == "unbroken" && longest != 512 {
						t.Errorf("%s to %s as %s: lines of up to %d bytes", name, target, command, longest)
					}
				}
			}
		}
	})
}

func TestDeliver(t *testing.T) {
	onServers(t, testkit.IRCOptions{}, func(t *testing.T, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		bob.Send("MODE #trestle +mn")
		bob.Expect("MODE #trestle", "+m")
		c, r := dial(t, wire.Options{Addr: server.Addr, Nick: "alice"})
		var refused *wire.SendError
		for _, target := range []string{"#trestle", "nobody"} {
			d, err := c.Deliver(withTimeout(t), wire.Text{Target: target, Lines: []string{"one", "two"}})
			if !errors.As(err, &refused) || refused.Text == "" || d.Taken != 0 {
				t.Errorf("to %s: %+v, %v", target, d, err)
			}
		}
		for _, bad := range []string{"a\r\nQUIT", "a\nb", "a\x00b", "\x01VERSION\x01"} {
			if _, err := c.Deliver(withTimeout(t), wire.Text{Target: "bob", Lines: []string{bad}}); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		if err := c.Send(withTimeout(t), wire.NewMessage("PRIVMSG", "#a b", "x")); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("a target with a space: %v", err)
		}
		if d, err := c.Deliver(withTimeout(t), wire.Text{Target: "bob", Lines: []string{"", ""}}); d.Lines != 0 || err != nil {
			t.Errorf("nothing: %+v, %v", d, err)
		}
		drain(r)
		bob.Say("alice", "\x01ACTION waves\x01")
		if command, args, ok := r.wait(t, "PRIVMSG", "alice").CTCP(); command != "ACTION" || args != "waves" || !ok {
			t.Errorf("/me is %q %q", command, args)
		}
	})
}

// A long paste is neither cut short nor the end of the connection on servers that
// throttle.
func TestFloodControl(t *testing.T) {
	onServers(t, testkit.IRCOptions{Throttled: true}, func(t *testing.T, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		const lines = 24
		paste := wire.Text{Target: "#trestle"}
		for range lines {
			paste.Lines = append(paste.Lines, strings.Repeat("x", 400))
		}
		flood := &wire.Flood{Burst: 5, Interval: 200 * time.Millisecond}
		c, _ := dial(t, wire.Options{Addr: server.Addr, Nick: "alice", Flood: flood, QueueSize: 4})
		if err := c.JoinChannel(withTimeout(t), "#trestle", ""); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if err := c.Say(t.Context(), paste); err != nil {
			t.Fatal(err)
		}
		for range lines {
			bob.Expect(":alice!", "PRIVMSG #trestle :xxx")
		}
		if took, least := time.Since(began), (lines-5)*flood.Interval; took < least {
			t.Errorf("%d lines took %v, flood control asks for %v", lines, took, least)
		}
		if err := c.Err(); err != nil {
			t.Errorf("the connection ended: %v", err)
		}
		if server.Name != "inspircd" {
			return
		}
		reckless, r := dial(t, wire.Options{Addr: server.Addr, Nick: "carol"})
		_ = reckless.Say(t.Context(), paste)
		if err := <-r.closed; !errors.Is(err, wire.ErrRefused) || !strings.Contains(err.Error(), "RecvQ") {
			t.Errorf("without flood control: %v", err)
		}
	})
}

func TestBackPressure(t *testing.T) {
	onServers(t, testkit.IRCOptions{}, func(t *testing.T, server *testkit.IRCServer) {
		slow := &wire.Flood{Burst: 1, Interval: time.Hour}
		c, _ := dial(t, wire.Options{Addr: server.Addr, Nick: "alice", Flood: slow, QueueSize: 2})
		for range 3 { // one leaves at once
			if err := c.Say(withTimeout(t), wire.Text{Target: "bob", Lines: []string{"x"}}); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := c.Say(ctx, wire.Text{Target: "bob", Lines: []string{"x"}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a full queue takes a line: %v", err)
		}
		if err := c.Quit(ctx, "bye"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(c.Err(), wire.ErrClosed) {
			t.Errorf("quit behind a full queue: %v, %v", err, c.Err())
		}
	})
}
