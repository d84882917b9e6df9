package push

import (
	"slices"
	"strings"
	"testing"
)

// slow tries everything: every star with every length, every stretch of a text.
func slow(pattern, text []rune) bool {
	switch {
	case len(pattern) == 0:
		return len(text) == 0
	case pattern[0] == '*':
		return slow(pattern[1:], text) || len(text) > 0 && slow(pattern, text[1:])
	case len(text) == 0:
		return false
	}
	return (pattern[0] == '?' || fold(pattern[0]) == fold(text[0])) && slow(pattern[1:], text[1:])
}

func slowWords(pattern, text []rune) bool {
	edge := func(i int) bool { return i == 0 || i == len(text) || !isWord(text[i-1]) || !isWord(text[i]) }
	for i := 0; i <= len(text); i++ {
		for j := i; j <= len(text); j++ {
			if edge(i) && edge(j) && slow(pattern, text[i:j]) {
				return true
			}
		}
	}
	return false
}

func plenty() *budget {
	b := maxSteps
	return &b
}

func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{
		{"ex*ple", "An exciting triple-whammy"}, {"", ""}, {"*", "x"}, {"a?c*", "xabc abcd"}, {"**é?", "É ÉÉ"},
		{"*aab", "aaab aab"}, {"@room", "hi@room"}, {"a*a", "a"}, {"\xff?", "\xff\xfe"}, {"K", "\u212a"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, subject string) {
		if len(pattern) > 10 || len(subject) > 24 {
			return
		}
		g, ready := compileGlob(pattern), newText(subject)
		if got, want := g.whole(ready, plenty()), slow([]rune(pattern), []rune(subject)); got != want {
			t.Errorf("%q is all of %q: %v, want %v", pattern, subject, got, want)
		}
		if got, want := g.words(ready, plenty()), slowWords([]rune(pattern), []rune(subject)); got != want {
			t.Errorf("%q is words of %q: %v, want %v", pattern, subject, got, want)
		}
	})
}

// Patterns that are longer than anybody needs are not tried.
func TestLongPattern(t *testing.T) {
	long := strings.Repeat("a", maxPattern)
	g := compileGlob(long)
	if g.whole(newText(long), plenty()) {
		t.Error("tried")
	}
}

// A path names the properties that were joined to it.
func FuzzSplitPath(f *testing.F) {
	f.Add("content", `m.x\y`)
	f.Add("", `\x`)
	f.Fuzz(func(t *testing.T, first, second string) {
		escape := strings.NewReplacer(`\`, `\\`, `.`, `\.`)
		want := []string{first, second}
		if got := splitPath(escape.Replace(first) + "." + escape.Replace(second)); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		splitPath(first)
	})
}
