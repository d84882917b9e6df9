package config

import (
	"slices"
	"testing"
)

func TestDifferences(t *testing.T) {
	parse := func(text string) *Config {
		c, err := Parse("trestle.yaml", []byte("server_name: example.org\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := parse("bridges: {irc: {networks: {one: {enabled: true, address: 'irc.example.org:6667', channels: [], sasl: {mechanism: PLAIN, username: a, password: b}}}}}")
	after := parse("listen: ['127.0.0.1:9']\nbridges: {irc: {bot_user: other, networks: {one: {enabled: true, address: 'irc.example.org:6667', max_lines: 3, sasl: {mechanism: PLAIN, username: a, password: c}}}}}")
	if got, want := Differences(*before, *after), []string{"listen", "bridges.irc.bot_user", "bridges.irc.networks"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := Differences(before.Bridges.IRC.Networks["one"], after.Bridges.IRC.Networks["one"]), []string{"sasl.password", "max_lines"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := Differences(*before, *before); len(got) > 0 {
		t.Errorf("%v differ from themselves", got)
	}
}
