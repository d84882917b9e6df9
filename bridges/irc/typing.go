package irc

import (
	"context"
	"slices"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	typingAgain  = 5 * time.Second  // IRC forgets after six that somebody types
	typingPause  = 3 * time.Second  // between two of one user about one channel, at least
	typingMost   = 60 * time.Second // nobody types longer without a word of the homeserver
	typingActive = 7 * time.Second
	typingPaused = 30 * time.Second
	typingWait   = 10 * time.Second // for the homeserver to take it
	typingAtOnce = 4                // requests to it
)

// A typist is somebody who is typing in a channel: on Matrix, with a timer that goes on
// telling IRC; or on IRC, with the time until which Matrix was told.
type typist struct {
	timer *time.Timer
	since time.Time
	last  time.Time // when the other side was last told
	until time.Time
}

type typistKey struct {
	channel string
	user    matrix.UserID
}

// typists belong to the network's loop.
type typists struct {
	people map[typistKey]*typist // of Matrix
	ghosts map[typistKey]*typist
	slots  chan struct{}
}

func newTypists() typists {
	return typists{map[typistKey]*typist{}, map[typistKey]*typist{}, make(chan struct{}, typingAtOnce)}
}

// HandleTyping implements bridge.Typing.
func (s *Service) HandleTyping(p *bridge.Portal, users []matrix.UserID) {
	n := s.network(p.Key().Network)
	if n == nil || n.now().NoTyping || !n.running() {
		return
	}
	select {
	case n.posts <- func() { n.typingNow(p.Key().Channel, users) }:
	default: // busier things to do
	}
}

// typingNow takes the homeserver's list of who types in a channel.
func (n *network) typingNow(channel string, users []matrix.UserID) {
	for key, t := range n.typing.people {
		if key.channel == channel && !slices.Contains(users, key.user) {
			t.timer.Stop()
			delete(n.typing.people, key)
			if time.Since(t.last) >= typingPause {
				n.tellTyping(key, "done")
			}
		}
	}
	for _, user := range users {
		key := typistKey{channel, user}
		if n.typing.people[key] == nil {
			t := &typist{since: time.Now()}
			n.typing.people[key] = t
			n.keepTyping(key, t)
		}
	}
}

// keepTyping tells IRC that somebody types, again and again.
func (n *network) keepTyping(key typistKey, t *typist) {
	if time.Since(t.since) > typingMost {
		delete(n.typing.people, key)
		return
	}
	n.tellTyping(key, "active")
	t.last = time.Now()
	t.timer = n.after(typingAgain, func() {
		if n.typing.people[key] == t {
			n.keepTyping(key, t)
		}
	})
}

// tellTyping sends a puppet's tag, if that keeps nothing else waiting.
func (n *network) tellTyping(key typistKey, state string) {
	p := n.puppets[key.user]
	if p == nil || p.link == nil || p.link.conn == nil || p.wanted[key.channel] == nil || !n.service.wants(p.user, featureTyping) {
		return
	}
	conn, target := p.link.conn, p.wanted[key.channel].name
	if conn.HasCap("message-tags") && conn.In(target) {
		conn.Spare(&wire.Message{Tags: map[string]string{"+typing": state}, Command: "TAGMSG", Params: []string{target}})
	}
}

// hearTyping shows on Matrix what a ghost does.
func (n *network) hearTyping(ch *channel, u *user, state string) {
	lasts := map[string]time.Duration{"active": typingActive, "paused": typingPaused, "done": 0}
	how, ok := lasts[state]
	if !ok || n.now().NoTyping || ch.portal.Room() == "" || !ch.portal.Open() { // it would be old when it may be shown
		return
	}
	key := typistKey{ch.key, n.ghost(u.nick).ID}
	t := n.typing.ghosts[key]
	if how == 0 && t == nil || how > 0 && t != nil && time.Since(t.last) < typingPause {
		return
	}
	n.showTyping(ch, key, how)
}

// stopTyping is called when a ghost has said something.
func (n *network) stopTyping(ch *channel, user matrix.UserID) {
	key := typistKey{ch.key, user}
	if t := n.typing.ghosts[key]; t != nil {
		if time.Now().Before(t.until) {
			n.showTyping(ch, key, 0)
		} else {
			delete(n.typing.ghosts, key)
		}
	}
}

// showTyping tells the homeserver; what would have to wait is left out.
func (n *network) showTyping(ch *channel, key typistKey, how time.Duration) {
	select {
	case n.typing.slots <- struct{}{}:
	default:
		return
	}
	if how == 0 {
		delete(n.typing.ghosts, key)
	} else {
		now := time.Now()
		n.typing.ghosts[key] = &typist{last: now, until: now.Add(how)}
		n.after(how+time.Second, func() {
			if t := n.typing.ghosts[key]; t != nil && time.Now().After(t.until) {
				delete(n.typing.ghosts, key)
			}
		})
	}
	room, ghost := ch.portal.Room(), n.service.bridge.Client().As(key.user)
	n.goRun(func() {
		defer func() { <-n.typing.slots }()
		ctx, cancel := context.WithTimeout(n.ctx, typingWait)
		defer cancel()
		if err := ghost.Typing(ctx, room, how); err != nil {
			n.log.Debug("typing was not shown", "user", key.user, "err", err)
		}
	})
}
