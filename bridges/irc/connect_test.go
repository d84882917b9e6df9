package irc

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc/identd"
	"trestle/bridges/irc/wire"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

func TestServersTakeTurns(t *testing.T) {
	now := time.Unix(1000, 0)
	s := newServers([]string{"a:1", "b:1"}, Backoff{time.Second, time.Hour})
	next := func(scout bool, tried ...string) string {
		addr, err := s.next(now, tried, scout)
		if away, ok := errors.AsType[*awayError](err); ok {
			return "away " + away.wait.Truncate(time.Second).String()
		}
		if err != nil {
			return err.Error()
		}
		return addr
	}
	expect := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	dead := errors.New("connection refused")
	expect(next(false), "a:1")
	s.note("a:1", now, now, dead)
	for range 100 { // began before it was known, and count no more
		s.note("a:1", now, now, dead)
	}
	expect(next(false), "b:1")
	expect(next(false, "b:1"), "away 0s")
	for _, personal := range []error{wire.ErrBanned, wire.ErrAuth, wire.ErrNoSASL, wire.ErrRefused} {
		s.note("b:1", now, now, &wire.RegisterError{Reason: personal})
	}
	expect(next(false), "b:1")
	s.note("b:1", now, now, dead)
	if got := next(false); !strings.HasPrefix(got, "away") {
		t.Errorf("got %q", got)
	}
	if got := next(true); got != "a:1" && got != "b:1" {
		t.Errorf("the scout got %q", got)
	}
	expect(next(true, "a:1", "b:1"), errAllTried.Error())
	for range 50 {
		now = now.Add(awayAtMost)
		expect(next(false), "a:1")
		s.note("a:1", now, now, dead)
	}
	s.note("a:1", now, now, nil)
	expect(next(false), "a:1")
}

func TestPace(t *testing.T) {
	now := time.Unix(1000, 0)
	p := &pace{config: Pace{Burst: 10, Interval: 25 * time.Millisecond}}
	var last time.Duration
	for i := range 1000 {
		last = p.reserve(now)
		if wait := max(i-9, 0); last < time.Duration(wait)*25*time.Millisecond || last > time.Duration(wait+1)*25*time.Millisecond {
			t.Fatalf("the %d. waits %s", i, last)
		}
	}
	if last > 30*time.Second {
		t.Errorf("a thousand take %s", last)
	}
	if wait := p.reserve(now.Add(time.Hour)); wait != 0 {
		t.Errorf("after an hour: %s", wait)
	}
	if wait := (&pace{}).reserve(now); wait != 0 {
		t.Errorf("without a limit: %s", wait)
	}
}

func TestIdentTellsUsersApart(t *testing.T) {
	seen := map[string]matrix.UserID{}
	for _, user := range []matrix.UserID{
		"@alice:home", "@alice:away", "@al.ice:home", "@al_ice:home", "@alicealicealice:home", "@alicealicealicf:home", "@_:home", "@.:home",
	} {
		got := ident(user, "home", identLength, 0)
		if other, taken := seen[got]; taken || got == "" || len(got) > identLength || strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			t.Errorf("%s is %q, as is %q", user, got, other)
		}
		seen[got] = user
	}
	if seen["alice"] != "@alice:home" {
		t.Errorf("%v", seen)
	}
}

func TestSources(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db, err := database.Open(t.Context(), url, migrations.Bridges, database.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		load := func() *sources {
			s, err := loadSources(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s, wide, narrow := load(), netip.MustParsePrefix("2001:db8:1:2::/64"), netip.MustParsePrefix("2001:db8::8/126")
		users := map[netip.Addr]matrix.UserID{}
		for i := range 50 {
			user := matrix.UserID(fmt.Sprintf("@u%d:home", i))
			addr, err := s.of(t.Context(), wide, user)
			if err != nil || !wide.Contains(addr) || users[addr] != "" {
				t.Fatalf("%s gets %s, %v", user, addr, err)
			}
			users[addr] = user
		}
		s = load()
		for addr, user := range users {
			if again, err := s.of(t.Context(), wide, user); err != nil || again != addr {
				t.Errorf("%s had %s and gets %s, %v", user, addr, again, err)
			}
		}
		full := 0
		for addr, user := range users {
			got, err := s.of(t.Context(), narrow, user)
			switch {
			case errors.Is(err, errNoSource):
				full++
			case err != nil || !narrow.Contains(got) || got == narrow.Addr() || got == addr:
				t.Errorf("%s gets %s, %v", user, got, err)
			}
		}
		if full != len(users)-3 {
			t.Errorf("%d of %d got none of three addresses", full, len(users))
		}
	})
}

// A network whose server asks identd at once, and looks where a connection comes from.
func TestConnectionsHaveAnOwner(t *testing.T) {
	server, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		testkit.Missing(t, "IPv6 on the loopback interface", err)
	}
	defer server.Close()
	questions, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &network{service: &Service{idents: identd.New(slog.New(slog.DiscardHandler))}}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- n.service.idents.Serve(ctx, questions) }()
	defer func() { cancel(); <-served }()

	// An address that no interface needs to have: the machine's own ::1 is one that can be
	// answered everywhere.
	source := netip.MustParseAddr("::1")
	c := &call{source: func(context.Context) (netip.Addr, error) { return source, nil }, Options: wire.Options{User: "alice"}}
	dialed := make(chan net.Conn, 1)
	go func() {
		conn, err := n.connection(ctx, c, "tcp", server.Addr().String())
		if err != nil {
			t.Error(err)
		}
		dialed <- conn
	}()
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.Close()
	from, here := addrPort(accepted.RemoteAddr()), addrPort(accepted.LocalAddr())
	if from.Addr() != source {
		t.Errorf("connected from %s", from)
	}
	question := fmt.Sprintf("%d, %d", from.Port(), here.Port())
	if got := ask(t, questions.Addr(), question); got != question+" : USERID : UNIX : alice" {
		t.Errorf("identd says %q", got)
	}
	if conn := <-dialed; conn != nil {
		conn.Close()
	}
	if got := ask(t, questions.Addr(), question); got != question+" : ERROR : NO-USER" {
		t.Errorf("afterwards identd says %q", got)
	}
	c.source = func(context.Context) (netip.Addr, error) { return netip.Addr{}, errNoSource }
	if _, err := n.connection(ctx, c, "tcp", server.Addr().String()); !errors.Is(err, errNoSource) {
		t.Errorf("without an address: %v", err)
	}
}

func ask(t *testing.T, addr net.Addr, question string) string {
	conn, err := net.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s\r\n", question)
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(answer), "\r\n")
}

// oldServer has no SASL, and services that take a password.
func oldServer(t *testing.T, password string) string {
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
			go serveOld(conn, password)
		}
	}()
	return listener.Addr().String()
}

func serveOld(conn net.Conn, password string) {
	defer conn.Close()
	lines, in := bufio.NewScanner(conn), false
	for lines.Scan() {
		switch line := lines.Text(); {
		case strings.HasPrefix(line, "USER "):
			fmt.Fprint(conn, ":old 001 alice :Welcome\r\n:old 376 alice :end\r\n:NickServ!s@s NOTICE alice :You are now identified.\r\n")
		case strings.HasPrefix(line, "PRIVMSG NickServ@services "):
			in = in || line == "PRIVMSG NickServ@services :IDENTIFY al "+password
		case strings.HasPrefix(line, "PRIVMSG "):
			fmt.Fprint(conn, ":old 401 alice Nobody :No such nick\r\n")
		case strings.HasPrefix(line, "WHOIS "):
			if in {
				fmt.Fprint(conn, ":old 330 alice alice al :is logged in as\r\n")
			}
			fmt.Fprint(conn, ":old 318 alice alice :end\r\n")
		}
	}
}

func TestIdentifyWhereThereIsNoSASL(t *testing.T) {
	defer func(looks []time.Duration) { identifyLooks = looks }(identifyLooks)
	identifyLooks = []time.Duration{20 * time.Millisecond, time.Millisecond}
	addr := oldServer(t, "secret")
	for _, c := range []struct {
		services, password string
		want               error
	}{
		{"NickServ@services", "secret", nil},
		{"NickServ@services", "wrong", wire.ErrAuth}, // whatever NickServ says
		{"NickServ@services", "two words", wire.ErrAuth},
		{"Nobody@services", "secret", wire.ErrNoSASL}, // services are away
		{"", "secret", wire.ErrNoSASL},
	} {
		config := Network{ID: "old", Addr: addr}
		if err := config.complete(); err != nil {
			t.Fatal(err)
		}
		n := &network{service: &Service{}, config: config, servers: newServers(config.addrs(), config.Reconnect), dialing: make(chan struct{}, 1)}
		call := &call{Options: wire.Options{Nick: "alice"}, secure: config.TLS}
		login{name: "al", password: c.password}.apply(call, config.encrypted(), c.services)
		conn, err := n.dial(t.Context(), call)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) || err != nil && strings.Contains(err.Error(), c.password) {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// The password itself goes over encrypted connections only.
func TestNoPasswordInTheClear(t *testing.T) {
	for config, want := range map[*Network]bool{
		{Addr: "127.0.0.1:6667"}:                                            true,
		{Addr: "localhost:6667", Servers: []string{"[::1]:6667"}}:           true,
		{Addr: "127.0.0.1:6667", Servers: []string{"irc.example.org:6667"}}: false,
		{Addr: "irc.example.org:6697", TLS: &tls.Config{}}:                  true,
	} {
		if config.encrypted() != want {
			t.Errorf("%+v: %v", config, !want)
		}
	}
	var c call
	login{name: "al", password: "secret"}.apply(&c, false, "NickServ")
	if c.identify != nil || strings.Contains(c.sasl().Mechanism(), "PLAIN") {
		t.Errorf("%s without encryption", c.sasl().Mechanism())
	}
}
