package wire_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/lrstanley/girc"

	"trestle/bridges/irc/wire"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		"PING":                          `map[] "" PING []`,
		"ping x":                        `map[] "" PING ["x"]`,
		":irc.test 001 alice :Welcome":  `map[] "irc.test" 001 ["alice" "Welcome"]`,
		":bob!b@h PRIVMSG #c :a :b  c ": `map[] "bob!b@h" PRIVMSG ["#c" "a :b  c "]`,
		":bob!b@h@x PRIVMSG #c ::)":     `map[] "bob!b@h@x" PRIVMSG ["#c" ":)"]`,
		":bob PRIVMSG #c :":             `map[] "bob" PRIVMSG ["#c" ""]`,
		":bob  PRIVMSG   #c   text  ":   `map[] "bob" PRIVMSG ["#c" "text"]`,
		":bob PRIVMSG #c\u00a0\u3000 x": `map[] "bob" PRIVMSG ["#c\u00a0\u3000" "x"]`,
		"@a=b;c;+d/e=;f=1\\:\\s\\\\\\r\\n\\x\\ :n PRIVMSG": `map[+d/e: a:b c: f:1; \` + "\r\n" + `x] "n" PRIVMSG []`,
		"@a=1;a=2 NOTICE":               `map[a:2] "" NOTICE []`,
		":bob@h JOIN #c":                `map[] "bob@h" JOIN ["#c"]`,
		"PRIVMSG \xff :\xfe":            `map[] "" PRIVMSG ["\xff" "\xfe"]`,
		"MODE a:b :c":                   `map[] "" MODE ["a:b" "c"]`,
		"X " + strings.Repeat("p ", 60): `map[] "" X [` + strings.Repeat(`"p" `, 49) + `"` + strings.Repeat("p ", 11) + `"]`,
	} {
		m, err := wire.Parse(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		got := fmt.Sprintf("%v %+q %s %+q", m.Tags, m.Prefix.String(), m.Command, m.Params)
		if got == want {
			continue
		}
		if got = fmt.Sprintf("%v %q %s %q", m.Tags, m.Prefix.String(), m.Command, m.Params); got != want {
			t.Errorf("%q is\n\t%s, want\n\t%s", line, got, want)
		}
	}
	for _, line := range []string{"", " ", ":", ":x", ":x ", "@", "@a", "@a ", "@a :b", "1", "12", "1234", "A1", "P\u00c4 x", "a\nb", "a\rb", "a\x00b", "::: ::"} {
		if m, err := wire.Parse(line); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%q is %+v", line, m)
		}
	}
}

func TestAppend(t *testing.T) {
	for want, m := range map[string]*wire.Message{
		"PRIVMSG #c :hello\r\n":      wire.NewMessage("privmsg", "#c", "hello"),
		"PRIVMSG #c ::-)\r\n":        wire.NewMessage("PRIVMSG", "#c", ":-)"),
		"JOIN #c key\r\n":            wire.NewMessage("JOIN", "#c", "key"),
		"PART #c\r\n":                wire.NewMessage("PART", "#c"),
		"QUIT :\r\n":                 wire.NewMessage("QUIT", ""),
		"X :\r\n":                    wire.NewMessage("X", ""),
		"MODE #c +ov a b\r\n":        wire.NewMessage("MODE", "#c", "+ov", "a", "b"),
		"@+a=\\:\\s;b TAGMSG #c\r\n": {Tags: map[string]string{"b": "", "+a": "; "}, Command: "TAGMSG", Params: []string{"#c"}},
		":n!u@h NICK x\r\n":          {Prefix: wire.Prefix{Nick: "n", User: "u", Host: "h"}, Command: "NICK", Params: []string{"x"}},
	} {
		if got, err := m.Append(nil); string(got) != want || err != nil {
			t.Errorf("%+v is %q (%v), want %q", m, got, err, want)
		}
	}
	for _, m := range []*wire.Message{
		wire.NewMessage(""), wire.NewMessage("A B"), wire.NewMessage("12"), wire.NewMessage("A\r\nQUIT"),
		wire.NewMessage("PRIVMSG", "#c", "a\r\nQUIT"), wire.NewMessage("PRIVMSG", "#c", "a\nb"), wire.NewMessage("PRIVMSG", "#c", "\x00"),
		wire.NewMessage("PRIVMSG", "#c d", "x"), wire.NewMessage("PRIVMSG", "", "x"), wire.NewMessage("PRIVMSG", ":c", "x"),
		{Command: "X", Tags: map[string]string{"a b": ""}}, {Command: "X", Tags: map[string]string{"a=": ""}}, {Command: "X", Tags: map[string]string{"a": "\x00"}},
		{Command: "X", Tags: map[string]string{"a": strings.Repeat("x", 5000)}}, {Command: "X", Prefix: wire.Prefix{Nick: "a b"}},
		{Command: "X", Params: make([]string, 100)},
	} {
		if got, err := m.Append([]byte("kept")); !errors.Is(err, wire.ErrMalformed) || string(got) != "kept" {
			t.Errorf("%+v became %q (%v)", m, got, err)
		}
	}
}

func TestCTCP(t *testing.T) {
	for text, want := range map[string]string{
		"\x01ACTION waves \x01": `ACTION "waves " true`, "\x01VERSION\x01": `VERSION "" true`, "\x01ping 1 2": `PING "1 2" true`,
		"\x01\x01": ` "" false`, "no": ` "" false`, "": ` "" false`, "x\x01ACTION y\x01": ` "" false`,
	} {
		command, args, ok := wire.NewMessage("PRIVMSG", "#c", text).CTCP()
		if got := fmt.Sprintf("%s %q %v", command, args, ok); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
	if _, _, ok := wire.NewMessage("TOPIC", "#c", "\x01ACTION x\x01").CTCP(); ok {
		t.Error("a topic is CTCP")
	}
}

// What is read is written as what reads the same; on lines that girc can read we agree
// with it.
func FuzzParse(f *testing.F) {
	for _, line := range []string{
		":a!b@c PRIVMSG #d :e", "@t=1;u :a PART #b", "@time=2026-01-01T00:00:00Z;+x=\\:\\s :s 005 a B=c D :x", "PRIVMSG ", ": ", "@ :", ":a b :", "X : :", "x  y :z",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		m, err := wire.Parse(line)
		if err != nil {
			return
		}
		m.CTCP()
		written, err := m.Append(nil)
		if err != nil {
			return // read leniently: more tags than may be written, an empty prefix
		}
		again, err := wire.Parse(strings.TrimSuffix(string(written), "\r\n"))
		if err != nil || again.Command != m.Command || again.Prefix != m.Prefix || !slices.Equal(again.Params, m.Params) || !maps.Equal(again.Tags, m.Tags) {
			t.Errorf("%q is %+v, written %q, read again %+v (%v)", line, m, written, again, err)
		}
		agree(t, m, strings.TrimSuffix(string(written), "\r\n"))
	})
}

// agree compares with girc on lines in their usual form, in which it does not panic.
func agree(t *testing.T, m *wire.Message, line string) {
	t.Helper()
	if len(m.Params) == 0 || len(m.Tags) > 0 || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) ||
		m.Prefix.Nick == "" || m.Prefix.User == "" || m.Prefix.Host == "" || strings.ContainsAny(m.Prefix.Nick+m.Prefix.User+m.Prefix.Host, "!@:") {
		return
	}
	e := girc.ParseEvent(line)
	if e == nil || e.Source == nil || e.Command != m.Command || !slices.Equal(e.Params, m.Params) ||
		(wire.Prefix{Nick: e.Source.Name, User: e.Source.Ident, Host: e.Source.Host}) != m.Prefix {
		t.Errorf("%q is %+v to us, %+v to girc", line, m, e)
	}
}
