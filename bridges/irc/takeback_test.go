package irc

import (
	"testing"
	"time"

	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// Two bridges that both insist do not go on as fast as they can: after some times each waits, and nothing waits twice.
func TestWhatIsRefusedAgainAndAgainIsTakenBackSlowly(t *testing.T) {
	n, _ := listen(t, fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{}).Addr)
	var waits []func()
	n.ask(t.Context(), func() {
		n.channel("#c")
		n.timer = func(_ time.Duration, fn func()) *time.Timer {
			waits = append(waits, fn)
			return time.NewTimer(time.Hour)
		}
	})
	topics, bans := 0, 0
	insists := func(about string, count *int, times int) {
		for range times {
			n.takeBack("#c", about, func() { *count++ })
		}
		n.ask(t.Context(), func() {})
	}
	insists("topic", &topics, takeBacks.Burst)
	if topics != takeBacks.Burst || len(waits) > 0 {
		t.Errorf("of %d, %d are taken back at once", takeBacks.Burst, topics)
	}
	insists("topic", &topics, 20)
	insists("ban bob", &bans, 20)
	if topics != takeBacks.Burst || bans > 0 || len(waits) != 2 {
		t.Errorf("%d topics, %d bans are taken back, and %d things wait", topics, bans, len(waits))
	}
	for _, fn := range waits {
		fn()
	}
	n.ask(t.Context(), func() {})
	if topics != takeBacks.Burst+1 || bans != 1 {
		t.Errorf("after the wait there are %d topics, %d bans", topics, bans)
	}
	insists("topic", &topics, 1)
	if len(waits) != 3 {
		t.Error("what comes later does not wait anew")
	}
	other := 0
	n.takeBack("#other", "topic", func() { other++ })
	n.ask(t.Context(), func() {})
	if other != 1 {
		t.Error("a channel that is not there is waited for")
	}
}
