package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startWithin is how long a server may take to come up: far more than it
// needs, because machines that run tests are busy.
const startWithin = 2 * time.Minute

// TrestleOptions change a server from what suits most tests.
type TrestleOptions struct {
	ServerName string   // localhost
	Data       string   // the data folder; a temporary one
	Database   string   // a PostgreSQL URL; SQLite in the data folder
	Args       []string // further arguments of trestle serve
	Env        []string // NAME=value, beside what this process has
	// Bridges and RateLimits are off unless a test asks for them.
	Bridges    bool
	RateLimits bool
}

// A Trestle is a server that runs as a process of its own, so that it can be
// killed.
type Trestle struct {
	BaseURL    string // of the client API
	Addr       string // host:port of the same
	ServerName string
	Data       string

	t       testing.TB
	binary  string
	args    []string
	env     []string
	log     *os.File
	process *exec.Cmd
	exited  chan error // gets what Wait returned
}

// StartTrestle builds the server, once for many tests, starts it and waits
// until it is healthy. It ends with the test; if that has failed, the end of
// the server's log is shown.
func StartTrestle(t testing.TB, opts TrestleOptions) *Trestle {
	t.Helper()
	s := &Trestle{t: t, binary: trestleBinary(t), ServerName: opts.ServerName, Data: opts.Data, env: opts.Env}
	if s.ServerName == "" {
		s.ServerName = "localhost"
	}
	if s.Data == "" {
		s.Data = filepath.Join(t.TempDir(), "data")
	}
	s.Addr = FreeAddress(t)
	s.BaseURL = "http://" + s.Addr
	s.args = append([]string{"--data", s.Data, "--server-name", s.ServerName, "--listen", s.Addr}, opts.Args...)
	if opts.Database != "" {
		s.args = append(s.args, "--database", opts.Database)
	}
	if !opts.Bridges {
		s.args = append(s.args, "--no-bridges")
	}
	if !opts.RateLimits {
		s.args = append(s.args, "--no-rate-limits")
	}
	var err error
	if s.log, err = os.Create(filepath.Join(t.TempDir(), "trestle.log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.finish)
	s.Start()
	return s
}

// Start starts the server, again on the same address, and waits until it is
// healthy.
func (s *Trestle) Start() {
	s.t.Helper()
	if s.process != nil {
		s.t.Fatal("the server is running already")
	}
	s.process = exec.Command(s.binary, append([]string{"serve"}, s.args...)...)
	s.process.Env = append(os.Environ(), s.env...)
	s.process.Stdout, s.process.Stderr = s.log, s.log
	if err := s.process.Start(); err != nil {
		s.t.Fatalf("start %s: %v", s.binary, err)
	}
	s.exited = make(chan error, 1)
	go func(process *exec.Cmd, exited chan error) { exited <- process.Wait() }(s.process, s.exited)
	s.waitHealthy()
}

func (s *Trestle) waitHealthy() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if s.healthy(ctx) {
			return
		}
		select {
		case err := <-s.exited:
			s.process = nil
			s.t.Fatalf("the server ended while it started: %v", err)
		case <-ctx.Done():
			s.t.Fatalf("the server is not healthy after %s", startWithin)
		case <-tick.C:
		}
	}
}

func (s *Trestle) healthy(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.BaseURL+"/health", nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// Kill ends the server as kill -9 does.
func (s *Trestle) Kill() {
	s.t.Helper()
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatalf("kill the server: %v", err)
	}
	<-s.exited
	s.process = nil
}

// Stop asks the server to end, and fails the test if it does not do so well.
func (s *Trestle) Stop() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	err := <-s.exited
	s.process = nil
	if err != nil {
		s.t.Errorf("the server stopped with %v", err)
	}
}

// Ended waits until the server ends by itself, and returns how it did.
func (s *Trestle) Ended() error {
	s.t.Helper()
	select {
	case err := <-s.exited:
		s.process = nil
		return err
	case <-time.After(startWithin):
		s.t.Fatalf("the server has not ended after %s", startWithin)
		return nil
	}
}

// Restart is Kill and Start.
func (s *Trestle) Restart() {
	s.t.Helper()
	s.Kill()
	s.Start()
}

// Pid is the process ID.
func (s *Trestle) Pid() int { return s.process.Process.Pid }

// Freeze makes the server do nothing at all, until Thaw.
func (s *Trestle) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (s *Trestle) Thaw() { s.signal(syscall.SIGCONT) }

func (s *Trestle) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.process.Process.Signal(signal); err != nil {
		s.t.Fatalf("%v for the server: %v", signal, err)
	}
}

// Command runs another command of the binary, such as "user", "create", on
// the same data folder, and returns its output; the test fails if it fails.
func (s *Trestle) Command(input string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	command := exec.CommandContext(ctx, s.binary, append(args, s.args...)...)
	command.Env = append(os.Environ(), s.env...)
	command.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	if err := command.Run(); err != nil {
		s.t.Fatalf("trestle %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String()
}

// Log is what the server has written so far, through all its starts.
func (s *Trestle) Log() string {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(text)
}

// finish ends what still runs, and looks for what must never be in a log.
func (s *Trestle) finish() {
	if s.process != nil {
		_ = s.process.Process.Kill()
		<-s.exited
	}
	_ = s.log.Close()
	log := s.Log()
	for _, sign := range []string{"WARNING: DATA RACE", "\npanic: ", "\nfatal error: "} {
		if strings.Contains("\n"+log, sign) {
			_, after, _ := strings.Cut("\n"+log, sign)
			s.t.Errorf("the server's log has %q:\n%s", strings.TrimSpace(sign), firstLines(after, 60))
		}
	}
	if s.t.Failed() {
		s.t.Logf("the server's log ends with:\n%s", lastLines(log, 100))
	}
}

func firstLines(text string, n int) string {
	lines := strings.SplitN(text, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
