package irc_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// An oracle is an IRC server with one channel that remembers, exactly, who was in it when
// something was said.
type oracle struct {
	t    *testing.T
	addr string

	mu      sync.Mutex
	clients map[*seeker]bool
	banned  map[string]bool // by realname: the Matrix user's ID
	slow    bool            // joins are kept waiting
	lagging bool            // the bot is told later
	late    []string        // what it is told then
	waiting []*seeker
	truth   []fact
	heard   []string // lines of clients that are not about connections
}

// A seeker is a connection.
type seeker struct {
	conn       net.Conn
	nick, user string // user is the realname
	welcome    bool
	in         bool
}

// A fact is what happened in the channel: somebody came or went, or bob said something.
type fact struct {
	user string
	came bool
	text string
	at   time.Time
}

const oracleChannel = "#trestle"

func newOracle(t *testing.T) *oracle {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o := &oracle{t: t, addr: listener.Addr().String(), clients: map[*seeker]bool{}, banned: map[string]bool{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { o.serve(&seeker{conn: conn}) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		o.mu.Lock()
		for c := range o.clients {
			c.conn.Close()
		}
		o.mu.Unlock()
		serving.Wait()
	})
	return o
}

func (o *oracle) serve(c *seeker) {
	o.mu.Lock()
	o.clients[c] = true
	o.mu.Unlock()
	for lines := bufio.NewScanner(c.conn); lines.Scan(); {
		o.mu.Lock()
		o.command(c, strings.TrimRight(lines.Text(), "\r"))
		o.mu.Unlock()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gone(c, fmt.Sprintf(":%s!u@h QUIT :gone", c.nick))
	delete(o.clients, c)
	c.conn.Close()
}

func (c *seeker) send(format string, args ...any) {
	c.conn.SetWriteDeadline(time.Now().Add(2 * time.Minute))
	fmt.Fprintf(c.conn, format+"\r\n", args...)
}

// tell is for those in the channel.
func (o *oracle) tell(line string, except *seeker) {
	for c := range o.clients {
		switch {
		case !c.in || c == except:
		case o.lagging && !strings.HasPrefix(c.user, "@"):
			o.late = append(o.late, line)
		default:
			c.send("%s", line)
		}
	}
}

// behind has the bot not hear what happens, or hear it now.
func (o *oracle) behind(behind bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lagging = behind
	for _, line := range o.late {
		for c := range o.clients {
			if c.in && !strings.HasPrefix(c.user, "@") {
				c.send("%s", line)
			}
		}
	}
	o.late = nil
}

// hears tells whether a client has sent a line that has a text in it.
func (o *oracle) hears(text string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.heard, func(line string) bool { return strings.Contains(line, text) })
}

func (o *oracle) gone(c *seeker, line string) {
	if !c.in {
		return
	}
	o.tell(line, nil)
	c.in = false
	o.truth = append(o.truth, fact{user: c.user, at: time.Now()})
}

func (o *oracle) command(c *seeker, line string) {
	words := strings.SplitN(line, " ", 3)
	arg := ""
	if len(words) > 1 {
		arg = words[1]
	}
	switch words[0] {
	case "CAP":
		if arg == "LS" {
			c.send(":irc.test CAP * LS :")
		}
	case "NICK":
		if o.taken(arg) {
			c.send(":irc.test 433 * %s :taken", arg)
			return
		}
		if c.in {
			o.tell(fmt.Sprintf(":%s!u@h NICK %s", c.nick, arg), nil)
		}
		c.nick = arg
		o.greet(c)
	case "USER":
		_, c.user, _ = strings.Cut(line, ":")
		if c.user == "" {
			c.user = line[strings.LastIndexByte(line, ' ')+1:]
		}
		o.greet(c)
	case "PING":
		c.send(":irc.test PONG irc.test %s", strings.TrimPrefix(line, "PING "))
	case "JOIN":
		if o.slow && strings.HasPrefix(c.user, "@") {
			o.waiting = append(o.waiting, c)
			return
		}
		o.join(c)
	case "PART":
		o.gone(c, fmt.Sprintf(":%s!u@h PART %s", c.nick, oracleChannel))
	case "MODE":
		c.send(":irc.test 324 %s %s +nt", c.nick, oracleChannel)
	case "QUIT":
		o.heard = append(o.heard, line)
		c.conn.Close()
	default:
		o.heard = append(o.heard, line)
		if words[0] == "PRIVMSG" && c.in {
			o.tell(fmt.Sprintf(":%s!u@h %s", c.nick, line), c)
		}
	}
}

func (o *oracle) taken(nick string) bool {
	for c := range o.clients {
		if c.nick == nick {
			return true
		}
	}
	return false
}

func (o *oracle) greet(c *seeker) {
	if c.nick == "" || c.user == "" || c.welcome {
		return
	}
	c.welcome = true
	c.send(":irc.test 001 %s :hello\r\n:irc.test 005 %s CHANTYPES=# PREFIX=(ov)@+ :are\r\n:irc.test 376 %s :end", c.nick, c.nick, c.nick)
}

func (o *oracle) join(c *seeker) {
	switch {
	case c.in || !o.clients[c]:
		return
	case o.banned[c.user]:
		c.send(":irc.test 474 %s %s :banned", c.nick, oracleChannel)
		return
	}
	c.in = true
	o.truth = append(o.truth, fact{user: c.user, came: true, at: time.Now()})
	o.tell(fmt.Sprintf(":%s!u@h JOIN %s", c.nick, oracleChannel), nil)
	names := "bob"
	for other := range o.clients {
		if other.in {
			names += " " + other.nick
		}
	}
	c.send(":irc.test 353 %s = %s :%s\r\n:irc.test 366 %s %s :end", c.nick, oracleChannel, names, c.nick, oracleChannel)
}

// say has bob, who is not a connection, say something.
func (o *oracle) say(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.truth = append(o.truth, fact{text: text, at: time.Now()})
	o.tell(fmt.Sprintf(":bob!u@h PRIVMSG %s :%s", oracleChannel, text), nil)
}

// on does something to a Matrix user's connections.
func (o *oracle) on(user string, do func(c *seeker)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.clients {
		if c.user == user {
			do(c)
		}
	}
}

func (o *oracle) kick(user string) {
	o.on(user, func(c *seeker) { o.gone(c, fmt.Sprintf(":bob!u@h KICK %s %s :out", oracleChannel, c.nick)) })
}

// part is what a services' SAPART, or JOIN 0, does.
func (o *oracle) part(user string) {
	o.on(user, func(c *seeker) { o.gone(c, fmt.Sprintf(":%s!u@h PART %s", c.nick, oracleChannel)) })
}

func (o *oracle) kill(user string) {
	o.on(user, func(c *seeker) {
		o.gone(c, fmt.Sprintf(":%s!u@h QUIT :Killed", c.nick))
		c.nick = ""
		c.conn.Close()
	})
}

func (o *oracle) rename(user, nick string) {
	o.on(user, func(c *seeker) {
		if !o.taken(nick) && c.in {
			o.tell(fmt.Sprintf(":%s!u@h NICK %s", c.nick, nick), nil)
			c.nick = nick
		}
	})
}

func (o *oracle) ban(user string, banned bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.banned[user] = banned
}

// setSlow keeps joins waiting, or lets those in that have waited.
func (o *oracle) setSlow(slow bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.slow = slow
	if slow {
		return
	}
	for _, c := range o.waiting {
		o.join(c)
	}
	o.waiting = nil
}

// present tells whether somebody is in the channel.
func (o *oracle) present(user string) bool {
	in := false
	o.on(user, func(c *seeker) { in = in || c.in })
	return in
}
