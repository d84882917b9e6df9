package irc

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc/wire"
	"trestle/internal/testkit/fakehomeserver"
)

// FuzzHear has the bot hear lines of anything. Nothing may stop the loop.
func FuzzHear(f *testing.F) {
	n, conn := audience(f)
	for _, line := range []string{
		":bob!b@h JOIN #c", ":bob!b@h PART #c :bye", ":bob!b@h QUIT :a.b c.d", ":bob!b@h KICK #c dave :out", ":bob!b@h NICK dave", ":bob!b@h TOPIC #c :x",
		":s 353 me = #c :@bob +dave eve\n:s 366 me #c :end", ":s 324 me #c +ntkl key 5", ":bob!b@h MODE #c +ov-b bob dave *!*@*", ":s 367 me #c *!*@x bob 5\n:s 368 me #c",
		"@+draft/reply=1;msgid=2;time=2026-01-01T00:00:00Z :bob!b@h PRIVMSG #c :hello", ":bob!b@h PRIVMSG me :\x01PING 1\x01", ":bob!b@h NOTICE @#c :x",
		":bob!b@h REDACT #c 2 :why", ":bob!b@h INVITE me #d", ":s 470 me #c #d :forwarded", ":s 474 me #c :banned", "@+typing=active :bob!b@h TAGMSG #c",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		heard := n.ask(t.Context(), func() {
			come(t, n)
			for _, line := range append([]string{":bob!b@h JOIN #c"}, strings.Split(text, "\n")...) {
				if m, err := wire.Parse(strings.TrimRight(line, "\r")); err == nil {
					n.hear(conn, m)
				}
			}
			for name, ch := range n.channels {
				n.leave(ch)
				if len(ch.members)+len(ch.status) > 0 {
					t.Errorf("%q holds on to %d people", name, len(ch.members))
				}
				delete(n.channels, name)
			}
			if len(n.users) > 0 {
				t.Errorf("%d users are in no channel", len(n.users))
			}
		})
		if !heard {
			t.Error("the loop has ended")
		}
	})
}

// come has the bot be in a channel.
func come(t testing.TB, n *network) *channel {
	t.Helper()
	ch := n.channel("#c")
	if err := ch.bind(); err != nil {
		t.Fatal(err)
	}
	ch.joined = true
	n.enter(ch, wire.Prefix{Nick: "me"})
	return ch
}

// audience is a network that runs, with a bot that is called me.
func audience(t testing.TB) (*network, *wire.Conn) {
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
			fmt.Fprint(conn, ":s 001 me :hello\r\n:s 005 me CHANTYPES=# PREFIX=(qov)~@+ :are\r\n:s 376 me :end\r\n")
			go func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan() && !strings.HasPrefix(lines.Text(), "QUIT"); {
					if token, ok := strings.CutPrefix(lines.Text(), "PING "); ok {
						fmt.Fprintf(conn, ":s PONG s %s\r\n", token)
					}
				}
			}()
		}
	}()
	return listen(t, fakehomeserver.New(t), listener.Addr().String())
}

// listen is a network that runs at a server's address, with a bot that is called me.
func listen(t testing.TB, h *fakehomeserver.Homeserver, addr string) (*network, *wire.Conn) {
	t.Helper()
	folder := t.TempDir()
	s, err := New(context.Background(), Config{
		HomeserverURL: h.URL, ServerName: fakehomeserver.ServerName, ServiceID: "irc", ASToken: fakehomeserver.ASToken, HSToken: fakehomeserver.HSToken,
		SenderLocal: fakehomeserver.Sender, Database: filepath.Join(folder, "irc.db"), Logger: slog.New(slog.DiscardHandler),
		Networks: []Network{{ID: "local", Addr: addr, BotNick: "me", Direct: FromAll, Flood: &wire.Flood{Burst: 1000}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		s.Close()
	})
	n := s.network("local")
	select {
	case <-n.met:
	case <-time.After(2 * time.Minute):
		t.Fatal("the bot does not connect")
	}
	var conn *wire.Conn
	n.ask(t.Context(), func() { conn = n.bot.link.conn })
	return n, conn
}

// A server may name endless people; the bridge does not keep them all.
func TestEndlessNamesAreBounded(t *testing.T) {
	n, conn := audience(t)
	n.ask(t.Context(), func() {
		ch := come(t, n)
		ch.names = make([]wire.Member, maxUsers)
		n.hear(conn, wire.NewMessage("353", "me", "=", "#c", "one more"))
		if len(ch.names) > maxUsers {
			t.Errorf("the bridge keeps %d names", len(ch.names))
		}
		ch.names = []wire.Member{{Prefix: wire.Prefix{Nick: "somebody"}}}
		for i := len(n.users); i < maxUsers; i++ {
			n.users[fmt.Sprint(i)] = &user{}
		}
		join := wire.NewMessage("JOIN", "#c")
		join.Prefix.Nick = "onemore"
		n.hear(conn, join)
		n.hear(conn, wire.NewMessage("366", "me", "#c"))
		if len(n.users) > maxUsers {
			t.Errorf("the bridge knows %d users", len(n.users))
		}
	})
}

// Anybody may invite the bot; it does not go everywhere.
func TestEndlessInvitationsAreBounded(t *testing.T) {
	n, conn := audience(t)
	n.ask(t.Context(), func() {
		for i := range maxInvited + 10 {
			m := wire.NewMessage("INVITE", "me", fmt.Sprint("#c", i))
			m.Prefix.Nick = "mallory"
			n.bot.invited.left = 1
			n.hear(conn, m)
		}
		if len(n.channels) > maxInvited {
			t.Errorf("the bot is in %d channels", len(n.channels))
		}
	})
}
