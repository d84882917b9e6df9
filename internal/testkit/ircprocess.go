package testkit

import (
	"bytes"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// An ircProcess is a running server. It does not outlive the test program,
// not even one that is killed (see dieWithParent).
type ircProcess struct {
	command *exec.Cmd
	output  *safeBuffer
	ended   chan struct{}
}

func startIRCProcess(command []string, folder string) (*ircProcess, error) {
	p := &ircProcess{output: &safeBuffer{}, ended: make(chan struct{})}
	p.command = exec.Command(command[0], command[1:]...)
	p.command.Dir, p.command.Stdout, p.command.Stderr = folder, p.output, p.output
	dieWithParent(p.command)
	started := make(chan error, 1)
	go func() {
		// The kernel takes the death of the starting thread for the parent's.
		runtime.LockOSThread()
		defer close(p.ended)
		err := p.command.Start()
		started <- err
		if err == nil {
			p.command.Wait()
		}
	}()
	return p, <-started
}

// signal tells the process, unless it has already been waited for.
func (p *ircProcess) signal(signal syscall.Signal) { p.command.Process.Signal(signal) }

// A safeBuffer takes a program's output while a test reads it.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
