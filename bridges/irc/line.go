package irc

import (
	"context"
	"time"

	"trestle/bridges/irc/wire"
)

// A line is what is under way.
type line struct {
	channel string
	text    string
	end     []byte // how it looks on the wire, its end
	seq     int64
	after   progress // of the utterance, when it is taken
	begun   bool     // about to be handed to the kernel, or more
	sent    bool     // handed to the kernel
	sentAt  time.Time
	echoes  bool   // the server will echo it; that counts while the connection lives
	seen    bool   // the bot has seen it
	lost    bool   // the connection has ended
	id      string // by which the server knows it, if it has echoed it
	written chan struct{}
	verdict chan verdict // capacity 1
}

// A verdict is what became of a line.
type verdict struct {
	taken   bool
	refused error // the server said no; nil and not taken: it never arrived
	doubt   bool  // that is only likely
}

// owed is a line that is known to be taken and that the bot has yet to see.
type owed struct {
	channel, text string
	until         time.Time
}

// begin makes the next piece of the utterance the line that is under way.
func (s *speech) begin(u *utterance, conn *wire.Conn) *line {
	l := &line{
		channel: u.channel, seq: u.seq, echoes: conn.HasCap("echo-message"),
		written: make(chan struct{}), verdict: make(chan verdict, 1),
	}
	if u.message != nil {
		encoded, err := u.message.Append(nil)
		if err != nil {
			l.decide(verdict{refused: err})
		}
		l.end = encoded
	} else {
		rest := u.lines[u.at.Line][min(u.at.Offset, len(u.lines[u.at.Line])):]
		l.text, l.after = "", progress{Line: u.at.Line + 1}
		if pieces := conn.Split(u.kind, u.target, rest); len(pieces) > 0 {
			l.text = pieces[0]
			if len(pieces) > 1 {
				l.after = progress{Line: u.at.Line, Offset: u.at.Offset + len(pieces[0])}
			}
		}
		l.end = []byte(l.text)
		if u.kind == wire.Action {
			l.end = append(l.end, 1)
		}
		l.end = append(l.end, '\r', '\n')
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != conn {
		return nil // nobody would tell the line that it is lost
	}
	s.line = l
	return l
}

// say sends a line and waits until it is known what became of it.
func (s *speech) say(ctx context.Context, conn *wire.Conn, u *utterance, l *line) verdict {
	defer func() {
		s.mu.Lock()
		s.line = nil
		s.mu.Unlock()
	}()
	if len(l.text) == 0 && u.message == nil {
		return verdict{taken: true} // nothing was left
	}
	var err error
	if u.message != nil {
		err = conn.Send(ctx, u.message)
	} else {
		err = conn.Say(ctx, wire.Text{Kind: u.kind, Target: u.target, Lines: []string{l.text}})
	}
	if err != nil {
		return s.failed(ctx, conn, l, err)
	}
	select {
	case v := <-l.verdict:
		return v
	case <-l.written:
	case <-ctx.Done():
		return verdict{}
	}
	fence := time.NewTimer(s.patience(u, l))
	defer fence.Stop()
	select {
	case v := <-l.verdict:
		return v
	case <-fence.C:
	case <-ctx.Done():
		return verdict{}
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
		return verdict{}
	}
}

// patience is how long somebody may show the line before the server is asked.
func (s *speech) patience(u *utterance, l *line) time.Duration {
	if u.message != nil {
		return 0
	}
	if l.echoes || s.puppet.net.watches(u.channel) {
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
		s.owed = append(s.owed, owed{l.channel, l.text, time.Now().Add(owedFor)})
	}
}
