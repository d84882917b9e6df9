package matrix_test

import (
	"testing"

	"trestle/internal/matrix"
)

func TestConfusing(t *testing.T) {
	for name, want := range map[string]bool{
		"alice":         false,
		"alice_2.0-x":   false,
		"zoë":           false,
		"алиса":         false, // one script, with letters of its own
		"Ελλάδα":        false,
		"東京タワーtower":    false,
		"한국어漢字abc":      false,
		"注音ㄅㄆ":          false,
		"☕ 2026":        false,
		"":              false,
		"аlice":         true, // Cyrillic а
		"аррӏе":         true, // all Cyrillic, and all of it looks Latin
		"αlpha":         true,
		"漢字алиса":       true,
		"al\u200bice":   true, // zero width space
		"ali\u202eec":   true, // right-to-left override
		"a\ufe0fb":      true, // variation selector
		"bad\ufffdname": true,
	} {
		if got := matrix.Confusing(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

func FuzzConfusing(f *testing.F) {
	f.Add("alice")
	f.Add("аррӏе")
	f.Fuzz(func(t *testing.T, name string) {
		// What is safe on its own does not become safer by an invisible letter.
		if !matrix.Confusing(name + "\u200b") {
			t.Errorf("%q with a zero width space is not confusing", name)
		}
	})
}
