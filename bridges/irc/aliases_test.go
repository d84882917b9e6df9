package irc

import (
	"math/rand/v2"
	"strings"
	"testing"

	"trestle/bridges/irc/names"
	"trestle/internal/matrix"
)

var mappings = []names.CaseMapping{names.RFC1459, names.StrictRFC1459, names.ASCII, names.Unicode}

// aliasesGoBothWays holds a channel's name against its alias, and the alias against the name.
func aliasesGoBothWays(t *testing.T, name string, mapping names.CaseMapping) {
	t.Helper()
	templates, err := newTemplates(&Network{ID: "n", Alias: "irc_{network}_{channel}.x", User: "u_{nick}", DisplayName: "{nick}"})
	if err != nil {
		t.Fatal(err)
	}
	folded := mapping.Fold(name)
	if again := mapping.Fold(folded); again != folded || !mapping.Equal(name, folded) {
		t.Errorf("%s: %q folds to %q, and that to %q", mapping, name, folded, again)
	}
	local := templates.aliasLocalpart(folded)
	alias := matrix.NewRoomAlias(local, "example.org")
	if _, err := matrix.ParseRoomAlias(string(alias)); err != nil && len(alias) <= 255 {
		t.Errorf("%q is the alias %q: %v", name, alias, err)
	}
	if back, ok := templates.channel(local); !ok || back != folded {
		t.Errorf("%q is the alias %q, which is %q", folded, local, back)
	}
	// What people type leads to the one alias of its channel.
	if typed, ok := templates.channel("irc_n_" + name + ".x"); ok {
		one := templates.aliasLocalpart(mapping.Fold(typed))
		if back, ok := templates.channel(one); !ok || back != mapping.Fold(typed) {
			t.Errorf("typed as %q it is %q, and its alias %q is %q", name, typed, one, back)
		}
	}
}

// legal tells whether a server may have a channel of that name.
func legal(name string) bool {
	return len(name) > 0 && len(name) <= 200 && strings.IndexByte("#&+!", name[0]) >= 0 && !strings.ContainsAny(name, " ,\a\r\n\x00")
}

func TestAnyLegalNameHasAnAlias(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{"a", "Z", "[", "]", "^", "~", "{", "}", "|", "\\", "/", "+", "&", "!", "#", ":", "=", "=3d", "=3D", "%", "%23", ".x",
		"é", "É", "İ", "Å", "ﬀ", "Ａ", "e\u0301", "\u202e", "\u3000", "\xff", "\xc3", "😀", "\x01", "\x7f", "_", "-", "?", "@"}
	for range 4000 {
		name := string("#&+!"[random.IntN(4)])
		for range random.IntN(12) {
			name += pieces[random.IntN(len(pieces))]
		}
		for _, mapping := range mappings {
			aliasesGoBothWays(t, name, mapping)
		}
	}
}

func FuzzAliases(f *testing.F) {
	f.Add("#a/b+c&d!e")
	f.Add("#=3d%20:")
	f.Add("&\xff\u202e")
	f.Fuzz(func(t *testing.T, name string) {
		if !legal(name) {
			return
		}
		for _, mapping := range mappings {
			aliasesGoBothWays(t, name, mapping)
		}
	})
}
