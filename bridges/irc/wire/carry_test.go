package wire_test

import (
	"slices"
	"strings"
	"testing"

	"trestle/bridges/irc/format"
	"trestle/bridges/irc/wire"
)

// What is said in several messages looks in each as it would in one.
func TestLooksGoOn(t *testing.T) {
	words := strings.Repeat("word ", 100)
	for name, test := range map[string]struct{ begin, carried string }{
		"plain":                {"", ""},
		"bold":                 {"\x02", "\x02"},
		"no longer bold":       {"\x02x\x02", ""},
		"bold and italic":      {"\x1d\x02", "\x1d\x02"},
		"reset":                {"\x1d\x0304x\x0f\x1f", "\x1f"},
		"spoiler":              {"\x0301,01", "\x0301,01"},
		"short numbers":        {"\x034,1x", "\x0304,01"},
		"background stays":     {"\x034,1x\x035y", "\x0305,01"},
		"end of colours":       {"\x0304,01x\x03", ""},
		"hex":                  {"\x04ff0000,00ff00", "\x04ff0000,00ff00"},
		"no hex":               {"\x04abx", ""},
		"hex and no more":      {"\x04ff0000,00x", "\x04ff0000"},
		"the comma is no code": {"\x034,", "\x0304"},
		"reverse":              {"\x16", "\x16"},
	} {
		said, _ := paragraphs(t, "", wire.Privmsg, test.begin+words)
		if len(said) < 2 || !strings.HasPrefix(said[1], test.carried+" word") {
			t.Errorf("%s: %q", name, said)
		}
		batch, sent := paragraphs(t, "draft/multiline=max-bytes=4096", wire.Privmsg, test.begin+words)
		if len(batch) != 1 || format.Strip(batch[0]) != format.Strip(test.begin+words) {
			t.Errorf("%s: %q", name, batch)
		}
		reset := ""
		if test.carried != "" {
			reset = "\x0f"
		}
		if !slices.ContainsFunc(sent, func(line string) bool {
			return strings.Contains(line, "draft/multiline-concat") && strings.Contains(line, ":"+reset+test.carried+" word")
		}) {
			t.Errorf("%s: the batch is %q", name, sent)
		}
	}
	// A comma and a digit that follow are the text's.
	said, _ := paragraphs(t, "", wire.Privmsg, "\x0304xx"+strings.Repeat(",1", 300))
	if len(said) < 2 || !strings.HasPrefix(said[1], "\x0304\x02\x02,1") {
		t.Errorf("digits: %q", said)
	}
}
