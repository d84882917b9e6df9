package irc

import (
	"time"
)

// takeBacks is how often what IRC refuses is taken back in a room at once. Another bridge, or somebody's bot, may
// insist: then the two of them would go on for ever, as fast as they can.
var takeBacks = Pace{Burst: 10, Interval: 30 * time.Second}

// takingBack is what a channel's room is about to get back. It belongs to the network's loop.
type takingBack struct {
	pace    pace
	pending map[string]bool // what waits, by what it is about
}

// takeBack gives a room back what somebody has changed and IRC has refused: at once or, if that has been often, later. What is
// about the same thing and comes meanwhile is taken back with it.
func (n *network) takeBack(channel, about string, fn func()) {
	n.post(func() {
		ch := n.channels[channel]
		if ch == nil {
			fn()
			return
		}
		back := &ch.back
		if back.pending[about] {
			return
		}
		if back.pending == nil {
			back.pending, back.pace.config = map[string]bool{}, takeBacks
		}
		wait := back.pace.reserve(time.Now())
		if wait == 0 {
			fn()
			return
		}
		back.pending[about] = true
		n.after(wait, func() {
			delete(back.pending, about)
			fn()
		})
	})
}
