package irc

import (
	"context"
	"strconv"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
)

const (
	historyWait  = 5 * time.Second        // for one page
	historyLines = 100                    // lines asked for at once, if the server says nothing
	historyPages = 10                     // of one gap
	historyOld   = 30 * time.Second       // a line that is older, by its time, was not said now
	historyAway  = 5 * time.Minute        // the same where it would be lost by that
	playbackWait = 500 * time.Millisecond // for the next line that a bouncer plays back
	sameMoment   = 30 * time.Second       // how much the clocks of a server and ours may differ
	playbackMost = time.Minute            // for all that it plays back at once
	maxReplayed  = 5000                   // lines of history in memory, for one channel
	maxSince     = 2000                   // lines that wait for it
)

// A recall is what a channel has of its history that is not worked off: what the server, or a
// bouncer, tells of earlier, and what is said meanwhile, which comes behind it.
type recall struct {
	lines   []*wire.Message // of earlier
	since   []*wire.Message // said since
	timer   *time.Timer     // until a bouncer has told all; nil while the server was asked
	working bool
	begun   time.Time
	done    func() // to be called at the end; may be nil
}

// fromThePast tells whether a line is history: by its batch, as soju and servers have it, or
// by its time alone, as ZNC does.
func (n *network) fromThePast(m *wire.Message) bool {
	old := historyOld
	if n.guarded() {
		old = historyAway
	}
	return m.Replayed() || m.Tag("time") != "" && time.Since(m.Time)-n.skew > old
}

// remember takes what is history, and what has to wait for it; false for all else.
func (n *network) remember(ch *channel, m *wire.Message) bool {
	past := n.fromThePast(m)
	switch {
	case past && (n.guarded() || ch.portal.Plumbed()):
		return true // nobody knows who was there when it was said, or whether an operator had consented
	case !past && ch.recall == nil:
		return false
	case ch.recall == nil:
		ch.recall = &recall{begun: time.Now()}
	}
	r := ch.recall
	if past && len(r.lines) < maxReplayed {
		r.lines = append(r.lines, m)
	}
	if !past {
		r.since = append(r.since, m)
	}
	switch {
	case len(r.since) >= maxSince && r.working: // nobody can be so slow
		n.log.Warn("what was said earlier is not told: too much is said meanwhile", "channel", ch.name)
		r.lines = nil
		n.recalled(ch, r, nil)
	case r.working:
	case len(r.since) >= maxSince, time.Since(r.begun) > playbackMost: // there may be no end to it
		n.recallNow(ch)
	case r.timer == nil:
		r.timer = n.after(playbackWait, func() {
			if ch.recall == r && !r.working {
				n.recallNow(ch)
			}
		})
	case past:
		r.timer.Reset(playbackWait)
	}
	return true
}

// fillGap asks for what was said since the channel was last heard or, if it never was, for its
// last lines, and calls done when these are on their way to the room.
func (n *network) fillGap(ch *channel, c *wire.Conn, done func()) {
	if n.guarded() || ch.portal.Plumbed() || !c.HasCap("draft/chathistory") || ch.portal.Room() == "" && n.now().Scrollback == 0 {
		done()
		return
	}
	if ch.recall == nil {
		ch.recall = &recall{begun: time.Now()}
	}
	r := ch.recall
	if r.working { // it is being asked already, or a bouncer has told
		if r.done == nil {
			r.done = done
		}
		return
	}
	r.working, r.done = true, done
	limit := min(historyLines, max(c.Support().ChatHistory, 0))
	if limit == 0 {
		limit = historyLines
	}
	n.goRun(func() {
		err := n.readHistory(ch, c, limit)
		if err != nil && n.ctx.Err() == nil {
			n.log.Info("the server does not tell what was said earlier", "channel", ch.name, "err", err)
		}
		n.post(func() {
			if ch.recall == r { // else the bot has left meanwhile
				n.recallNow(ch)
			}
		})
	})
}

// readHistory asks for page after page.
func (n *network) readHistory(ch *channel, c *wire.Conn, limit int) error {
	last, err := ch.portal.LastHeard(n.ctx)
	if err != nil {
		return err
	}
	if last.IsZero() {
		_, _, err := n.historyPage(c, wire.NewMessage("CHATHISTORY", "LATEST", ch.name, "*", strconv.Itoa(min(limit, max(n.now().Scrollback, 1)))))
		return err
	}
	// Several lines may have one time: what is known already is known twice then.
	from := stampOf(last.Add(-time.Second))
	for range historyPages {
		lines, newest, err := n.historyPage(c, wire.NewMessage("CHATHISTORY", "AFTER", ch.name, from, strconv.Itoa(limit)))
		if err != nil || lines < limit || newest == from {
			return err
		}
		from = newest
	}
	return nil
}

func stampOf(t time.Time) string {
	return "timestamp=" + t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// historyPage asks for one page, whose lines come to remember, and tells how many there were and
// where the next begins.
func (n *network) historyPage(c *wire.Conn, ask *wire.Message) (lines int, newest string, err error) {
	ctx, cancel := context.WithTimeout(n.ctx, historyWait)
	defer cancel()
	var refused *wire.SendError
	channel := c.Support().CaseMapping.Fold(ask.Param(1))
	err = c.Request(ctx, ask, func(m *wire.Message) bool {
		switch {
		case m.Command == "FAIL" && m.Param(0) == "CHATHISTORY":
			refused = &wire.SendError{Target: ask.Param(1), Code: m.Param(1), Text: m.Last()}
			return true
		case !m.Replayed() || len(m.Batch.Params) == 0 || c.Support().CaseMapping.Fold(m.Batch.Params[0]) != channel:
		case m.Command == "BATCH":
			return m.Param(0) == "-"+m.Batch.Reference
		case m.Command == "PRIVMSG" || m.Command == "NOTICE":
			lines++
			if newest = stampOf(m.Time); m.ID() != "" {
				newest = "msgid=" + m.ID()
			}
		}
		return false
	})
	if refused != nil {
		err = refused
	}
	return lines, newest, err
}

// recallNow puts what was said earlier, and is not known yet, into the room, and then
// what was said since.
func (n *network) recallNow(ch *channel) {
	r := ch.recall
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	if len(r.lines) == 0 {
		n.recalled(ch, r, nil)
		return
	}
	r.working = true
	from, to := r.lines[0].Time, r.lines[0].Time
	for _, m := range r.lines {
		if m.Time.Before(from) {
			from = m.Time
		}
		if m.Time.After(to) {
			to = m.Time
		}
	}
	n.goRun(func() {
		said, err := ch.portal.Said(n.ctx, from.Add(-sameMoment), to.Add(sameMoment))
		if err != nil && n.ctx.Err() == nil {
			n.log.Error("what was said earlier is not told: nobody knows what of it is in the room", "channel", ch.name, "err", err)
		}
		n.post(func() {
			if err != nil {
				r.lines = nil
			}
			n.recalled(ch, r, said)
		})
	})
}

func (n *network) recalled(ch *channel, r *recall, said []bridge.Sent) {
	if ch.recall != r {
		return
	}
	ch.recall = nil
	known := n.knownLines(ch, said)
	for _, m := range r.lines {
		if content, ok := n.content(ch, m); ok && !n.barredOnIRC(m.Prefix) && !known.has(n, m, excerpt(content.Body)) {
			known.add(m)
			n.tell(ch, m, content)
		}
	}
	for _, m := range r.since {
		if m.ID() == "" || !known.ids[m.ID()] {
			n.hearText(n.bot.link.conn, m)
		}
	}
	if r.done != nil {
		r.done()
	}
}

// tell says in the room what somebody said on IRC.
func (n *network) tell(ch *channel, m *wire.Message, content *event.MessageEventContent) {
	ch.portal.Say(bridge.Message{
		Sender: n.ghost(m.Prefix.Nick), Content: n.sourced(ch, m, content), Time: m.Time, RemoteID: m.ID(), Excerpt: excerpt(content.Body), ReplyTo: replied(m),
	}, nil)
	if !m.Replayed() {
		n.stopTyping(ch, n.ghost(m.Prefix.Nick).ID)
	}
	n.trim(ch)
}

// knownLines tells history that is news from history that is not.
type knownLines struct {
	ids     map[string]bool
	said    []bridge.Sent
	puppets map[string]bool // nicks of Matrix users, folded
	isGhost func(bridge.Sent) bool
}

func (n *network) knownLines(ch *channel, said []bridge.Sent) *knownLines {
	k := &knownLines{ids: map[string]bool{}, said: said, puppets: map[string]bool{}}
	k.isGhost = func(s bridge.Sent) bool { return n.service.bridge.IsGhost(s.Sender) }
	for _, s := range said {
		if s.RemoteID != "" {
			k.ids[s.RemoteID] = true
		}
	}
	for nick := range n.byNick {
		k.puppets[nick] = true
	}
	for user, display := range ch.portal.People() {
		k.puppets[n.fold(n.now().templates.puppetNick(user, display, n.nickLength()))] = true
	}
	return k
}

// has tells whether the room has a line, or one of its people has said it.
func (k *knownLines) has(n *network, m *wire.Message, excerpt string) bool {
	if k.puppets[n.fold(m.Prefix.Nick)] || n.bot.is(m.Prefix.Nick) || m.ID() != "" && k.ids[m.ID()] {
		return true
	}
	ghost := n.ghost(m.Prefix.Nick).ID
	u := n.users[n.fold(m.Prefix.Nick)]
	known := u != nil && u.visible()
	for i, s := range k.said {
		mine := s.Sender == ghost && (s.RemoteID == "" || m.ID() == "") || !known && !k.isGhost(s) // under a nick of before
		if mine && s.Excerpt == excerpt && s.Time.Sub(m.Time).Abs() <= sameMoment {
			k.said = append(k.said[:i:i], k.said[i+1:]...) // one line each
			return true
		}
	}
	return false
}

func (k *knownLines) add(m *wire.Message) {
	if m.ID() != "" {
		k.ids[m.ID()] = true
	}
}
