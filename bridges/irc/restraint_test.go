package irc

import (
	"errors"
	"testing"
	"time"

	"trestle/bridges/irc/wire"
)

func TestRestraint(t *testing.T) {
	var r restraint
	fast, now := wire.Flood{Burst: 1000, Interval: time.Millisecond}, time.Now()
	if r.at(now) != 0 || restrained(fast, 0) != fast {
		t.Fatal("slower without a reason")
	}
	if !r.ended(0, fast, now) || r.at(now) != 1 {
		t.Fatal("as fast as before")
	}
	if want := (wire.Flood{Burst: 250, Interval: 4 * time.Millisecond}); restrained(fast, 1) != want {
		t.Errorf("a step is %+v", restrained(fast, 1))
	}
	if r.ended(0, fast, now) || r.at(now) != 1 {
		t.Error("another connection of the same pace counts again")
	}
	if !r.ended(1, fast, now) || r.at(now) != 2 {
		t.Error("the slower pace is still too fast, and stays")
	}
	if got := r.at(now.Add(restrainedFor)); got != 1 {
		t.Errorf("%d steps after a while", got)
	}
	if got := r.at(now.Add(5 * restrainedFor)); got != 0 {
		t.Errorf("%d steps in the end", got)
	}
	if !r.ended(0, fast, now.Add(6*restrainedFor)) {
		t.Error("it has to be slower once only")
	}
}

func TestRestraintEnds(t *testing.T) {
	for _, f := range []wire.Flood{{Burst: 1000}, {Burst: 1000, Interval: time.Millisecond}, wire.DefaultFlood, {Burst: 1, Interval: time.Minute}} {
		var r restraint
		now, steps := time.Now(), 0
		for r.ended(steps, f, now) {
			if steps++; steps > 10 {
				t.Fatalf("%+v: no end", f)
			}
		}
		end := restrained(f, steps)
		if end.Burst > f.Burst || end.Interval < f.Interval || end.Burst < 1 {
			t.Errorf("%+v ends at %+v", f, end)
		}
		if end != restrained(f, steps+1) {
			t.Errorf("%+v: %+v is not the end", f, end)
		}
		if end.Burst > slowest.Burst || end.Interval < slowest.Interval {
			t.Errorf("%+v ends at %+v, faster than the slowest", f, end)
		}
	}
}

func TestForFlooding(t *testing.T) {
	for text, want := range map[string]bool{
		"server closed the connection: Closing link: (alice@127.0.0.1) [Excess Flood] (ERROR)": true,
		"Closing Link: alice (RecvQ exceeded)":                                                 true,
		"Closing link: [Max RecvQ exceeded]":                                                   true,
		"Closing link: (floodgate@127.0.0.1) [Ping timeout]":                                   false,
		"Closing link: (recvq@excess.flood.example.org) [Quit: flood]":                         false,
		"Ping timeout: 120 seconds":                                                            false,
		"EOF":                                                                                  false,
	} {
		if forFlooding(errors.New(text)) != want {
			t.Error(text)
		}
	}
	if forFlooding(nil) {
		t.Error("a connection that ended well")
	}
}
