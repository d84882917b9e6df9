package format_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"trestle/bridges/irc/format"
)

func TestDifference(t *testing.T) {
	long := strings.Repeat("word by word it goes on ", 40)
	for _, test := range []struct{ before, after, want string }{
		{"I like teh cat", "I like the cat", "s/teh/the/"},
		{"I like cats", "I like black cats", "s/like/like black/"},
		{"I like black cats", "I like cats", "s/like black/like/"},
		{"cats", "black cats", "s/cats/black cats/"},
		{"one and one and two are four", "one and one or two are four", "s/and one and/and one or/"},
		{"a b", "a  b", ""},
		{"same", "same", ""},
		{"see a/b", "see a/c", `s/a\/b/a\/c/`},
		{"one two three four", "nothing of that at all", "nothing of that at all"},
		{"", "fixed", "fixed"},
		{"line one\nline tow", "line one\nline two", "s/tow/two/"},
		{long + "teh end", long + "the end", "s/teh/the/"},
	} {
		if got := format.Difference(test.before, test.after); got != test.want {
			t.Errorf("%q → %q: %q, want %q", test.before, test.after, got, test.want)
		}
	}
	// The rest of a long text is not repeated, and what is shown has the change in it.
	got := format.Difference(long+strings.Repeat("x", 300)+" "+long, long+"here "+strings.Repeat("y", 300)+" "+long)
	if len(got) > 400 || !strings.Contains(got, "here yyy") || !strings.HasPrefix(got, "…") {
		t.Errorf("a long change is %q", got)
	}
}

func FuzzDifference(f *testing.F) {
	f.Add("I like teh cat", "I like the cat")
	f.Add("a a a", "a a")
	f.Add("", "x\ny")
	f.Add(strings.Repeat("ж ", 300), strings.Repeat("ж ", 299)+"z "+strings.Repeat("語", 300))
	f.Fuzz(func(t *testing.T, before, after string) {
		got := format.Difference(before, after)
		if len(got) > 1000 || strings.ContainsAny(got, "\n\r") {
			t.Fatalf("%q", got)
		}
		if utf8.ValidString(before) && utf8.ValidString(after) && !utf8.ValidString(got) {
			t.Fatalf("%q is cut within a character", got)
		}
		if got == "" && before != "" && strings.Join(strings.Fields(before), " ") != strings.Join(strings.Fields(after), " ") && strings.TrimSpace(after) != "" {
			t.Fatalf("nothing tells %q from %q", before, after)
		}
	})
}
