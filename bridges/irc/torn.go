package irc

import (
	"fmt"
	"slices"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	tornFor = 3 * time.Second // before its end a server may have shown a line to some and not to others
	maxEnds = 4               // of a speech's connections that are remembered
)

// A spoken line is the last that a connection is known to have got to the server. If that dies right then, it may
// have shown the line to the bot, or echoed it, and not yet to everybody: nobody on this side can know.
type spoken struct {
	conn   *wire.Conn
	portal *bridge.Portal
	event  matrix.EventID
	sender matrix.UserID
	text   string
	begun  time.Time // before it was sent
	at     time.Time // when it was known to be there
}

// An ending is that of a connection, which nobody wanted to end. That a line had got to the server may be known
// later than that.
type ending struct {
	conn    *wire.Conn
	at      time.Time
	last    spoken
	settled bool      // what follows is known
	watched time.Time // since when the bot has had a connection that lived on; zero: it has none
}

// tears tells whether the last line before the end may not have got to everybody. outlived is until when the
// server has shown everything.
func (e *ending) tears(outlived time.Time) bool {
	last := e.last
	return e.settled && last.conn != nil && e.at.Sub(last.at) < tornFor && last.begun.After(outlived) &&
		(e.watched.IsZero() || !e.watched.Before(last.begun))
}

// noteShown remembers the last line of the connection.
func (s *speech) noteShown(conn *wire.Conn, u *utterance, l *line) {
	if u.portal == nil {
		return
	}
	shown := spoken{conn, u.portal, u.event, u.sender, excerpt(l.text), l.made, time.Now()}
	s.mu.Lock()
	s.last = shown
	torn := false
	for _, e := range s.endings {
		if e.conn == conn {
			e.last = shown
			torn = e.tears(s.outlived)
		}
	}
	s.mu.Unlock()
	if torn {
		s.net.tellTorn(shown)
	}
}

// ended notes that a connection has ended, and tells whether anybody should look how the server is.
func (s *speech) ended(conn *wire.Conn) (e *ending, matters bool) {
	e = &ending{conn: conn, at: time.Now()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.conn == conn {
		e.last = s.last
	}
	s.endings = append(s.endings, e)
	s.endings = s.endings[max(0, len(s.endings)-maxEnds):]
	return e, s.line != nil || e.last.conn != nil && e.at.Sub(e.last.at) < tornFor
}

// settled notes how the server is, and tells what may be torn.
func (s *speech) settled(e *ending, watched time.Time) {
	s.mu.Lock()
	e.settled, e.watched = true, watched
	last, torn := e.last, e.tears(s.outlived)
	s.mu.Unlock()
	if torn {
		s.net.tellTorn(last)
	}
}

// sawGo is called when the bot has seen a puppet go: the server has lived on after what it had said, of which
// the speech may hear only now.
func (s *speech) sawGo() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outlived = time.Now()
}

// torn says, after a connection has ended that nobody wanted to end, which line the server may have torn. One
// that lives has shown it to everybody: the bot's connection tells, or it is the bot's own that has ended.
func (n *network) torn(s *speech, l *link) {
	if l.conn == nil || l.unused {
		return
	}
	e, matters := s.ended(l.conn)
	switch {
	case !matters:
	case n.bot.online:
		n.bot.doubted = append(n.bot.doubted, doubted{s, e})
		n.bot.listen()
	default:
		s.settled(e, time.Time{})
	}
}

// doubted is the end of a connection of which the bot is to find out whether it was the server's.
type doubted struct {
	speech *speech
	ending *ending
}

// listen asks the server whether it lives, once for all ends that were noticed meanwhile.
func (b *bot) listen() {
	if b.listening || !b.online || len(b.doubted) == 0 {
		return
	}
	b.listening = true
	n, l, since, asked := b.net, b.link, b.since, slices.Clone(b.doubted)
	n.goRun(func() {
		lives := l.conn.Barrier(n.ctx) == nil
		n.post(func() {
			b.listening = false
			switch {
			case lives:
				b.found(asked, since)
			case b.link == l && b.online: // what it has brought is still to be worked off, and down is called
				return
			default:
				b.found(asked, time.Time{})
			}
			b.listen()
		})
	})
}

// found settles ends of connections.
func (b *bot) found(ends []doubted, watched time.Time) {
	for _, d := range slices.Clone(ends) {
		d.speech.settled(d.ending, watched)
		b.doubted = slices.DeleteFunc(b.doubted, func(other doubted) bool { return other == d })
	}
}

// tellTorn says that a line may not have got to everybody.
func (n *network) tellTorn(last spoken) {
	n.service.metrics.doubtful.Inc()
	last.portal.NoticeOn(last.event, "doubt", fmt.Sprintf("The IRC server went away right after it took a message of %s. Not everybody may have seen it: “%s”", last.sender, last.text))
}
