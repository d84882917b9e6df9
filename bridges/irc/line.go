package irc

import (
	"context"
	"slices"
	"time"

	"trestle/bridges/irc/wire"
)

// A line is what is under way.
type line struct {
	channel string
	target  string
	text    string
	block   *wire.Block // nil: the utterance's command, or nothing
	end     []byte      // how it looks on the wire
	seq     int64
	after   progress // of the utterance, when it is taken
	begun   bool     // about to be handed to the kernel, or more
	sent    bool     // handed to the kernel
	sentAt  time.Time
	made    time.Time
	echoes  bool   // the server will echo it; that counts while the connection lives
	seen    bool   // the bot has seen it
	lost    bool   // the connection has ended
	relayed bool   // by RELAYMSG
	batch   bool   // several messages at once
	id      string // by which the server knows it, if it has echoed it
	written chan struct{}
	verdict chan verdict // capacity 1
}

// A verdict is what became of a line.
type verdict struct {
	taken   bool
	refused error // the server said no; nil and not taken: it never arrived
	doubt   bool  // that is only likely
	unknown bool  // we end before anybody knows
	single  bool  // it never arrived, as the server does not take several lines at once
	plain   bool  // it never arrived, as the server does not let us speak under another's name
}

// owed is a line that is known to be taken and that the bot has yet to see.
type owed struct {
	channel, text string
	until         time.Time
}

// begin makes the next piece of the utterance the line that is under way.
func (s *speech) begin(u *utterance, conn *wire.Conn) *line {
	l := &line{
		channel: u.channel, target: s.net.fold(u.target), seq: u.seq, echoes: conn.HasCap("echo-message"),
		made: time.Now(), written: make(chan struct{}), verdict: make(chan verdict, 1),
	}
	if u.message != nil {
		encoded, err := u.message.Append(nil)
		if err != nil {
			l.decide(verdict{refused: err})
		}
		l.end = encoded
	} else if err := l.paragraph(u, conn); err != nil {
		l.decide(verdict{refused: err})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != conn {
		return nil // nobody would tell the line that it is lost
	}
	s.line = l
	return l
}

// paragraph is what is said next, from a place on.
func (u *utterance) paragraph(conn *wire.Conn, from wire.Place) (p wire.Paragraph, next wire.Place) {
	if u.guise == nil {
		return conn.Paragraph(u.kind, u.target, u.lines, from, u.single)
	}
	as, kind := u.guise(conn, u.kind, u.plain)
	return conn.Relayed(as, kind, u.target, u.lines, from)
}

// paragraph takes what can be said at once: of several lines, where the server has draft/multiline.
func (l *line) paragraph(u *utterance, conn *wire.Conn) (err error) {
	p, next := u.paragraph(conn, wire.Place{Line: u.at.Line, Offset: u.at.Offset})
	l.relayed, l.batch = p.As.Nick != "", len(p.Pieces) > 1
	l.after = progress{Line: next.Line, Offset: next.Offset}
	if len(p.Pieces) == 0 {
		return nil
	}
	if u.at == (progress{}) {
		p.Tags = u.tags
	}
	l.text = p.Text()
	if l.block, err = conn.Block(p); err == nil {
		l.end = l.block.Bytes()
	}
	return err
}

// say sends a line and waits until it is known what became of it.
func (s *speech) say(ctx context.Context, conn *wire.Conn, u *utterance, l *line) verdict {
	defer func() {
		s.mu.Lock()
		s.line = nil
		s.mu.Unlock()
	}()
	if l.relayed && !s.net.relay.takeTurn(ctx) {
		return verdict{unknown: true}
	}
	if l.relayed {
		defer s.net.relay.endTurn()
	}
	var err error
	switch {
	case u.message != nil:
		err = conn.Send(ctx, u.message)
	case l.block != nil && len(l.end) > 0:
		err = conn.SendBlock(ctx, l.block)
	case l.text == "":
		return verdict{taken: true} // nothing was left
	}
	if err != nil {
		return s.failed(ctx, conn, l, err)
	}
	select {
	case v := <-l.verdict:
		return v
	case <-l.written:
	case <-ctx.Done():
		return l.outcome()
	}
	fence := time.NewTimer(s.patience(u, l))
	defer fence.Stop()
	select {
	case v := <-l.verdict:
		return v
	case <-fence.C:
	case <-ctx.Done():
		return l.outcome()
	}
	if err := conn.Barrier(ctx); err != nil {
		return s.failed(ctx, conn, l, err)
	}
	s.decide(l, verdict{taken: true}, u.message == nil)
	return <-l.verdict
}

// failed waits for the verdict on a line that the connection could not be asked about. A line that it
// refused by itself, as too long or malformed, will not become better.
func (s *speech) failed(ctx context.Context, conn *wire.Conn, l *line, err error) verdict {
	if conn.Err() == nil && ctx.Err() == nil {
		return verdict{refused: err}
	}
	select {
	case v := <-l.verdict:
		return v
	case <-ctx.Done():
		return l.outcome()
	}
}

// outcome is the verdict, if there is one by now.
func (l *line) outcome() verdict {
	select {
	case v := <-l.verdict:
		return v
	default:
		return verdict{unknown: true}
	}
}

// patience is how long somebody may show the line before the server is asked.
func (s *speech) patience(u *utterance, l *line) time.Duration {
	if u.message != nil {
		return 0
	}
	if l.echoes || s.puppet != nil && s.net.watches(u.channel) {
		return fenceAfter
	}
	return 0
}

// decide is called with any lock; only the first verdict counts.
func (l *line) decide(v verdict) bool {
	select {
	case l.verdict <- v:
		return true
	default:
		return false
	}
}

// decide gives a verdict that does not come from the bot; if it is that the line was
// taken, the bot will see it yet.
func (s *speech) decide(l *line, v verdict, shows bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.decide(v) && v.taken && shows && !l.seen {
		now := time.Now()
		s.owed = slices.DeleteFunc(s.owed, func(o owed) bool { return now.After(o.until) })
		s.owed = append(s.owed, owed{l.channel, l.text, now.Add(owedFor)})
	}
}
