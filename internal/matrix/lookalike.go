package matrix

import (
	"slices"
	"unicode"
)

// Confusing reports whether a name looks like another one: because letters of
// scripts that do not belong together are mixed in it, because all its letters
// are Latin ones but in name, or because it has characters that nobody sees.
// It is the human-readable ID check of the early drafts of the specification,
// with the rules of Unicode Technical Standard #39, § 5.2, "highly restrictive".
func Confusing(name string) bool {
	scripts := map[string]bool{}
	lookalikes := true
	letters := 0
	for _, c := range name {
		if unsafe(c) {
			return true
		}
		if !unicode.IsLetter(c) {
			continue
		}
		letters++
		scripts[scriptOf(c)] = true
		lookalikes = lookalikes && likeLatin[c]
	}
	delete(scripts, "")
	return letters > 0 && lookalikes || !belongTogether(scripts)
}

// unsafe characters are invisible, reorder others or are no characters.
func unsafe(c rune) bool {
	return c == unicode.ReplacementChar || unicode.In(c, unicode.Cf, unicode.Cc, unicode.Co, unicode.Zl, unicode.Zp, unicode.Variation_Selector)
}

// scriptOf is the script of a letter; empty for those that all scripts share.
func scriptOf(c rune) string {
	switch {
	case unicode.Is(unicode.Latin, c):
		return "Latin"
	case unicode.In(c, unicode.Common, unicode.Inherited):
		return ""
	}
	for _, name := range scriptNames {
		if unicode.Is(unicode.Scripts[name], c) {
			return name
		}
	}
	return ""
}

// scriptNames is in order, so that answers do not depend on chance.
var scriptNames = func() []string {
	names := make([]string, 0, len(unicode.Scripts))
	for name := range unicode.Scripts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}()

// mixtures are the scripts that are written together.
var mixtures = [][]string{
	{"Latin", "Han", "Hiragana", "Katakana"},
	{"Latin", "Han", "Bopomofo"},
	{"Latin", "Han", "Hangul"},
}

func belongTogether(scripts map[string]bool) bool {
	if len(scripts) < 2 {
		return true
	}
	return slices.ContainsFunc(mixtures, func(mixture []string) bool {
		for script := range scripts {
			if !slices.Contains(mixture, script) {
				return false
			}
		}
		return true
	})
}

// likeLatin are letters of other scripts that look like Latin ones. A name of
// nothing else is a Latin name in disguise.
var likeLatin = func() map[rune]bool {
	set := map[rune]bool{}
	for _, c := range "аеорсухѕіјԛԝһӏӀԁ" + "АВЕКМНОРСТУХЅІЈԚԜ" + "οαινρτυωχ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧ" + "օոսցհյզ" {
		set[c] = true
	}
	return set
}()
