package wire_test

import (
	"errors"
	"strings"
	"testing"

	"trestle/bridges/irc/wire"
)

// mechanismServer offers mechanisms, expects one, and says that all is well without having
// seen more than its name.
func mechanismServer(t *testing.T, offer, want string) string {
	return serve(t, func(p *peer) {
		p.expect("CAP LS 302")
		p.send(":irc.fake CAP * LS :" + offer)
		p.send(":irc.fake CAP * ACK :" + strings.TrimPrefix(p.expect("CAP REQ "), ":"))
		if got := p.expect("AUTHENTICATE "); got != want {
			p.t.Errorf("%s: %s was chosen, want %s", offer, got, want)
		}
		p.send(":irc.fake 903 alice :ok", ":irc.fake 001 alice :Welcome", ":irc.fake 376 alice :end")
		p.hold()
	})
}

func TestAnyOf(t *testing.T) {
	for _, c := range []struct {
		offer, want string
		err         error
	}{
		{"sasl=PLAIN,SCRAM-SHA-256", "SCRAM-SHA-256", wire.ErrAuth}, // the server has proved nothing
		{"sasl=EXTERNAL,PLAIN,SCRAM-SHA-1", "PLAIN", nil},
		{"sasl", "PLAIN", nil},
	} {
		mechanisms := wire.AnyOf(wire.ScramSHA512("a", "b"), wire.ScramSHA256("a", "b"), wire.Plain("a", "b"))
		conn, err := wire.Dial(withTimeout(t), wire.Options{Addr: mechanismServer(t, c.offer, c.want), Nick: "alice", SASL: mechanisms})
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v", c.offer, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}
