package wire_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trestle/bridges/irc/wire"
	"trestle/internal/testkit"
)

// We answer the server's PING: a client that does not is thrown out meanwhile.
func TestAnswersPing(t *testing.T) {
	onServers(t, testkit.IRCOptions{PingEvery: 1}, func(t *testing.T, server *testkit.IRCServer) {
		c, _ := dial(t, wire.Options{Addr: server.Addr, Nick: "alice"})
		mute, err := net.Dial("tcp", server.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer mute.Close()
		fmt.Fprint(mute, "NICK mute\r\nUSER mute 0 * :mute\r\n")
		mute.SetReadDeadline(time.Now().Add(2 * time.Minute))
		if _, err := io.Copy(io.Discard, mute); err != nil {
			t.Fatal("the server does not ask")
		}
		if err := c.Barrier(withTimeout(t)); err != nil {
			t.Error(err)
		}
	})
}

func TestServersAnswerPing(t *testing.T) {
	onServers(t, testkit.IRCOptions{}, func(t *testing.T, server *testkit.IRCServer) {
		c, r := dial(t, wire.Options{Addr: server.Addr, Nick: "alice", PingEvery: 200 * time.Millisecond})
		r.wait(t, "PONG")
		if err := c.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestServerStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := wire.Options{Nick: "alice", PingEvery: time.Minute, PingWait: 10 * time.Second, DialContext: piped(t, func(p *peer) {
			p.welcome("NETWORK=Fake")
			for range 3 { // it answers: nothing happens
				p.send("PONG s :" + p.expect("PING "))
			}
			p.hold()
		})}
		began := time.Now()
		c, r := dial(t, opts)
		if err := <-r.closed; !errors.Is(err, wire.ErrPingTimeout) || !errors.Is(c.Err(), wire.ErrPingTimeout) {
			t.Errorf("a server that is silent: %v", err)
		}
		if took, want := time.Since(began), 4*opts.PingEvery+opts.PingWait+time.Second; took != want {
			t.Errorf("it ended after %v, not %v", took, want)
		}
		if err := c.Send(withTimeout(t), wire.NewMessage("PING", "x")); !errors.Is(err, wire.ErrPingTimeout) {
			t.Errorf("send after the end: %v", err)
		}
	})
}

// A pausing connection is one of a process that stands still, from its first PING on, for as long as it says: meanwhile
// nothing is read, and nobody sees that the PING was written. The reading goroutine is the last to wake up.
type pausing struct {
	net.Conn
	pause   time.Duration
	stopped chan struct{} // the PING goes out
	running chan struct{} // the process goes on
}

func (p *pausing) Write(line []byte) (int, error) {
	first := false
	if strings.HasPrefix(string(line), "PING ") {
		select {
		case <-p.stopped:
		default:
			first = true
			close(p.stopped)
		}
	}
	n, err := p.Conn.Write(line)
	if first {
		time.Sleep(p.pause)
		close(p.running)
	}
	return n, err
}

func (p *pausing) Read(buffer []byte) (int, error) {
	n, err := p.Conn.Read(buffer)
	select {
	case <-p.stopped:
		<-p.running
		time.Sleep(lateReader)
	default:
	}
	return n, err
}

// lateReader is how much later than the writing goroutine the reading one wakes up.
const lateReader = 10 * time.Millisecond

// What has come while the process was stopped is read before anything is said of silence: and a server that was silent after that
// as long as ever is dead.
func TestASuspendedProcessHearsWhatWaits(t *testing.T) {
	const every, wait = time.Minute, 10 * time.Second
	for name, one := range map[string]struct {
		pause time.Duration
		say   string // before the PONG to the first PING, or in its place
		alive bool
	}{
		"for long":                    {time.Hour, "PONG", true},
		"for as long as it waits":     {wait, "PONG", true},
		"and something else is there": {time.Hour, ":bob!b@h PRIVMSG alice :hi", true},
		"and nothing is there":        {time.Hour, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				connect := piped(t, func(p *peer) {
					p.welcome("NETWORK=Fake")
					for asked := p.expect("PING "); asked != ""; asked = p.expect("PING ") {
						switch {
						case one.say == "PONG":
							p.send("PONG s :" + asked)
						case one.say != "":
							p.send(one.say)
						}
					}
				})
				began := time.Now()
				c, _ := dial(t, wire.Options{Nick: "alice", PingEvery: every, PingWait: wait,
					DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
						conn, err := connect(ctx, network, addr)
						return &pausing{conn, one.pause, make(chan struct{}), make(chan struct{})}, err
					}})
				if !one.alive {
					<-c.Done()
					if took, want := time.Since(began), every+one.pause+wait+time.Second; took != want || !errors.Is(c.Err(), wire.ErrPingTimeout) {
						t.Errorf("it ended after %v, not %v: %v", took, want, c.Err())
					}
					return
				}
				time.Sleep(one.pause + 10*every)
				if err := c.Err(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestServerDies(t *testing.T) {
	onServers(t, testkit.IRCOptions{}, func(t *testing.T, server *testkit.IRCServer) {
		c, r := dial(t, wire.Options{Addr: server.Addr, Nick: "alice"})
		waiting := make(chan error, 1)
		go func() {
			waiting <- c.Request(t.Context(), wire.NewMessage("AWAY"), func(*wire.Message) bool { return false })
		}()
		r.wait(t, "305")
		server.Kill()
		if err := <-r.closed; err == nil || errors.Is(err, wire.ErrClosed) {
			t.Errorf("a server that died: %v", err)
		}
		if err := <-waiting; err == nil {
			t.Error("a request to a dead server got an answer")
		}
		<-c.Done()
	})
}

func TestQuit(t *testing.T) {
	onServers(t, testkit.IRCOptions{}, func(t *testing.T, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		c, _ := dial(t, wire.Options{Addr: server.Addr, Nick: "alice"})
		if err := c.Quit(withTimeout(t), "see you\r\n"); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("a goodbye with a line break: %v", err)
		}
		c, r := dial(t, wire.Options{Addr: server.Addr, Nick: "carol"})
		c.JoinChannel(withTimeout(t), "#trestle", "")
		for n := range 200 {
			c.Say(withTimeout(t), wire.Text{Target: "#trestle", Lines: []string{fmt.Sprint("line ", n)}})
		}
		if err := c.Quit(withTimeout(t), "see you"); err != nil {
			t.Error(err)
		}
		if err := <-r.closed; !errors.Is(err, wire.ErrClosed) {
			t.Errorf("after quit: %v", err)
		}
		for n := range 200 {
			bob.Expect(":carol!", fmt.Sprintf(":line %d", n))
		}
		if line := bob.Expect(":carol!", "QUIT"); !strings.Contains(line, "see you") {
			t.Errorf("bob sees %q", line)
		}
	})
}

// A peer is one connection to a scripted server.
type peer struct {
	t     testing.TB
	conn  net.Conn
	lines *bufio.Reader
}

// serve is a server that plays the script with everybody who connects.
func serve(t testing.TB, script func(p *peer)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				script(&peer{t, conn, bufio.NewReader(conn)})
			}()
		}
	}()
	return listener.Addr().String()
}

// piped plays the script with everybody who connects, without the network: for time that is not real.
func piped(t testing.TB, script func(p *peer)) func(context.Context, string, string) (net.Conn, error) {
	t.Helper()
	return func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			script(&peer{t, server, bufio.NewReader(server)})
		}()
		return client, nil
	}
}

// expect reads up to a line with a beginning, and returns the rest of that; empty when the connection ends.
func (p *peer) expect(beginning string) (rest string) {
	for {
		line, err := p.lines.ReadString('\n')
		if err != nil {
			return ""
		}
		if rest, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), beginning); ok {
			return rest
		}
	}
}

func (p *peer) send(lines ...string) {
	p.conn.Write([]byte(strings.Join(lines, "\r\n") + "\r\n"))
}

// welcome lets the client in, whatever it asked for.
func (p *peer) welcome(isupport string) {
	nick := p.expect("NICK ")
	p.expect("USER ")
	p.send(":irc.fake 001 "+nick+" :Welcome", ":irc.fake 005 "+nick+" "+isupport+" :are supported", ":irc.fake 422 "+nick+" :no motd")
}

// hold keeps the connection open until the client closes it.
func (p *peer) hold() { io.Copy(io.Discard, p.lines) }
