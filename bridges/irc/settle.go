package irc

import (
	"slices"
	"time"
)

// settleFor bounds the wait for the server to notice that a connection is dead.
const settleFor = 5 * time.Minute

// An unsettled line was handed to the kernel, and then the connection ended.
type unsettled struct {
	speech *speech
	line   *line
	nick   string // folded
	timer  *time.Timer
}

// settle finds out whether the server took a line before the connection ended. The bot's
// view decides: as long as it sees the user in the channel, the server may yet take and
// show the line; once the bot has seen the user go, whatever was not seen was not taken.
// If the server itself is gone, or no bot was watching, what was not seen was most
// likely not taken. The line is said again, and people are told: one that may be
// there twice is better than one that is lost.
func (n *network) settle(s *speech, l *line, nick string) {
	ch := n.known(l.channel)
	if ch == nil || s.puppet == nil || !n.bot.since.Before(l.sentAt) {
		s.decide(l, verdict{doubt: true}, false)
		return
	}
	open := &unsettled{speech: s, line: l, nick: n.fold(nick)}
	open.timer = n.after(settleFor, func() { n.close(open, true) })
	n.unsettled = append(n.unsettled, open)
	if !n.sees(open, ch) {
		n.catchUp(open)
	}
}

// sees tells whether the bot still has the user in the channel.
func (n *network) sees(open *unsettled, ch *channel) bool {
	u := n.users[open.nick]
	return u != nil && ch.members[u] && u.puppet == open.speech.puppet
}

// catchUp has the bot hear all that the server has to say by now: that it does not
// know the user may mean that it has yet to hear of its JOIN.
func (n *network) catchUp(open *unsettled) {
	conn := n.bot.link.conn
	n.goRun(func() {
		if conn.Barrier(n.ctx) != nil {
			return // the bot's end settles it
		}
		n.post(func() {
			ch := n.known(open.line.channel)
			if slices.Contains(n.unsettled, open) && ch != nil && !n.sees(open, ch) {
				n.close(open, false)
			}
		})
	})
}

// settleGone is called when the bot sees a user leave a channel.
func (n *network) settleGone(u *user, ch *channel) {
	if u.puppet != nil {
		u.puppet.speech.sawGo()
	}
	for _, open := range slices.Clone(n.unsettled) {
		if open.speech.puppet == u.puppet && open.line.channel == ch.key {
			n.close(open, false)
		}
	}
}

// settleChannel is called when the bot is no longer in a channel.
func (n *network) settleChannel(ch *channel) {
	for _, open := range slices.Clone(n.unsettled) {
		if open.line.channel == ch.key {
			n.close(open, true)
		}
	}
}

// close decides that a line was not taken, if it has not been seen by now.
func (n *network) close(open *unsettled, doubt bool) {
	open.timer.Stop()
	n.unsettled = slices.DeleteFunc(n.unsettled, func(other *unsettled) bool { return other == open })
	open.speech.decide(open.line, verdict{doubt: doubt}, false)
}
