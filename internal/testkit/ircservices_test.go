package testkit_test

import (
	"testing"

	"trestle/internal/testkit"
)

func TestAnopeNetwork(t *testing.T) {
	network := testkit.AnopeNetwork(t)
	bob := testkit.DialIRC(t, network.Addr, "bob", "CAP LS 302")
	network.RegisterNick(bob, "secret")
	bob.Send("WHOIS bob")
	bob.Expect(" 330 ", "bob bob")
}
