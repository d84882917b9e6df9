package irc

import (
	"fmt"
	"time"

	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

// A History is a network's policy on what was said before somebody came.
type History string

// The policies.
const (
	// HistoryJoined: what is said in a channel is only for those who are in it then.
	HistoryJoined History = "joined"
	// HistoryShared: who comes into a room may read what was said before.
	HistoryShared History = "shared"
)

// maxHeld is how much a room may be waiting for because of people who are not in the
// channel; beyond, these have to go.
const maxHeld = 1000

// Guarded implements bridge.Guards.
func (s *Service) Guarded(key bridge.Key) bool {
	if _, _, alone := direct(key); alone {
		return false
	}
	n := s.network(key.Network)
	return n == nil || n.guarded() // nobody knows what a network wanted that is not configured
}

func (n *network) guarded() bool { return n.now().History == HistoryJoined }

// attend tells the portal whether a puppet is in its channel. The bot's view decides: it has the
// channel's joins, parts and messages in one order.
func (n *network) attend(ch *channel, u *user) {
	if !n.guarded() || u.puppet == nil || ch.portal == nil {
		return
	}
	present := ch.members[u] || n.relays(ch.key, u.puppet.user)
	for other := range u.puppet.seen {
		present = present || ch.members[other]
	}
	ch.portal.SetPresent(u.puppet.user, present)
}

// sweep removes the people from rooms whose puppets have not been in the channels for too long:
// until then, nothing that is said there reaches the others either.
func (n *network) sweep() {
	now := time.Now()
	for _, ch := range n.channels {
		n.sweepChannel(ch, now)
	}
	n.after(max(n.now().Hold/8, time.Millisecond), n.sweep)
}

func (n *network) sweepChannel(ch *channel, now time.Time) {
	if !ch.joined || !ch.synced || ch.portal == nil || ch.portal.Room() == "" {
		ch.absent = nil // it is us who are away; nothing is held
		return
	}
	before := ch.absent
	ch.absent = nil
	for _, user := range ch.portal.Absent() {
		since, known := before[user]
		if !known {
			since = now
		}
		if now.Sub(since) >= n.now().Hold {
			n.evict(ch, user, fmt.Sprintf("Not in %s on IRC for %s. Join again to try again.", decode(ch.name), n.now().Hold))
			continue
		}
		if ch.absent == nil {
			ch.absent = map[matrix.UserID]time.Time{}
		}
		ch.absent[user] = since
	}
}

// evict takes somebody out of a room who is not in the channel.
func (n *network) evict(ch *channel, user matrix.UserID, reason string) {
	n.log.Info("a user is not in the channel and has to leave the room", "user", user, "channel", ch.name)
	if p := n.puppets[user]; p != nil && p.wanted[ch.key] != nil {
		p.expelled(ch.key, reason)
		return
	}
	ch.portal.Remove(user, reason)
}

// hold bounds what waits because of people who are not in the channel.
func (n *network) hold(ch *channel) {
	if !n.guarded() || ch.portal.Held() < maxHeld {
		return
	}
	for _, user := range ch.portal.Absent() {
		n.evict(ch, user, fmt.Sprintf("Much has been said in %s, and you are not there on IRC. Join again to try again.", decode(ch.name)))
	}
}

// expelAll takes the Matrix user out of all rooms of a network that is not left without them, if
// the network wants to see who reads.
func (p *puppet) expelAll(reason string) {
	if !p.net.guarded() {
		return
	}
	for channel := range p.wanted {
		p.expelled(channel, reason)
	}
}
