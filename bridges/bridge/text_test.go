package bridge

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzNamesAreStored(f *testing.F) {
	for _, name := range []string{"#trestle", "", "#\xff\x00", "\x01x", "#é"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		text := storable(name)
		if !utf8.ValidString(text) || strings.Contains(text, "\x00") {
			t.Errorf("%q is stored as %q", name, text)
		}
		if back := stored(text); back != name {
			t.Errorf("%q comes back as %q", name, back)
		}
	})
}
