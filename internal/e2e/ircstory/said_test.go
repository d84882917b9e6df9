package ircstory_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// burst is how many lines bob says at once, on average.
const burst = 60

// TestNothingThatIRCSaysIsLost has bob count in bursts while the server, with its bridge, is killed:
// amid a burst, or in the moment in which the bridge has said that it has all of it.
func TestNothingThatIRCSaysIsLost(t *testing.T) {
	onBoth(t, func(t *testing.T, irc *testkit.IRCServer, trestle *testkit.Trestle) {
		bob := testkit.NewIRCWitness(t, irc.Addr)
		over, progress := stalled(t)
		bob.Until(over, func(seen *testkit.IRCSeen) bool { return seen.Bot })
		alice := newCounter(t, trestle)
		alice.joins(alias)

		n, began, seed := numbered(t), time.Now(), rand.Uint64()
		c := &killedCount{IRCWitness: bob, trestle: trestle, over: over, random: rand.New(rand.NewPCG(seed, 0))}
		for at := 1; at <= n && bob.Until(over, func(seen *testkit.IRCSeen) bool { return seen.Bot }); progress() {
			last := min(at+c.random.IntN(2*burst), n)
			c.say(at, last, max(2*burst, n/mostDeaths))
			at = last + 1
		}
		got, _ := alice.numbers(over, progress, c.stored)
		told := testkit.TallyNumbers(got, c.stored)
		told.TallyHoles(got, c.doubtful)
		t.Logf("%d lines from IRC to Matrix, %d deaths in %v, %d of them amid a burst: %v", n, c.deaths, time.Since(began).Round(time.Second), len(c.doubtful), told)
		if told.Lost+told.Doubled+told.Disordered > 0 {
			t.Errorf("seed %d: %s", seed, strings.Join(told.Where[:min(len(told.Where), 20)], "; "))
		}
		if c.deaths < 2 || len(c.stored) < n/3 {
			t.Errorf("seed %d: %d deaths, and bob knows of %d of %d lines that they are stored", seed, c.deaths, len(c.stored), n)
		}
	})
}

// A killedCount is bob counting while the bridge is killed.
type killedCount struct {
	*testkit.IRCWitness
	trestle *testkit.Trestle
	over    <-chan struct{}
	random  *rand.Rand

	stored   []int
	doubtful [][2]int // bursts of which the bridge has not said that it has them: first and last
	deaths   int
	next     int // the number at which the bridge dies next
}

// say says numbers, and has the bridge die once in so many lines: in turn amid a burst and after one.
func (c *killedCount) say(from, to, each int) {
	dead := make(chan struct{})
	close(dead)
	dies, amid := to >= c.next, c.deaths%2 == 0
	if dies && amid {
		dead = make(chan struct{})
		moment := time.Duration(c.random.IntN(15_000)) * time.Microsecond
		go func() {
			defer close(dead)
			<-time.After(moment)
			c.trestle.Kill()
		}()
	}
	stored := c.Says(c.over, from, to)
	if stored {
		for i := from; i <= to; i++ {
			c.stored = append(c.stored, i)
		}
	} else {
		c.doubtful = append(c.doubtful, [2]int{from, to})
	}
	if <-dead; !dies {
		return
	}
	if c.deaths++; !amid {
		c.trestle.Kill()
	}
	c.next = to + each/2 + c.random.IntN(each)
	// All that bob has said is with the IRC server, so that nothing of it comes to who comes back.
	c.Until(c.over, func(seen *testkit.IRCSeen) bool { return !seen.Bot })
	c.AskServer(c.over, to)
	c.trestle.Start()
}
