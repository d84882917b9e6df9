package walkthrough_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a test waits for what a page says is to be seen.
const patience = 2 * time.Minute

// A block is a fenced one of a page: what its first line says, and what is in it.
type block struct {
	kind, name string
	text       string
}

// blocks is the fenced blocks of a page's section.
func blocks(page, section string) (list []block) {
	_, page, _ = strings.Cut(page, "\n## "+section+"\n")
	page, _, _ = strings.Cut(page, "\n## ")
	for {
		_, rest, found := strings.Cut(page, "\n```")
		if !found {
			return list
		}
		info, rest, _ := strings.Cut(rest, "\n")
		text, rest, _ := strings.Cut("\n"+rest, "\n```\n")
		kind, name, _ := strings.Cut(info, " ")
		list = append(list, block{kind, name, strings.TrimPrefix(text, "\n") + "\n"})
		page = rest
	}
}

// A terminal is a shell that a stranger types into, and what it shows.
type terminal struct {
	t     *testing.T
	shell *exec.Cmd
	input *os.File
	read  int // so much of what is shown has been looked at
	ended int // how many commands have been waited for

	mu    sync.Mutex
	shown bytes.Buffer
}

func open(t *testing.T, folder string, env ...string) *terminal {
	t.Helper()
	term := &terminal{t: t, shell: exec.Command("bash", "-e")}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	term.input = writer
	term.shell.WaitDelay = patience
	term.shell.Dir, term.shell.Env = folder, append(os.Environ(), env...)
	term.shell.Stdin, term.shell.Stdout, term.shell.Stderr = reader, term, term
	foreground(term.shell)
	if err := term.shell.Start(); err != nil {
		t.Fatal(err)
	}
	reader.Close()
	t.Cleanup(func() {
		writer.Close()
		interrupt(term.shell)
		_ = term.shell.Wait()
		t.Logf("a terminal has shown:\n%s", term.shown.String())
	})
	return term
}

func (term *terminal) Write(p []byte) (int, error) {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.shown.Write(p)
}

func (term *terminal) enter(text string) {
	term.t.Helper()
	if _, err := term.input.WriteString(text); err != nil {
		term.t.Fatal(err)
	}
}

// shows waits until the terminal shows something that it has not shown before.
func (term *terminal) shows(text string) {
	term.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for timeout := time.After(patience); ; {
		term.mu.Lock()
		shown := term.shown.String()
		at := strings.Index(shown[term.read:], text)
		if at >= 0 {
			term.read += at + len(text)
		}
		term.mu.Unlock()
		if at >= 0 {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			term.t.Fatalf("the page says that %q is to be seen", text)
		}
	}
}

// runs enters commands and waits until they are done; the shell ends at the first
// that goes wrong. What they have shown can still be looked at.
func (term *terminal) runs(commands string) {
	term.t.Helper()
	before := term.read
	term.ended++
	mark := fmt.Sprintf("commands %d are done", term.ended) // as none before them
	term.enter(commands + "echo; echo '" + mark + "'\n")
	term.shows(mark + "\n")
	term.read = before
}

// write makes a file of a page's block.
func write(t *testing.T, folder string, b block) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, b.name), []byte(b.text), 0o600); err != nil {
		t.Fatal(err)
	}
}
