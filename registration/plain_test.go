package registration

import "testing"

func TestMostExpressionsArePlain(t *testing.T) {
	for regex, want := range map[string]bool{
		"@irc_.*": true, `@irc_.*:example\.org`: true, "^@irc_.*$": true, `#irc_.*?:hs`: true, "é.*ü": true,
		"@irc_.+": false, "@irc_bot": false, ".*": false, "(?i)@irc_.*": false, "(?s)@irc_.*": false, "@(a|b)_.*": false, "@a.*b.*": false,
		"@irc_(.*)": false, "(?m)^@irc_.*$": false, "^": false, "^.*": false, "\uFFFD.*": false, "@irc_[0-9]*": false,
	} {
		if got := plainly(regex) != nil; got != want {
			t.Errorf("%s is plain: %t", regex, got)
		}
	}
}

// A plain expression decides as the expression does.
func FuzzPlain(f *testing.F) {
	for _, regex := range []string{"@irc_.*", `^@irc_.*:example\.org$`, "aa.*a", "é.*ü", "(?m)^a.*b$", "(?i)a.*", "a.*?\n"} {
		for _, id := range []string{"@irc_x:example.org", "aa", "aaa", "é\xffü", "a\nb", "@irc_"} {
			f.Add(regex, id)
		}
	}
	f.Fuzz(func(t *testing.T, regex, id string) {
		n, err := NewNamespace(regex, false)
		if err != nil {
			return
		}
		if p := plainly(regex); p != nil && p.matches(id) != n.expr.MatchString(id) {
			t.Fatalf("%q and %q: %t", regex, id, p.matches(id))
		}
	})
}
