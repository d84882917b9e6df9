package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// server is the process that is measured.
type server struct {
	options Options
	folder  string
	address string
	url     string
	config  string // a file about bridges; empty: there are none
	process *exec.Cmd
}

// start starts the server and waits until it answers.
func (s *server) start(ctx context.Context) error {
	if s.address == "" {
		var err error
		if s.address, err = freeAddress(); err != nil {
			return err
		}
		s.url = "http://" + s.address
	}
	args := []string{
		"serve", "--data", filepath.Join(s.folder, "data"), "--server-name", "bench", "--listen", s.address,
		"--appservices", filepath.Join(s.folder, "appservices"), "--open-registration", "--no-rate-limits",
	}
	if s.config != "" {
		args = append(args, "--config", s.config)
	} else {
		args = append(args, "--no-bridges")
	}
	if s.options.Database != "" {
		args = append(args, "--database", s.options.Database)
	}
	s.process = exec.CommandContext(ctx, s.options.Binary, args...)
	// Passwords cost what they cost everywhere: they are not what is measured.
	s.process.Env = append(os.Environ(), "TRESTLE_PASSWORDS_HASH=bcrypt", "TRESTLE_PASSWORDS_BCRYPT_COST=10")
	s.process.Stdout, s.process.Stderr = s.options.Log, s.options.Log
	if err := s.process.Start(); err != nil {
		return err
	}
	return s.answers(ctx)
}

func (s *server) answers(ctx context.Context) error {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		res, err := http.Get(s.url + "/_matrix/client/versions")
		if err != nil {
			continue
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("the server does not answer at %s", s.url)
}

// kill ends the server at once.
func (s *server) kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
	s.process = nil
}

// memory is the resident memory of the process in bytes.
func (s *server) memory() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kilobytes << 10, err
		}
	}
	return 0, fmt.Errorf("no VmRSS of process %d", s.process.Process.Pid)
}

// freeAddress is one at which nothing listens.
func freeAddress() (string, error) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return free.Addr().String(), free.Close()
}
