package irc

import (
	"encoding/json"
	"strings"
	"testing"

	"trestle/bridges/irc/format"
)

// However much one message on IRC is, and whatever it looks like, its event is one that homeservers take.
func TestLargeTextsFit(t *testing.T) {
	for name, text := range map[string]string{
		"long":     strings.Repeat("слово ", 6000),
		"quotes":   strings.Repeat(`"\`, 30000),
		"colours":  strings.Repeat("\x0304,05a", 9000),
		"lines":    strings.Repeat("\n", 60000) + "x",
		"unbroken": strings.Repeat("x", 65000),
		"short":    "\x02bold\x02",
	} {
		body, html := format.FromIRC(text, format.FromOptions{})
		short := len(body)+len(html) < 1000
		fit, formatted := fitting(body, html)
		raw, err := json.Marshal(fit + formatted)
		if err != nil || len(raw) > maxContent+100 && !strings.Contains(formatted, "<") {
			t.Errorf("%s: %d bytes, %v", name, len(raw), err)
		}
		if short && (fit != body || formatted != html) || fit == "" || !short && name != "colours" && len(fit) < maxContent/4 {
			t.Errorf("%s: %d bytes of %d, and %d of %d", name, len(fit), len(body), len(formatted), len(html))
		}
	}
}
