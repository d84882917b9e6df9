package irc

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
)

// What the last line of a server was is told, however soon the next one dies, and however late it is known that
// the line had got there.
func TestServersThatDieOneAfterTheOther(t *testing.T) {
	n := &network{service: &Service{metrics: newMetrics()}}
	n.bot = &bot{net: n}
	s := new(speech)
	s.init(n, nil, nil)
	registry := prometheus.NewRegistry()
	registry.MustRegister(n.service.metrics.doubtful)
	told := func(want float64) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		if got := families[0].GetMetric()[0].GetCounter().GetValue(); got != want {
			t.Errorf("%v lines are said to be torn, want %v", got, want)
		}
	}
	say := func(conn *wire.Conn) {
		s.noteShown(conn, &utterance{portal: &bridge.Portal{}}, &line{made: time.Now()})
	}
	for died := range 5 {
		conn := new(wire.Conn)
		say(conn)
		n.torn(s, &link{conn: conn})
		told(float64(died + 1))
	}
	conn := new(wire.Conn)
	s.line = &line{made: time.Now()}
	n.torn(s, &link{conn: conn})
	told(5)
	say(conn)
	told(6)
	s.sawGo()
	s.line = nil
	lived := new(wire.Conn)
	s.noteShown(lived, &utterance{portal: &bridge.Portal{}}, &line{made: time.Now().Add(-time.Minute)})
	n.torn(s, &link{conn: lived})
	told(6)
}
