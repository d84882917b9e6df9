package names_test

import (
	"strings"
	"testing"

	"trestle/bridges/irc/names"
)

func TestFold(t *testing.T) {
	for _, c := range []struct{ mapping, name, want string }{
		{"rfc1459", `#Trestle[]\^`, "#trestle{}|~"},
		{"strict-rfc1459", `#Trestle[]\^`, "#trestle{}|^"},
		{"ascii", `#Trestle[]\^`, `#trestle[]\^`},
		{"rfc7613", "#ÄA[", "#äa["},
		{"georgian", "#ÄA[", "#Äa["}, // not known: the least
		{"RFC1459", "{}|~", "{}|~"},
	} {
		m := names.ParseCaseMapping(c.mapping)
		if got := m.Fold(c.name); got != c.want {
			t.Errorf("%s: Fold(%q) = %q, want %q", c.mapping, c.name, got, c.want)
		}
		if !m.Equal(c.name, c.want) || m.Equal(c.name, c.name+"x") {
			t.Errorf("%s: Equal disagrees with Fold about %q", c.mapping, c.name)
		}
	}
	if names.ASCII.Equal("a[", "a{") {
		t.Error("ascii takes [ and { for one letter")
	}
}

func TestEscapeNick(t *testing.T) {
	for nick, want := range map[string]string{
		"bob":     "bob",
		"Bob":     "=42ob",
		"a[]\\`^": "a=5b=5d=5c=60=5e",
		"{|}-_~":  "=7b=7c=7d-_=7e",
		"a=b":     "a=3db",
		"зоя":     "=d0=b7=d0=be=d1=8f",
	} {
		if got := names.EscapeNick(nick); got != want {
			t.Errorf("EscapeNick(%q) = %q, want %q", nick, got, want)
		}
	}
	for _, part := range []string{"", "Bob", "bob=", "=4", "=7B", "=61", "a b", "bob=5", "é"} {
		if nick, ok := names.UnescapeNick(part); ok {
			t.Errorf("UnescapeNick(%q) = %q, though EscapeNick never returns it", part, nick)
		}
	}
}

func TestEscapeChannel(t *testing.T) {
	for channel, want := range map[string]string{
		"#trestle":    "#trestle",
		"##c++/go":    "##c++/go",
		"&local":      "&local",
		"#a:b=c":      "#a=3ab=3dc",
		"#чат":        "#чат",
		"#\xff":       "#=ff",
		"#a\u202eb":   "#a=e2=80=aeb",
		"#a\u00a0b":   "#a=c2=a0b",
		"#\x02bold":   "#=02bold",
		"!12345chan":  "!12345chan",
		"#%41-is-not": "#%41-is-not",
	} {
		if got := names.EscapeChannel(channel); got != want {
			t.Errorf("EscapeChannel(%q) = %q, want %q", channel, got, want)
		}
	}
	for part, want := range map[string]string{"#x=": "#x=", "#x=zz": "#x=zz", "#A=3Db": "#A=b"} {
		if got, ok := names.UnescapeChannel(part); !ok || got != want {
			t.Errorf("UnescapeChannel(%q) = %q, %v, want %q", part, got, ok, want)
		}
	}
	for _, part := range []string{"", "#a b", "#a=20b", "#a,b", "#a=0d=0aQUIT", "#a=00", "#a=07"} {
		if got, ok := names.UnescapeChannel(part); ok {
			t.Errorf("UnescapeChannel(%q) = %q, which IRC cannot join", part, got)
		}
	}
}

func TestNick(t *testing.T) {
	for _, c := range []struct {
		template, userID, display string
		length                    int
		want                      string
	}{
		{"$DISPLAY", "@alice:example.org", "Alice", 30, "Alice"},
		{"$DISPLAY[m]", "@alice:example.org", "Alice Smith", 30, "Alice_Smith[m]"},
		{"$DISPLAY[m]", "@alice:example.org", "Alexandra the Great", 12, "Alexandra[m]"},
		{"$DISPLAY", "@zoe:example.org", "Zoë Łuczak", 30, "Zoe_Luczak"},
		{"$DISPLAY", "@x:example.org", "𝓕𝓪𝓷𝓬𝔂", 30, "Fancy"},
		{"$DISPLAY", "@alisa:example.org", "Алиса", 30, "alisa"},
		{"$DISPLAY", "@=d0=b7:example.org", "зоя", 30, "d0_b7"},
		{"$DISPLAY", "@1234:example.org", "123", 30, "_123"},
		{"$DISPLAY", "@x:e", "--x", 30, "x"},
		{"m-$USERID", "@a.b:example.org", "", 30, "m-a_b_example_org"},
		{"$LOCALPART", "@averyveryverylongname:e", "", 0, "averyvery"},
		{"$LOCALPART", "@=:e", "", 9, "m918467"},
		{"", "@alice:e", "", 9, "alice"},
		{"long-fixed-text$DISPLAY", "@alice:e", "", 9, "long-fixe"},
		{"$DISPLAY", "@evil:e", "a\r\nQUIT :x\x00", 30, "a_QUIT_x"},
	} {
		got := names.Nick(c.template, names.Person{UserID: c.userID, DisplayName: c.display}, c.length)
		if got != c.want {
			t.Errorf("Nick(%q, %s, %q, %d) = %q, want %q", c.template, c.userID, c.display, c.length, got, c.want)
		}
		if !names.ValidNick(got) {
			t.Errorf("%q is no nick", got)
		}
	}
}

func TestNicks(t *testing.T) {
	for _, c := range []struct {
		nick   string
		length int
		want   string
	}{
		{"alice", 9, "alice alice_ alice__ alice1 alice2"},
		{"abcdefghi", 9, "abcdefghi abcdefgh_ abcdefg__ abcdefgh1 abcdefgh2"},
		{"abcdefgh_", 9, "abcdefgh_ abcdefg__ abcdefgh1 abcdefgh2 abcdefgh3"},
		{"abcd", 1, "abcd abc_ ab__ abc1 abc2"}, // no server has so short nicks
	} {
		var got []string
		for nick := range names.Nicks(c.nick, c.length) {
			if got = append(got, nick); len(got) == 5 {
				break
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("Nicks(%q, %d) = %q, want %s", c.nick, c.length, got, c.want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"bob", `[]\^`, "#чат", "=3d", "\xff", "#a=b", "#%20"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if nick, ok := names.UnescapeNick(names.EscapeNick(s)); nick != s || ok != (s != "") {
			t.Errorf("nick %q came back as %q, %v", s, nick, ok)
		}
		if nick, ok := names.UnescapeNick(s); ok && names.EscapeNick(nick) != s {
			t.Errorf("%q and %q are both %q", s, names.EscapeNick(nick), nick)
		}
		escaped := names.EscapeChannel(s)
		if strings.ContainsAny(escaped, ": \x00\r\n") {
			t.Errorf("channel %q is escaped to %q", s, escaped)
		}
		if channel, _ := names.UnescapeChannel(escaped); channel != s {
			t.Errorf("channel %q came back as %q", s, channel)
		}
	})
}

func FuzzNick(f *testing.F) {
	f.Add("$DISPLAY[m]", "@alice:example.org", "Alice", 9)
	f.Add("", "", "", 0)
	f.Fuzz(func(t *testing.T, template, userID, display string, length int) {
		nick := names.Nick(template, names.Person{UserID: userID, DisplayName: display}, length)
		if !names.ValidNick(nick) || length > 0 && len(nick) > max(length, 4) {
			t.Errorf("Nick(%q, %q, %q, %d) = %q", template, userID, display, length, nick)
		}
	})
}
