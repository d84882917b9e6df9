package identd_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc/identd"
	"trestle/internal/testkit"
)

var peer = netip.MustParseAddr("127.0.0.1")

// start runs a server and returns how to ask it.
func start(t testing.TB) (server *identd.Server, ask func(question string) string) {
	server, ask, _ = startAt(t)
	return server, ask
}

func startAt(t testing.TB) (server *identd.Server, ask func(question string) string, address string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server = identd.New(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return server, func(question string) string {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(2 * time.Minute))
		io.WriteString(conn, question)
		answer, _ := io.ReadAll(conn)
		return string(answer)
	}, listener.Addr().String()
}

// Strangers who ask nothing keep no server from being answered.
func TestSilentStrangers(t *testing.T) {
	server, ask, address := startAt(t)
	server.Add(at(peer, 4000), at(peer, 6697), "alice")
	stranger := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for range 100 {
		conn, err := stranger.DialContext(t.Context(), "tcp", address)
		if err != nil {
			testkit.Missing(t, "a second address of this machine, 127.0.0.2", err)
		}
		defer conn.Close()
	}
	if got, want := ask("4000, 6697\r\n"), "4000, 6697 : USERID : UNIX : alice\r\n"; got != want {
		t.Errorf("the server is told %q", got)
	}
}

func at(address netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(address, port) }

func TestAnswers(t *testing.T) {
	server, ask := start(t)
	elsewhere := netip.MustParseAddr("192.0.2.7")
	remove := server.Add(at(peer, 4000), at(peer, 6697), "alice")
	server.Add(at(peer, 4001), at(elsewhere, 6697), "bob")
	// Two that differ by their own address only.
	server.Add(at(elsewhere, 4002), at(peer, 6697), "carol")
	server.Add(at(peer, 4002), at(peer, 6697), "dave")
	server.Add(at(elsewhere, 4003), at(peer, 6697), "erin")
	for question, want := range map[string]string{
		"4000,6697\r\n":             "4000, 6697 : USERID : UNIX : alice\r\n",
		"  4000 \t, 6697 \r\n":      "4000, 6697 : USERID : UNIX : alice\r\n",
		"4000 , 6697\n":             "4000, 6697 : USERID : UNIX : alice\r\n",
		"6697, 4000\r\n":            "6697, 4000 : ERROR : NO-USER\r\n",
		"4001, 6697\r\n":            "4001, 6697 : ERROR : NO-USER\r\n", // asked by somebody else
		"4002, 6697\r\n":            "4002, 6697 : USERID : UNIX : dave\r\n",
		"4003, 6697\r\n":            "4003, 6697 : USERID : UNIX : erin\r\n",
		"0, 6697\r\n":               "0, 0 : ERROR : INVALID-PORT\r\n",
		"65536, 6697\r\n":           "0, 0 : ERROR : INVALID-PORT\r\n",
		"-1, 6697\r\n":              "0, 0 : ERROR : INVALID-PORT\r\n",
		"4000\r\n":                  "0, 0 : ERROR : INVALID-PORT\r\n",
		"4000, 6697, 1\r\n":         "0, 0 : ERROR : INVALID-PORT\r\n",
		"\r\n":                      "0, 0 : ERROR : INVALID-PORT\r\n",
		strings.Repeat("1", 10_000): "",
	} {
		if got := ask(question); got != want {
			t.Errorf("%.40q: got %q, want %q", question, got, want)
		}
	}
	remove()
	if got := ask("4000, 6697\r\n"); got != "4000, 6697 : ERROR : NO-USER\r\n" {
		t.Errorf("after its end: %q", got)
	}
}

// A question that comes before the bridge knows its own port waits for it.
func TestWaitsForConnections(t *testing.T) {
	server, ask := start(t)
	done := server.Connecting()
	other := server.Connecting()
	answer := make(chan string)
	go func() { answer <- ask("4000, 6697\r\n") }()
	select {
	case got := <-answer:
		t.Fatalf("answered at once: %q", got)
	case <-time.After(20 * time.Millisecond):
	}
	server.Add(at(peer, 4000), at(peer, 6697), "alice")
	done()
	if got := <-answer; !strings.HasSuffix(got, ": alice\r\n") {
		t.Errorf("got %q", got)
	}
	other()
	if got := ask("4001, 6697\r\n"); !strings.HasSuffix(got, "NO-USER\r\n") {
		t.Errorf("got %q", got)
	}
}

var replies = regexp.MustCompile(`^(0, 0 : ERROR : INVALID-PORT|[1-9][0-9]*, [1-9][0-9]* : (USERID : UNIX : alice|ERROR : NO-USER))\r\n$`)

func FuzzQuestion(f *testing.F) {
	server, ask := start(f)
	server.Add(at(peer, 4000), at(peer, 6697), "alice")
	f.Add("4000,6697")
	f.Add(" 1 ,\t65535\r")
	f.Add("-1,1e3")
	f.Fuzz(func(t *testing.T, question string) {
		line, _, _ := strings.Cut(question, "\n")
		answer := ask(line + "\n")
		if len(line) < 60 && !replies.MatchString(answer) || answer != "" && !replies.MatchString(answer) {
			t.Errorf("%q is answered with %q", line, answer)
		}
	})
}
