package irc

import "time"

const (
	forgetAfter = time.Hour // when all that is counted for a user, to be so often and not more, has been forgiven
	forgetEvery = 10 * time.Minute
)

// forgetIdle forgets Matrix users who have had nothing to do with the network for so long that nothing of what is known of them
// in memory matters: there may be ever more who come and go. It is called on the loop.
func (n *network) forgetIdle(now time.Time) {
	for user, p := range n.puppets {
		switch {
		case p.used():
			p.idleSince = time.Time{}
		case p.idleSince.IsZero():
			p.idleSince = now
		case now.Sub(p.idleSince) >= forgetAfter:
			delete(n.puppets, user)
		}
	}
}

// used tells whether there is, or may soon be, something to do for a puppet.
func (p *puppet) used() bool {
	return p.link != nil || p.waiting != nil || p.needed() || len(p.opening) > 0 || len(p.seen) > 0 || p.speech.busy()
}

// forgetAgain does so for ever.
func (n *network) forgetAgain() {
	n.after(forgetEvery, func() {
		n.forgetIdle(time.Now())
		n.forgetAgain()
	})
}
