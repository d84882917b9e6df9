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

// table is matchMask by a table of which beginnings of the name each beginning of the mask means.
func table(mask, name string) bool {
	means := make([]bool, len(name)+1)
	means[0] = true
	for at := 0; at < len(mask); {
		c, width := maskByte(mask, at)
		next := make([]bool, len(means))
		for i := range next {
			if c == '*' && width == 1 {
				next[i] = means[i] || i > 0 && next[i-1]
			} else {
				next[i] = i > 0 && means[i-1] && (c == name[i-1] || c == '?' && width == 1)
			}
		}
		means, at = next, at+width
	}
	return means[len(name)]
}

// However many stars there are, a mask is compared in no more steps than the product of the lengths: this ends.
func TestHostileMasks(t *testing.T) {
	name := strings.Repeat("a", 2000)
	for _, mask := range []string{strings.Repeat("*a", 1000) + "b", strings.Repeat("*", 2000) + "b", strings.Repeat("*?", 1000) + "b", strings.Repeat("a*", 1000) + "*b*"} {
		if matchMask(mask, name) || !matchMask(mask, name+"b") {
			t.Errorf("%.10s…: wrong", mask)
		}
	}
}

func FuzzMasks(f *testing.F) {
	f.Add("a*b?", "axxby")
	f.Add(`\*?*`, "*ab")
	f.Fuzz(func(t *testing.T, mask, name string) {
		if len(mask) > 100 || len(name) > 100 {
			return
		}
		if got, want := matchMask(mask, name), table(mask, name); got != want {
			t.Errorf("matchMask(%q, %q) is %v", mask, name, got)
		}
	})
}
