package wire_test

import (
	"testing"

	"trestle/bridges/irc/wire"
)

// What connections share, each can lose for itself.
func TestSharing(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.send(":irc.fake CAP * LS :batch=x server-time")
		p.send(":irc.fake CAP * ACK :" + p.expect("CAP REQ :"))
		p.expect("CAP END")
		p.send(":irc.fake 001 alice :Welcome", ":irc.fake 005 alice NETWORK=Fake MODES=4 :are supported", ":irc.fake 376 alice :end")
		for p.expect("PRIVMSG me ") != "" {
			p.send(":irc.fake CAP alice DEL :batch", ":irc.fake CAP alice NEW :server-time=y", ":irc.fake 005 alice MODES=6 :are supported", ":irc.fake NOTICE alice :done")
		}
	})
	shared := new(wire.Shared)
	first, heard := dial(t, wire.Options{Addr: addr, Nick: "alice", Shared: shared})
	second, _ := dial(t, wire.Options{Addr: addr, Nick: "alice", Shared: shared})
	if first.Support() != second.Support() {
		t.Error("what the server says of itself is kept twice")
	}
	if err := first.Send(t.Context(), wire.NewMessage("PRIVMSG", "me", "differently")); err != nil {
		t.Fatal(err)
	}
	heard.wait(t, "NOTICE", "alice", "done")
	if first.HasCap("batch") || first.CapValue("server-time") != "y" || first.Support().Modes != 6 {
		t.Errorf("the first has %+v", first.Support())
	}
	third, _ := dial(t, wire.Options{Addr: addr, Nick: "alice", Shared: shared})
	for _, c := range []*wire.Conn{second, third} {
		if !c.HasCap("batch") || c.CapValue("batch") != "x" || c.CapValue("server-time") != "" || c.Support().Modes != 4 {
			t.Errorf("another has %+v", c.Support())
		}
	}
}
