package irc

import (
	"fmt"
	"testing"
	"time"
)

// A busy channel costs no memory of all that is said there, nor time for it: nothing is kept of who repeats nobody.
func TestWhoRepeatsNobodyIsForgotten(t *testing.T) {
	var l loops
	now := time.Now()
	const crowd = 3 * loopVoices
	for i := range crowd {
		l.crosses("#c", speaker{fmt.Sprint("irc ", i), fmt.Sprint("nick", i)}, fmt.Sprint("a text that nobody else says ", i), now)
	}
	c := l.channels["#c"]
	if len(c.voices)+len(c.hops)+len(c.texts) > loopTexts {
		t.Errorf("%d voices, %d hops, %d texts are kept", len(c.voices), len(c.hops), len(c.texts))
	}
	// Nor does memory grow with those who repeat everything.
	for i := range 15 * loopVoices {
		for _, by := range []string{"a", "b"} {
			now = now.Add(50 * time.Microsecond)
			l.crosses("#c", speaker{fmt.Sprint(by, i), fmt.Sprint(by, i)}, fmt.Sprint("a text that somebody repeats ", i), now)
		}
	}
	if len(c.voices) > 12*loopVoices || len(c.hops) > 12*loopVoices {
		t.Errorf("%d voices and %d hops are kept", len(c.voices), len(c.hops))
	}
}
