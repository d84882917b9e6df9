package irc

import (
	"time"
)

const (
	roomWait    = time.Second // for a connection that gives way to another
	maxFailures = 20          // with which every backoff is at its longest
)

// makeRoom ends the connection that has been silent for longest, if that is long enough by the
// network's policy.
func (n *network) makeRoom() bool {
	if n.now().MakeRoom == 0 {
		return false
	}
	var silent *puppet
	var since time.Time
	for _, p := range n.puppets {
		if p.link == nil || p.link.conn == nil || p.link.closed || p.speech.busy() {
			continue
		}
		if p.link.unused { // one is on its way out already
			return true
		}
		if last := p.speech.lastUse(p.since); silent == nil || last.Before(since) {
			silent, since = p, last
		}
	}
	if silent == nil || time.Since(since) < n.now().MakeRoom {
		return false
	}
	n.log.Info("puppet gives way to another", "user", silent.user, "silent_for", time.Since(since).Round(time.Second))
	silent.expelAll("Silent for so long that the connection to " + n.now().Name + " was given to somebody else. Join again to come back.")
	silent.link.quit("Making room for others")
	return true
}

// notify tells the user alone; in the rooms of the channels, if there is no other place.
func (p *puppet) notify(text string) {
	if p.net.service.bridge.Notify(p.user, "Your connection "+text) {
		return
	}
	for _, w := range p.wanted {
		w.portal.Notice(string(p.user) + "'s connection " + text)
		return
	}
}

// notifyOnce is notify until there is a connection.
func (p *puppet) notifyOnce(text string) {
	if !p.told {
		p.told = true
		p.notify(text)
	}
}
