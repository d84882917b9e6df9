package testkit

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// ircPatience is how long a test waits for anything that an IRC peer should do.
const ircPatience = 2 * time.Minute

// An IRCServer is a real IRC server, started for one test on a port of the
// system's choice, and ended with the test.
type IRCServer struct {
	Addr string // 127.0.0.1:port
	Name string // ngircd or inspircd

	t       testing.TB
	command []string
	folder  string
	running *ircProcess
}

// IRCOptions change a server from what suits most tests.
type IRCOptions struct {
	Password  string // PASS
	Throttled bool   // flood protection as on a public network; otherwise off
	Strict    bool   // who sends more than 30 lines at once, and 50 a second, is disconnected (inspircd)
	PingEvery int    // seconds of silence before the server asks; 0: an hour
}

// IRCServers runs a subtest against each of the real servers.
func IRCServers(t *testing.T, opts IRCOptions, test func(t *testing.T, server *IRCServer)) {
	t.Run("ngircd", func(t *testing.T) { test(t, Ngircd(t, opts)) })
	t.Run("inspircd", func(t *testing.T) { test(t, Inspircd(t, opts)) })
}

// startIRC writes the configuration and starts the program.
func startIRC(t testing.TB, name string, config func(port, folder string) string, args ...string) *IRCServer {
	t.Helper()
	program := ircProgram(t, name)
	folder, addr := t.TempDir(), FreeAddress(t)
	_, port, _ := net.SplitHostPort(addr)
	path := filepath.Join(folder, name+".conf")
	if err := os.WriteFile(path, []byte(config(port, folder)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &IRCServer{
		Addr: addr, Name: name,
		t: t, folder: folder, command: append(append([]string{program}, args...), path),
	}
	t.Cleanup(s.Kill)
	s.Start()
	return s
}

// ircProgram finds a server; without it the test is skipped, except in CI.
func ircProgram(t testing.TB, name string) string {
	t.Helper()
	for _, folder := range []string{"", "/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed (apt-get install %s)", name, name)
	}
	t.Skipf("%s is not installed (apt-get install %s)", name, name)
	return ""
}

// Start starts the server (again), on the same port, and waits until it listens.
func (s *IRCServer) Start() {
	s.t.Helper()
	s.Kill()
	process, err := startIRCProcess(s.command, s.folder)
	if err != nil {
		s.t.Fatalf("start %s: %v", s.Name, err)
	}
	s.running = process
	for deadline := time.Now().Add(ircPatience); time.Now().Before(deadline); {
		select {
		case <-process.ended:
			s.t.Fatalf("%s ended:\n%s", s.Name, process.output.String())
		case <-time.After(10 * time.Millisecond):
		}
		if conn, err := net.Dial("tcp", s.Addr); err == nil {
			conn.Close()
			return
		}
	}
	s.t.Fatalf("%s does not listen:\n%s", s.Name, process.output.String())
}

// Kill ends the server as kill -9 does.
func (s *IRCServer) Kill() { s.end(syscall.SIGKILL) }

// Stop asks the server to end, and waits.
func (s *IRCServer) Stop() { s.end(syscall.SIGTERM) }

// Freeze makes the server neither read nor write, until Thaw.
func (s *IRCServer) Freeze() { s.running.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (s *IRCServer) Thaw() { s.running.signal(syscall.SIGCONT) }

// Restart is Kill and Start.
func (s *IRCServer) Restart() { s.Start() }

func (s *IRCServer) end(signal syscall.Signal) {
	if s.running == nil {
		return
	}
	s.running.signal(signal)
	select {
	case <-s.running.ended:
	case <-time.After(ircPatience):
		s.running.signal(syscall.SIGKILL)
		<-s.running.ended
	}
	s.running = nil
}
