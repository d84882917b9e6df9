package browser_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// patience bounds every wait: far more than anything takes on an idle machine.
const patience = 2 * time.Minute

// chromium is a browser without a window. It is driven by the DevTools
// protocol through a pair of pipes: nothing listens, and no driver is needed.
type chromium struct {
	t      *testing.T
	toward *os.File

	mu      sync.Mutex
	last    int
	waiting map[int]chan answer
	tabs    map[string]*tab // by the session that is attached to them
}

// A message of the protocol: a command, its answer, or an event.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	answer
}

type answer struct {
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// launch starts a browser that ends with the test. Where none is installed the
// test is skipped, except in CI.
func launch(t *testing.T) *chromium {
	t.Helper()
	program, err := installed()
	if err != nil {
		const advice = "Chromium is not installed (internal/testkit/scripts/setup.sh installs it)"
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s: %v", advice, err)
		}
		t.Skipf("%s: %v", advice, err)
	}
	commands, toward := pipe(t)
	from, events := pipe(t)
	profile := t.TempDir()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	// The pages are ours, and root has no sandbox.
	command := exec.CommandContext(ctx, program, "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
		"--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--no-first-run",
		"--hide-scrollbars", "--window-size=1100,700", "--user-data-dir="+profile)
	command.ExtraFiles = []*os.File{commands, events} // 3 and 4
	command.Env = append(os.Environ(), "HOME="+profile)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = commands.Close(), events.Close()
	c := &chromium{t: t, toward: toward, waiting: map[int]chan answer{}, tabs: map[string]*tab{}}
	var reading sync.WaitGroup
	reading.Go(func() { c.read(from) })
	t.Cleanup(func() {
		_ = toward.Close() // which ends it
		timer := time.AfterFunc(5*time.Second, cancel)
		_ = command.Wait()
		timer.Stop()
		cancel()
		reading.Wait()
		_ = from.Close()
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(program), output.String())
		}
	})
	return c
}

// installed is the path of the browser. Debian has a small one without any
// window, too.
func installed() (path string, err error) {
	for _, name := range []string{"chromium-headless-shell", "chromium"} {
		if path, err = exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", err
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// read hands out what the browser says until it says no more.
func (c *chromium) read(from *os.File) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for id, waiting := range c.waiting {
			close(waiting)
			delete(c.waiting, id)
		}
		c.waiting = nil
	}()
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, 64<<20) // a screenshot is one message
	scanner.Split(func(data []byte, _ bool) (int, []byte, error) {
		if end := bytes.IndexByte(data, 0); end >= 0 {
			return end + 1, data[:end], nil
		}
		return 0, nil, nil
	})
	for scanner.Scan() {
		var m message
		if err := json.Unmarshal(scanner.Bytes(), &m); err != nil {
			c.t.Errorf("the browser says %.200q: %v", scanner.Bytes(), err)
			return
		}
		c.mu.Lock()
		waiting, tab := c.waiting[m.ID], c.tabs[m.SessionID]
		delete(c.waiting, m.ID)
		c.mu.Unlock()
		switch {
		case waiting != nil:
			waiting <- m.answer
		case tab != nil:
			tab.happens(m)
		}
	}
}

var errGone = errors.New("the browser has ended")

// call sends a command and puts its result where out points to, if anywhere.
func (c *chromium) call(session, method string, params, out any) error {
	encoded, err := json.Marshal(params)
	if err != nil {
		return err
	}
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		return errGone
	}
	c.last++
	waiting := make(chan answer, 1)
	c.waiting[c.last] = waiting
	line, err := json.Marshal(message{ID: c.last, SessionID: session, Method: method, Params: encoded})
	if err == nil {
		_, err = c.toward.Write(append(line, 0))
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case got, ok := <-waiting:
		if !ok {
			return errGone
		}
		if got.Error != nil {
			return fmt.Errorf("%s: %s", method, got.Error.Message)
		}
		if out == nil {
			return nil
		}
		return json.Unmarshal(got.Result, out)
	case <-time.After(patience):
		return fmt.Errorf("%s is not answered", method)
	}
}
