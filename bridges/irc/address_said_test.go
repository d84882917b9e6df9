package irc

import (
	"crypto/tls"
	"testing"

	"trestle/bridges/bridge"
)

// Rooms say addresses that are of use elsewhere, and none of this machine or its neighbours.
func TestAddressesThatAreSaid(t *testing.T) {
	for addr, want := range map[string][2]string{
		"irc.example.org:6667": {"irc://irc.example.org", "ircs://irc.example.org:6667"},
		"irc.example.org:6697": {"irc://irc.example.org:6697", "ircs://irc.example.org"},
		"8.8.8.8:6667":         {"irc://8.8.8.8", "ircs://8.8.8.8:6667"},
		"127.0.0.1:6667":       {},
		"10.0.0.1:6667":        {},
		"169.254.1.1:6667":     {},
		"[::1]:6667":           {},
		"localhost:6667":       {},
		"ircd:6667":            {},
	} {
		plain := configured(Network{ID: "n", Addr: addr})
		secure := configured(Network{ID: "n", Addr: addr, TLS: &tls.Config{}})
		if got := [2]string{plain.publicAddress(), secure.publicAddress()}; got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	s := new(Service)
	s.networks.add(configured(Network{ID: "n", Name: "N", Addr: "irc.example.org:6667"}))
	info, ok := s.Describe(bridge.Key{Network: "n", Channel: "#a/b"}, "#A/b")
	if !ok || info.Channel.URL != "irc://irc.example.org/%23A%2Fb" || info.StateKey != "org.trestle.irc://n/%23a%2Fb" {
		t.Errorf("%+v", info)
	}
	if _, ok := s.Describe(bridge.Key{Network: "n", Channel: "bob @alice:localhost"}, "bob"); ok {
		t.Error("a direct chat says what it is bridged to")
	}
}

// configured is a network that only has settings.
func configured(config Network) *network {
	n := &network{config: config}
	n.live.Store(&settings{Network: config})
	return n
}
