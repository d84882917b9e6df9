package irc

import (
	"slices"
	"strings"
	"testing"
)

func TestBans(t *testing.T) {
	rules, bad := parseBans([]byte("user @*:evil.example\n\n# no\nserver evil.example\r\nirc bob\n irc *@host\nirc\nirc a b\nhost x"))
	want := []policyRule{
		{kind: "user", what: "@*:evil.example"}, {kind: "server", what: "evil.example"},
		{kind: "irc", what: "bob!*@*"}, {kind: "irc", what: "*!*@host"},
	}
	if !slices.Equal(rules, want) || !slices.Equal(bad, []int{7, 8, 9}) {
		t.Errorf("rules are %v, bad lines %v", rules, bad)
	}
}

func FuzzBans(f *testing.F) {
	f.Add("user @a:b\nirc *!*@*")
	f.Fuzz(func(t *testing.T, content string) {
		rules, _ := parseBans([]byte(content))
		for _, r := range rules {
			if r.what == "" || strings.ContainsAny(r.what, " \n") || r.kind == "irc" && (!strings.Contains(r.what, "!") || !strings.Contains(r.what, "@")) {
				t.Errorf("%q has the rule %v", content, r)
			}
		}
	})
}

func TestMasks(t *testing.T) {
	for _, c := range []struct {
		mask, name string
		want       bool
	}{
		{"", "", true}, {"*", "", true}, {"?", "", false}, {"a*b?c", "axxbyc", true}, {"a*b?c", "axxbc", false},
		{`a\*`, "a*", true}, {`a\*`, "ab", false}, {`a\b`, `a\b`, true}, {"*a*a*a*", "aa", false}, {"**x", "x", true},
	} {
		if got := matchMask(c.mask, c.name); got != c.want {
			t.Errorf("matchMask(%q, %q) is %v", c.mask, c.name, got)
		}
	}
}

// slow is matchMask as one would first think of it.
func slow(mask, name string) bool {
	c, width := maskByte(mask, 0)
	switch {
	case width == 0:
		return name == ""
	case c == '*' && width == 1:
		return slow(mask[1:], name) || name != "" && slow(mask, name[1:])
	}
	return name != "" && (c == name[0] || c == '?' && width == 1) && slow(mask[width:], name[1:])
}

func FuzzMasks(f *testing.F) {
	f.Add("a*b?", "axxby")
	f.Add(`\*?*`, "*ab")
	f.Fuzz(func(t *testing.T, mask, name string) {
		if len(mask) > 12 || len(name) > 12 {
			return
		}
		if got, want := matchMask(mask, name), slow(mask, name); got != want {
			t.Errorf("matchMask(%q, %q) is %v", mask, name, got)
		}
	})
}
