package irc

import "testing"

// The bridge's own user is nobody on IRC, and whoever has the nick that would give its ID has another one.
func TestTheBotIsNobodyOnIRC(t *testing.T) {
	for _, kept := range []*keptNames{nil, {map[string]string{}}} {
		templates, err := newTemplates(&Network{ID: "n", Alias: "irc_{channel}", User: "irc_{nick}", DisplayName: "{nick}"})
		if err != nil {
			t.Fatal(err)
		}
		templates.bot, templates.kept, templates.fold = "irc_bot", kept, func(s string) string { return s }
		if nick, ok := templates.ghostNick("irc_bot"); ok {
			t.Errorf("the bot is %q", nick)
		}
		seen := map[string]string{}
		for _, nick := range []string{"bot", "bo", "bott", "Bot", "=62ot", "ot", "b", "botb"} {
			localpart := templates.ghostLocalpart(nick)
			if other, taken := seen[localpart]; taken || localpart == "irc_bot" {
				t.Errorf("%q and %q are %s", nick, other, localpart)
			}
			seen[localpart] = nick
			if back, ok := templates.ghostNick(localpart); !ok || back != nick {
				t.Errorf("%q is %s, which is %q", nick, localpart, back)
			}
		}
	}
}
