package irc

import (
	"strings"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
)

// maxSplit bounds whom a network may be waiting for.
const maxSplit = 100000

// A missing user was taken by a netsplit: in the rooms it stays as if nothing had
// happened, since most come back, and nobody wants to read of thousands who went and came.
type missing struct {
	ghost  bridge.Ghost
	reason string
	rooms  map[*bridge.Portal]bool
	timer  *time.Timer
}

// netsplit tells whether a QUIT is that of a user behind a link that broke: by its batch, or
// by its reason, the names of two servers, which servers let no client say.
func netsplit(m *wire.Message) bool {
	for b := m.Batch; b != nil; b = b.Parent {
		if b.Type == "netsplit" {
			return true
		}
	}
	here, there, two := strings.Cut(m.Last(), " ")
	return two && serverName(here) && serverName(there) && here != there
}

// serverName holds for "irc.example.net" and "*.net", which hides where the link was.
func serverName(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	if len(s) > 255 || strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") {
		return false
	}
	for i := range len(s) {
		if c := s[i] | 0x20; (c < 'a' || c > 'z') && (s[i] < '0' || s[i] > '9') && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return strings.Contains(s, ".") || s == "net" || s == "split"
}

// miss takes a user out of a channel whose ghost stays in the room for now.
func (n *network) miss(ch *channel, u *user, reason string) {
	key := n.fold(u.nick)
	lost := n.missing[key]
	if lost == nil {
		if len(n.missing) >= maxSplit || !u.visible() {
			n.gone(ch, u, reason)
			return
		}
		lost = &missing{ghost: n.ghost(u.nick), reason: reason, rooms: map[*bridge.Portal]bool{}}
		lost.timer = n.after(n.now().Netsplit, func() { n.giveUp(key, lost) })
		n.missing[key] = lost
	}
	lost.rooms[ch.portal] = true
	n.exit(ch, u)
}

// giveUp has a user leave who has not come back.
func (n *network) giveUp(key string, lost *missing) {
	if n.missing[key] != lost {
		return
	}
	delete(n.missing, key)
	lost.timer.Stop()
	for portal := range lost.rooms {
		portal.Leave(lost.ghost, lost.reason)
	}
}

// found notes that somebody who is in a channel has a nick now. It need not be who was missing: if it is nobody of the room, who
// was missing has left that.
func (n *network) found(ch *channel, u *user) {
	key := n.fold(u.nick)
	lost := n.missing[key]
	if lost == nil || !lost.rooms[ch.portal] {
		return
	}
	if !u.visible() {
		ch.portal.Leave(lost.ghost, lost.reason)
	}
	delete(lost.rooms, ch.portal)
	if len(lost.rooms) == 0 {
		lost.timer.Stop()
		delete(n.missing, key)
	}
}

// foundAll forgets who was missing in a channel whose members are known anew.
func (n *network) foundAll(portal *bridge.Portal) {
	for key, lost := range n.missing {
		delete(lost.rooms, portal)
		if len(lost.rooms) == 0 {
			lost.timer.Stop()
			delete(n.missing, key)
		}
	}
}
