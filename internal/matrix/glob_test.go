package matrix_test

import (
	"regexp"
	"strings"
	"testing"

	"trestle/internal/matrix"
)

func TestMatchGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "anything", true}, {"?", "", false}, {"?", "é", true},
		{"a*b", "ab", true}, {"a*b", "axxb", true}, {"a*b", "axxbc", false}, {"*.example", "hs.example", true},
		{"a*b*c", "aXbYbZc", true}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"[a]", "a", false}, {"[a]", "[a]", true},
		{"**a", "bba", true}, {"*a*a*a*a*a*b", strings.Repeat("a", 200), false},
	} {
		if got := matrix.MatchGlob(c.pattern, c.text); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.text, got)
		}
	}
}

func FuzzMatchGlob(f *testing.F) {
	f.Add("a*b?c", "axxbyc")
	f.Add("*é?", "caféx")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if len(pattern) > 50 || len(text) > 200 {
			return
		}
		pattern, text = strings.ToValidUTF8(pattern, ""), strings.ToValidUTF8(text, "")
		quoted := regexp.QuoteMeta(pattern)
		quoted = strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(quoted)
		want := regexp.MustCompile(`(?s)\A` + quoted + `\z`).MatchString(text)
		if got := matrix.MatchGlob(pattern, text); got != want {
			t.Errorf("%q matches %q: %t, want %t", pattern, text, got, want)
		}
	})
}
