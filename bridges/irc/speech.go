package irc

import (
	"context"
	"errors"
	"sync"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	// fenceAfter is how long the bot, or an echo, has to show a line before the
	// server is asked whether it has taken it.
	fenceAfter = 500 * time.Millisecond
	// maxQueue is how much of one user may wait in memory.
	maxQueue = 1000
	// owedFor is how long the bot may be behind with a line that the server has.
	owedFor = time.Minute
)

// speech says what a Matrix user has said, in order, each line exactly once.
//
// One line is under way at a time. It is taken when the bot has seen it in the channel,
// or the server has echoed it, or has answered a PING that was sent after it. When the
// connection ends before that, what the bot saw until the user's QUIT, or until the
// server's end, decides; see network.settle. What was handed to the kernel is in the journal
// before anything else happens, so that a bridge that is killed knows it afterwards.
type speech struct {
	net    *network
	puppet *puppet                   // nil: the bot, who speaks for others
	wants  func(channel string) bool // tells, on the loop, whether it is, or soon will be, in a channel

	mu       sync.Mutex
	changed  chan struct{}   // closed and made anew when any of these changes
	conn     *wire.Conn      // nil: none is up
	hopeless error           // the network does not want us
	in       map[string]bool // channels that we are in
	queue    []*utterance
	running  bool
	line     *line // under way
	owed     []owed
	used     time.Time             // when something was last said
	swamped  map[matrix.UserID]int // of those who say too much: how many messages were refused
	held     time.Duration         // how long rooms have waited for us lately
	heldAt   time.Time
	upSeq    int64 // the newest event when the connection came up

	last     spoken
	endings  []*ending
	outlived time.Time // the server has shown to all what was begun before
}

// An utterance is something to be said: a text, or a command that has its place between
// texts.
type utterance struct {
	seq       int64  // of the event, for the journal; 0: none
	channel   string // folded
	target    string
	kind      wire.Kind
	lines     []string
	at        progress
	message   *wire.Message     // instead of lines
	tags      map[string]string // of the first line, if the server has tags
	single    bool              // a message for each line, whatever the server can do
	guise     guise             // for whom the bot says it; nil: whose connection it is
	spokenFor matrix.UserID     // the same
	plain     bool              // not by RELAYMSG
	direct    bool              // to a person
	optional  bool              // not worth connecting or joining for
	doubt     string            // what may be on IRC twice
	ids       []string          // by which the server knows what has been said
	portal    *bridge.Portal    // of the event; nil: it is none's
	event     matrix.EventID
	sender    matrix.UserID
	dropped   bool // see silence
	added     time.Time
	finish    func(error) // a *wire.SendError if refused
}

func (s *speech) init(n *network, p *puppet, wants func(channel string) bool) {
	s.net, s.puppet, s.wants, s.changed, s.in = n, p, wants, make(chan struct{}), map[string]bool{}
}

// change is called with mu held.
func (s *speech) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// setState notes that a connection is up, or is not, or never will be.
func (s *speech) setState(conn *wire.Conn, hopeless error) {
	newest := s.net.service.inbox.Newest()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn, s.hopeless, s.upSeq = conn, hopeless, newest
	s.in = map[string]bool{}
	s.change()
}

// setIn notes that we are in a channel, or are not.
func (s *speech) setIn(channel string, in bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in {
		s.in[channel] = true
	} else {
		delete(s.in, channel)
	}
	s.change()
}

func (s *speech) isIn(channel string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.in[channel]
}

func (s *speech) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change()
}

func (s *speech) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) > 0
}

func (s *speech) lastUse(since time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used.After(since) {
		return s.used
	}
	return since
}

// add queues an utterance and tells whether nothing was queued before. It is
// called on the loop.
func (s *speech) add(u *utterance) (first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = len(s.queue) == 0
	s.queue = append(s.queue, u)
	s.used = time.Now()
	u.added = s.used
	if !s.running {
		s.running = true
		s.net.goRun(func() { s.run(s.net.ctx) })
	}
	return first
}

// run says what is queued and ends when nothing is.
func (s *speech) run(ctx context.Context) {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 || ctx.Err() != nil {
			s.running = false
			s.mu.Unlock()
			return
		}
		u := s.queue[0]
		s.mu.Unlock()
		err := s.utter(ctx, u)
		if ctx.Err() != nil {
			continue // not finished: it is said after the restart
		}
		s.mu.Lock()
		s.queue = s.queue[1:]
		s.change()
		s.mu.Unlock()
		u.finish(err)
	}
}

// utter says one utterance, however long there is no connection.
func (s *speech) utter(ctx context.Context, u *utterance) error {
	for u.message != nil || u.at.Line < len(u.lines) {
		conn, err := s.ready(ctx, u)
		if err != nil {
			return err
		}
		if u.direct && u.portal != nil {
			if err := s.net.readdress(ctx, u); err != nil {
				return err
			}
		}
		if u.spokenFor != "" {
			if err := s.net.mayStillSpeak(ctx, u); err != nil {
				return err
			}
		}
		l := s.begin(u, conn)
		if l == nil {
			continue // the connection has just ended
		}
		v := s.say(ctx, conn, u, l)
		u.single, u.plain = u.single || v.single, u.plain || v.plain
		switch {
		case v.taken && u.message != nil:
			return nil
		case v.taken:
			s.mark(l)
			s.confirm(l)
			s.noteShown(conn, u, l)
			u.at = l.after
			u.ids = append(u.ids, s.idOf(l)...)
		case v.refused != nil:
			s.takeBack(u, l)
			return v.refused
		case v.unknown, v.doubt && ctx.Err() != nil:
			return ctx.Err() // in the journal it stays in doubt, if it was begun
		default:
			if v.doubt && u.doubt == "" {
				u.doubt = l.text
			}
			s.takeBack(u, l) // it never arrived
		}
	}
	return nil
}

// takeBack has the journal not say that a line may be there which is not.
func (s *speech) takeBack(u *utterance, l *line) {
	if s.handed(l) && u.seq != 0 {
		s.net.service.journal.set(u.seq, u.at)
	}
}

// handed tells whether the kernel has a line, or is about to.
func (s *speech) handed(l *line) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.begun
}

var (
	errNotInChannel = errors.New("not in the channel")
	errBotAway      = errors.New("IRC does not have the bridge's bot in the channel")
)

// absent is why something cannot be said in a channel.
func (s *speech) absent() error {
	if s.puppet == nil {
		return errBotAway
	}
	return errNotInChannel
}

// ready waits until the utterance can be said.
func (s *speech) ready(ctx context.Context, u *utterance) (*wire.Conn, error) {
	for {
		s.mu.Lock()
		conn, hopeless, in, changed, dropped := s.conn, s.hopeless, s.in[u.channel], s.changed, u.dropped
		s.mu.Unlock()
		switch {
		case dropped:
			return nil, errRemoved
		case conn != nil && (in || u.direct):
			return conn, nil
		case hopeless != nil:
			return nil, hopeless
		case u.optional:
			return nil, errNotInChannel
		}
		wanted := u.direct
		if !s.net.ask(ctx, func() { wanted = wanted || s.wants(u.channel) }) {
			return nil, context.Canceled
		}
		if !wanted {
			return nil, s.absent()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// waitForSpace waits while too much is queued.
func (s *speech) waitForSpace(ctx context.Context) {
	for {
		s.mu.Lock()
		full, changed := len(s.queue) >= maxQueue, s.changed
		s.mu.Unlock()
		if !full {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
