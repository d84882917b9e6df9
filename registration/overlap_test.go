package registration_test

import (
	"strings"
	"testing"

	"trestle/registration"
)

func one(t testing.TB, regex string) registration.Namespace {
	t.Helper()
	n, err := registration.NewNamespace(regex, true)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOverlap(t *testing.T) {
	local := one(t, `@[^:]+:hs\.example`)
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`@irc_.*`, `@irc_.*:hs\.example`, true},
		{`@irc_.*`, `@slack_.*`, false},
		{`@irc_.*`, `@.*_bot:.*`, true},
		{`@irc_[a-m].*`, `@irc_[n-z].*`, false},
		{`@(?i)IRC_.*`, `@irc_x:.*`, true},
		{`@a.*:other\.example`, `@a.*`, false}, // not of this server
		{`@a{3,5}:.*`, `@a{5,9}:.*`, true},
		{`@a{3,4}:.*`, `@a{5,9}:.*`, false},
		{`^@irc_.*$`, `@irc_ab.*`, true},
		{`@x\b.*`, `@xy:.*`, false},
	} {
		example, answer := registration.Overlap(one(t, c.a), one(t, c.b), local)
		ok := answer == registration.Yes
		if ok != c.want || ok && (!one(t, c.a).Matches(example) || !one(t, c.b).Matches(example)) {
			t.Errorf("%s and %s: %q, %v", c.a, c.b, example, ok)
		}
		if registration.Apart(one(t, c.a), one(t, c.b)) && c.want {
			t.Errorf("%s and %s are said to be apart", c.a, c.b)
		}
	}
}

// What is too large to be searched, and what the search does not see, is said to
// be unknown, and not to be apart.
func TestOverlapUnknown(t *testing.T) {
	local := one(t, `@[^:]+:hs\.example`)
	for _, c := range []struct {
		a, b string
		want registration.Answer
	}{
		{`@(aa?){1,300}x:.*`, `@(aa?){1,300}y:.*`, registration.Unknown},
		{`@(aa?){1,30}x:.*`, `@(aa?){1,30}y:.*`, registration.No},
		{`@x\b.*`, `@xy:.*`, registration.Unknown},
	} {
		if example, got := registration.Overlap(one(t, c.a), one(t, c.b), local); got != c.want || example != "" {
			t.Errorf("%s and %s: %v %q", c.a, c.b, got, example)
		}
	}
}

func TestBeginning(t *testing.T) {
	for regex, want := range map[string]string{
		`@irc_.*`: "@irc_", `@(a|ab)c.*`: "@a", `.*`: "", `(?i)@x`: "", `@x|#y`: "",
	} {
		if got := registration.Beginning(one(t, regex)); got != want {
			t.Errorf("%s begins with %q, not %q", regex, got, want)
		}
	}
}

// Whatever is found is matched by both, and what obviously overlaps is found.
func FuzzOverlap(f *testing.F) {
	f.Add(`@irc_.*`, `@.*`, "irc_x")
	f.Add(`(a|b)*\b$`, `[^:]{2,9}`, "ab")
	f.Fuzz(func(t *testing.T, a, b, name string) {
		if len(a)+len(b) > 200 || strings.ContainsAny(name, ":") {
			return
		}
		one, err1 := registration.NewNamespace(a, true)
		other, err2 := registration.NewNamespace(b, true)
		if err1 != nil || err2 != nil {
			return
		}
		within, _ := registration.NewNamespace(`@[^:]*:hs`, true)
		example, answer := registration.Overlap(one, other, within)
		if answer == registration.Yes && (!one.Matches(example) || !other.Matches(example)) {
			t.Errorf("%q is matched by both %q and %q?", example, a, b)
		}
		if id := "@" + name + ":hs"; one.Matches(id) && other.Matches(id) && (registration.Apart(one, other) || answer == registration.No) {
			t.Errorf("%q and %q both match %q", a, b, id)
		}
	})
}
