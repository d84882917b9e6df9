package outbox

import (
	"math/rand/v2"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

const (
	// wellMost is how many events may wait for a server that takes what it is sent, awayMost for one that does not, and lostMost
	// for one that has not for longAway. What is more is thinned out: the newest event of each room stays, from which a server
	// that comes back finds what it has missed.
	wellMost = 10_000
	awayMost = 1000
	lostMost = 50
	longAway = 24 * time.Hour

	// longestPause is the longest pause before the next attempt.
	longestPause = time.Hour
	// longestVain is the longest pause before the next attempt at a destination that is heard from.
	longestVain = 10 * time.Minute
	// refusals is how often a transaction is sent that its destination says is no good. Then it is given up.
	refusals = 5
)

// A destination is another server for which something waits, or for which something did. It belongs to the desk.
type destination struct {
	name  matrix.ServerName
	state state
	at    time.Time // of the next attempt, while it rests
	index int       // in the alarms

	waiting     int // events, those of the transaction included
	arrived     int // events that have come while it was at work, and are not among them yet
	kept        int // how many were left when they were thinned out last
	transaction storage.Transaction
	unsure      bool // which transaction is stored

	failures  int       // in a row
	since     time.Time // of the first of them; zero: it takes what it is sent
	away      bool      // it could not be reached, and so is tried again when it is heard from
	heard     bool      // it has a turn, or will have one, because it was heard from
	vain      int       // how often it was heard from, and could not be reached all the same
	refused   int       // how often the transaction was called no good
	lastTaken time.Time
	lastError string
	lastFail  time.Time
}

type state int

const (
	idle    state = iota // nothing to do
	queued               // waits for its turn
	working              // is sent something, or thinned out
	resting              // until its alarm
)

// doubtful reports whether it is likely that an attempt fails.
func (d *destination) doubtful() bool { return !d.since.IsZero() }

// some reports whether there is anything to do.
func (d *destination) some() bool { return d.waiting > 0 || d.transaction.ID != "" }

// crowded reports whether more waits than may.
func (d *destination) crowded(now time.Time) bool {
	most := lostMost
	switch {
	case !d.doubtful():
		most = wellMost
	case now.Sub(d.since) < longAway:
		most = awayMost
	}
	// What cannot be thinned out is not looked at again all the time.
	return d.waiting > max(most, 2*d.kept)
}

// pause is how long to wait after a number of failures in a row: it doubles up to the longest, and is shortened by up to a
// quarter at random, so that what failed together does not come back together.
func pause(failures int, first time.Duration) time.Duration {
	d := min(first<<min(failures-1, 20), longestPause)
	return d - rand.N(d/4+1)
}

// alarms is a heap of resting destinations, the next one first.
type alarms []*destination

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, k int) bool { return a[i].at.Before(a[k].at) }
func (a alarms) Swap(i, k int) {
	a[i], a[k] = a[k], a[i]
	a[i].index, a[k].index = i, k
}

// Push implements heap.Interface.
func (a *alarms) Push(x any) {
	d := x.(*destination)
	d.index = len(*a)
	*a = append(*a, d)
}

// Pop implements heap.Interface.
func (a *alarms) Pop() any {
	old := *a
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	d.index = -1
	return d
}
