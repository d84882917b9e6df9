package ircv3

import (
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// name is the server's.
const name = "irc.test"

// Options change a server from what suits most tests.
type Options struct {
	CaseMapping string   // rfc1459; ascii, strict-rfc1459
	ChanTypes   string   // #&
	Prefix      string   // of ISUPPORT; (qaohv)~&@%+
	ChanModes   string   // of ISUPPORT; b,k,l,imnpst
	Support     []string // further tokens of ISUPPORT
	Without     []string // capabilities that are not offered
	Password    string   // that PASS must have
	UserLen     int      // bytes of user names, with the "~" that they begin with then; 0: they stay as they are
	Curt        bool     // the greeting does not say what has become of nick, user name and host

	Accounts map[string]string // passwords by account, for SASL PLAIN; nil: sasl is not offered

	RelaySeparators string // the value of draft/relaymsg
	Relay           bool   // draft/relaymsg is offered, to operators of channels
	ChatHistory     int    // lines of history in one answer; 0: draft/chathistory is not offered
}

// A Server is one that runs until the test ends.
type Server struct {
	Addr string // 127.0.0.1:port

	t        testing.TB
	options  Options
	listener net.Listener
	work     sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	last     int // the last msgid, and the last batch
	clients  map[*Client]bool
	nicks    map[string]*Client // folded
	channels map[string]*channel
	private  []*Message // from one to another
	commands map[string]Command
	refusals map[string]refusal // of joins, by folded channel
	accounts map[string]string  // by folded nick
}

// A Command works off what a client sent. The server's lock is held.
type Command func(s *Server, c *Client, m *Message)

// A refusal is why a channel cannot be joined.
type refusal struct{ code, text, forward string }

// Start starts a server on a port of the system's choice.
func Start(t testing.TB, options Options) *Server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Addr: listener.Addr().String(), t: t, options: options.withDefaults(), listener: listener,
		clients: map[*Client]bool{}, nicks: map[string]*Client{}, channels: map[string]*channel{},
		commands: maps.Clone(commands), refusals: map[string]refusal{}, accounts: map[string]string{},
	}
	s.work.Go(s.accept)
	t.Cleanup(s.Close)
	return s
}

func (o Options) withDefaults() Options {
	for value, fallback := range map[*string]string{
		&o.CaseMapping: "rfc1459", &o.ChanTypes: "#&", &o.Prefix: "(qaohv)~&@%+", &o.ChanModes: "b,k,l,imnpst",
	} {
		if *value == "" {
			*value = fallback
		}
	}
	return o
}

// Close ends all connections and waits for their end.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.listener.Close()
	for c := range s.clients {
		c.conn.Close()
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		c := newClient(s, conn)
		s.mu.Lock()
		if s.closed {
			conn.Close()
		} else {
			s.clients[c] = true
			s.work.Go(c.read)
			s.work.Go(c.write)
		}
		s.mu.Unlock()
	}
}

// Handle replaces a command, or adds one.
func (s *Server) Handle(command string, run Command) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commands[command] = run
}

// Refuse has joins of a channel refused with a numeric; an empty one ends that.
func (s *Server) Refuse(channel, numeric, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if numeric == "" {
		delete(s.refusals, s.fold(channel))
		return
	}
	s.refusals[s.fold(channel)] = refusal{code: numeric, text: text}
}

// Forward has who would join one channel joined to another.
func (s *Server) Forward(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals[s.fold(from)] = refusal{code: "470", text: "Forwarding to another channel", forward: to}
}

// Disconnect breaks a client's connection.
func (s *Server) Disconnect(nick string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.nicks[s.fold(nick)]; c != nil {
		c.conn.Close()
	}
}

// Hold keeps who registers with a user name waiting until the function that it returns is called.
func (s *Server) Hold(user string) (letIn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, open := []func(){}, false
	s.commands["USER"] = func(s *Server, c *Client, m *Message) {
		if open || m.Param(0) != user {
			runUser(s, c, m)
			return
		}
		held = append(held, func() { runUser(s, c, m) })
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		open = true
		for _, run := range held {
			run()
		}
	}
}

// Nicks are those of everybody who is there.
func (s *Server) Nicks() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	nicks := []string{}
	for _, c := range s.nicks {
		nicks = append(nicks, c.nick)
	}
	slices.Sort(nicks)
	return nicks
}

// Inject sends a client any line.
func (s *Server) Inject(nick, line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, m := s.nicks[s.fold(nick)], Parse(line); c != nil && m != nil {
		c.Send(m)
	}
}

// LogIn gives a nick an account.
func (s *Server) LogIn(nick, account string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accounts[s.fold(nick)] = account
}

// History is what was said in a channel, oldest first, without what was redacted.
func (s *Server) History(name string) []*Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch := s.channels[s.fold(name)]; ch != nil {
		return slices.Clone(ch.history)
	}
	return nil
}

// support is what the server says of itself.
func (s *Server) support() []string {
	options := s.options.Support
	if s.options.ChatHistory > 0 {
		options = append(slices.Clone(options), "CHATHISTORY="+strconv.Itoa(s.options.ChatHistory))
	}
	return append([]string{
		"CASEMAPPING=" + s.options.CaseMapping, "CHANTYPES=" + s.options.ChanTypes, "PREFIX=" + s.options.Prefix,
		"CHANMODES=" + s.options.ChanModes, "NETWORK=TestNet", "NICKLEN=30", "CHANNELLEN=64", "TOPICLEN=390",
		"KICKLEN=255", "MODES=20", "STATUSMSG=@+",
	}, options...)
}

// fold is the one spelling of a name.
func (s *Server) fold(name string) string {
	last := byte('Z')
	switch s.options.CaseMapping {
	case "rfc1459":
		last = '^'
	case "strict-rfc1459":
		last = ']'
	}
	folded := []byte(name)
	for i, c := range folded {
		if 'A' <= c && c <= last {
			folded[i] = c + 32
		}
	}
	return string(folded)
}

// number makes a name that the server has not used before.
func (s *Server) number(kind string) string {
	s.last++
	return kind + strconv.Itoa(s.last)
}

// stamp gives a message its time and, with id, its ID.
func (s *Server) stamp(c *Client, m *Message, id bool) *Message {
	m = m.with("time", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
	if id {
		m = m.with("msgid", s.number("id"))
	}
	if account := s.accounts[s.fold(c.nick)]; account != "" {
		m = m.with("account", account)
	}
	return m
}

// tell sends a message to all in a channel; except may be nil.
func (s *Server) tell(ch *channel, m *Message, except *Client) {
	for _, member := range ch.sorted() {
		if member != except {
			member.Send(m)
		}
	}
}

// isChannel tells whether a target is a channel.
func (s *Server) isChannel(target string) bool {
	return target != "" && strings.IndexByte(s.options.ChanTypes, target[0]) >= 0
}

// Command is how a command is worked off now, for a Handle that adds to it.
func (s *Server) Command(name string) Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.commands[name]
}
