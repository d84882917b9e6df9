package irc

import (
	"context"
	"slices"
	"time"

	"trestle/bridges/bridge"
)

const (
	unvisitedLook = 5 * time.Minute // between two looks for rooms that nobody has joined, at most
	unvisitedWait = time.Minute     // for the homeserver, when one is given up
)

// giveUpUnvisited lets go of channels whose rooms were made because somebody asked for an alias, and then did not come: asking
// needs no account, and the bot can be in so many channels only. It is called on the loop.
func (n *network) giveUpUnvisited() {
	type stale struct {
		portal *bridge.Portal
		since  time.Time
	}
	var all []stale
	for _, p := range n.service.bridge.Portals() {
		since, unvisited := p.Unvisited()
		if unvisited && p.Key().Network == n.config.ID && time.Since(since) >= n.now().Unvisited && n.forNobody(p) {
			all = append(all, stale{p, since})
		}
	}
	slices.SortFunc(all, func(a, b stale) int { return a.since.Compare(b.since) })
	n.goRun(func() {
		for _, one := range all {
			n.leaveUnvisited(one.portal)
		}
		n.after(min(n.now().Unvisited/4, unvisitedLook), n.giveUpUnvisited)
	})
}

// forNobody tells whether the bot is in a channel for its room's sake alone.
func (n *network) forNobody(p *bridge.Portal) bool {
	return !p.Direct() && !p.Wanted() && !n.listed(p.Name())
}

// leaveUnvisited gives up one room, unless somebody is on the way there.
func (n *network) leaveUnvisited(p *bridge.Portal) {
	channel := p.Key().Channel
	done, free := n.occupied.vacate(channel)
	if !free {
		return // and so it is asked for again
	}
	defer done()
	ctx, cancel := context.WithTimeout(n.ctx, unvisitedWait)
	defer cancel()
	gone, err := n.service.bridge.GiveUpUnvisited(ctx, p)
	if err != nil && n.ctx.Err() == nil {
		n.log.Warn("a room that nobody has joined is not given up yet", "channel", channel, "err", err)
	}
	if !gone || err != nil {
		return
	}
	n.log.Info("nobody has joined the room of a channel: it is given up", "channel", channel)
	n.ask(n.ctx, func() {
		ch := n.channels[channel]
		if ch == nil || ch.portal != p {
			return
		}
		ch.portal, ch.recall = nil, nil
		if p.Wanted() { // since a moment ago
			n.want(ch.name)
			return
		}
		n.orphaned(ch)
	})
}

// orphaned is called when a channel has lost its portal: the bot leaves, unless somebody is opening it anew.
func (n *network) orphaned(ch *channel) {
	if ch.joined && len(ch.waiting) > 0 {
		if err := ch.bind(); err != nil {
			n.log.Error("channel has no portal", "channel", ch.name, "err", err)
		}
		return
	}
	n.abandon(ch.name)
}
