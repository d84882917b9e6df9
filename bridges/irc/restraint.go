package irc

import (
	"strings"
	"time"

	"trestle/bridges/irc/wire"
)

const (
	// restrainedFor is how long a network's connections stay slower by one step.
	restrainedFor = 10 * time.Minute
	// restraintStep is how much slower a step is.
	restraintStep = 4
)

// slowest is what a restraint ends at, unless the configuration is slower: no server is known that wants less.
var slowest = wire.Flood{Burst: 2, Interval: 2 * wire.DefaultFlood.Interval}

// A restraint has a network's connections speak more slowly than the configuration says once the network has ended some for
// flooding: they would come back, say the rest as fast, and be ended again. What is lost on the way is in doubt each time.
type restraint struct {
	steps int
	since time.Time // of the newest step, or of the last one that was taken back
}

// at is how many steps there are at a time.
func (r *restraint) at(now time.Time) int {
	if back := int(now.Sub(r.since) / restrainedFor); r.steps > 0 && back > 0 {
		r.steps = max(r.steps-back, 0)
		r.since = r.since.Add(time.Duration(back) * restrainedFor)
	}
	return r.steps
}

// ended notes that a connection was ended for flooding that had been made at so many steps, and tells whether
// those to come are slower: many may be ended for the same pace.
func (r *restraint) ended(steps int, flood wire.Flood, now time.Time) bool {
	if was := r.at(now); steps < was || restrained(flood, was+1) == restrained(flood, was) {
		return false
	}
	r.steps, r.since = r.steps+1, now
	return true
}

// restrained is a pace so many steps slower.
func restrained(f wire.Flood, steps int) wire.Flood {
	end := wire.Flood{Burst: min(f.Burst, slowest.Burst), Interval: max(f.Interval, slowest.Interval)}
	for range steps {
		f.Burst = max(f.Burst/restraintStep, end.Burst)
		f.Interval = min(max(f.Interval*restraintStep, time.Millisecond), end.Interval)
	}
	return f
}

// forFlooding tells whether a server has ended a connection because too much came too fast: "Excess Flood", or "(Max) RecvQ
// exceeded". Both have a space, which no nick, user name or host has that stands beside them.
func forFlooding(err error) bool {
	if err == nil {
		return false
	}
	text := strings.ToLower(err.Error())
	return strings.Contains(text, "excess flood") || strings.Contains(text, "recvq exceeded")
}

// paced sets how fast a connection that is about to be made may speak.
func (n *network) paced(l *link, c *call) {
	flood := wire.DefaultFlood
	if c.Flood != nil {
		flood = *c.Flood
	}
	l.steps = n.restraint.at(time.Now())
	flood = restrained(flood, l.steps)
	c.Flood = &flood
}

// noteFlooding has connections to come speak more slowly if one was ended for flooding.
func (n *network) noteFlooding(l *link, err error) {
	if l.unused || !forFlooding(err) { // of a connection that we end, the server says our own words
		return
	}
	flood := wire.DefaultFlood
	if set := n.now().Flood; set != nil {
		flood = *set
	}
	if n.restraint.ended(l.steps, flood, time.Now()) {
		slower := restrained(flood, n.restraint.steps)
		n.log.Warn("the network ends connections for flooding; they are slower for a while. Set flood_burst and flood_interval to what it allows",
			"flood_burst", slower.Burst, "flood_interval", slower.Interval, "err", err)
	}
}
