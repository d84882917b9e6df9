package irc_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// An observer is a member of #trestle who writes down, in the server's order, who is there and what
// bob says. The bridge may see it earlier: the time of a fact is one at which it had not happened yet.
type observer struct {
	oracle
	conn     net.Conn
	nicks    map[string]string // Matrix users by nick
	asked    time.Time         // when the last PING was sent
	answered time.Time         // when that was sent that was answered last: what comes now happened later
	ended    sync.WaitGroup
}

func observe(t *testing.T, addr string) *observer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	o := &observer{conn: conn, nicks: map[string]string{}}
	fmt.Fprintf(conn, "NICK eve\r\nUSER eve 0 * :eve\r\n")
	o.ended.Go(func() {
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			o.take(lines.Text())
		}
	})
	t.Cleanup(func() {
		conn.Close()
		o.ended.Wait()
	})
	return o
}

// ask is what the observer's time goes by.
func (o *observer) ask() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked = time.Now()
	fmt.Fprintf(o.conn, "PING eve\r\n")
}

func (o *observer) take(line string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	words := strings.Fields(line)
	if len(words) > 1 && words[0] == "PING" {
		fmt.Fprintf(o.conn, "PONG %s\r\n", words[1])
	}
	if len(words) < 3 || words[0][0] != ':' {
		if len(words) > 1 && (words[1] == "376" || words[1] == "422") {
			fmt.Fprintf(o.conn, "JOIN #trestle\r\n")
		}
		return
	}
	nick, rest, _ := strings.Cut(words[0][1:], "!")
	name, _, _ := strings.Cut(strings.TrimPrefix(rest, "~"), "@")
	user := "@" + name + ":localhost"
	switch words[1] {
	case "376", "422":
		o.asked = time.Now()
		fmt.Fprintf(o.conn, "PING eve\r\nJOIN #trestle\r\n")
	case "PONG":
		o.answered = o.asked
		time.AfterFunc(time.Millisecond, o.ask)
	case "JOIN":
		o.nicks[nick] = user
		o.truth = append(o.truth, fact{user: user, came: true, at: o.answered})
	case "NICK":
		o.nicks[strings.TrimPrefix(words[2], ":")] = user
	case "PART", "QUIT":
		o.truth = append(o.truth, fact{user: user, at: o.answered})
	case "KICK":
		o.truth = append(o.truth, fact{user: o.nicks[words[3]], at: o.answered})
	case "PRIVMSG":
		_, text, _ := strings.Cut(line, " :")
		o.truth = append(o.truth, fact{text: text, at: o.answered})
	}
}

// there tells whether a Matrix user is in the channel.
func (o *observer) there(user string) (in bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.truth {
		if f.user == user {
			in = f.came
		}
	}
	return in
}

// hasSeen tells whether the observer has seen all that had happened by then.
func (o *observer) hasSeen(by time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.answered.After(by)
}

// What holds of a bridge that lives holds of one that is killed, while people come and go: nobody gets to
// read what was said while they were not in the channel.
func TestNobodyReadsMoreBecauseTheBridgeWasKilled(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		random := rand.New(rand.NewPCG(5, 9))
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		eve := observe(t, server.Addr)
		bob.Expect(":eve!", "JOIN")
		p := startProcess(t, h, server.Addr, func(args *childArgs) { args.History = irc.HistoryJoined })
		bob.Expect(":trestle!", "JOIN")
		people := []string{alice, carol, "@dave:localhost"}
		const faithful = "@faithful:localhost"
		for _, user := range append(people, faithful) {
			h.Register(user, "")
		}
		room, refusal := h.Join(faithful, "#irc_local_#trestle:localhost")
		if refusal != "" {
			t.Fatal(refusal)
		}
		eventually(t, "faithful in the channel", func() bool { return eve.there(faithful) })
		for i := range steps(t) / 2 {
			user := people[random.IntN(len(people))]
			switch random.IntN(8) {
			case 0, 1:
				if h.Membership(room, user) != "join" {
					h.Member(room, user, user, "join", "")
				}
			case 2:
				if h.Membership(room, user) == "join" {
					h.Member(room, user, user, "leave", "")
				}
			case 3:
				bob.Send("KICK #trestle " + user[1:strings.Index(user, ":")])
			default:
				bob.Say("#trestle", fmt.Sprint("m", i))
			}
			if i%25 == 24 {
				p.kill()
				for _, user := range people { // they come and go while nobody watches
					if joined := h.Membership(room, user) == "join"; random.IntN(2) == 0 {
						h.Member(room, user, user, map[bool]string{true: "leave", false: "join"}[joined], "")
					}
				}
				bob.Say("#trestle", fmt.Sprint("m", i, " while it is dead"))
				p.start()
			}
			time.Sleep(time.Duration(random.IntN(8)) * time.Millisecond) // the dice, not a wait for something
		}
		// Who says when the bot is back hears of it late: eve's PINGs are many, and servers hold back who sends much.
		var end fakehomeserver.Event
		var said time.Time
		eventually(t, "the end in the room", func() bool {
			if time.Since(said) > time.Second {
				said = time.Now()
				bob.Say("#trestle", fmt.Sprint("the end ", said.UnixNano()))
			}
			found := h.Events(room, func(e fakehomeserver.Event) bool {
				return e.Sender == ghost("bob") && strings.HasPrefix(e.Body(), "the end ")
			})
			if len(found) > 0 {
				end = found[len(found)-1]
			}
			return len(found) > 0
		})
		eventually(t, "eve having seen all that was before", func() bool { return eve.hasSeen(end.Arrived) })
		eve.judge(t, h, room, append(people, faithful))
	})
}
