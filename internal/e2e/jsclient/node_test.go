package jsclient_test

import (
	"bytes"
	"context"
	"embed"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// patience is for a whole story: each step in it gives up much earlier.
const patience = 6 * time.Minute

//go:embed *.mjs
var stories embed.FS

//go:embed package-lock.json
var wanted []byte

// A story is a program that runs against a homeserver.
type story struct {
	t     *testing.T
	name  string
	ended chan error
}

// begin starts a story, with a judge between it and the homeserver. What it
// has printed is shown when the test ends.
func begin(t *testing.T, name, homeserver string) *story {
	t.Helper()
	// Node looks for libraries in the folders above a program.
	folder, err := os.MkdirTemp(testkit.NodeLibraries(t, "jsclient", wanted), "story-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(folder, stories); err != nil {
		t.Fatal(err)
	}
	s := &story{t: t, name: name, ended: make(chan error, 1)}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	var output bytes.Buffer
	node := exec.CommandContext(ctx, "node", filepath.Join(folder, name))
	node.Env = append(os.Environ(), "HOMESERVER="+testkit.SpecProxy(t, homeserver))
	node.Stdout, node.Stderr = &output, &output
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		s.ended <- node.Wait()
		close(over)
	}()
	t.Cleanup(func() {
		cancel()
		<-over
		t.Logf("%s:\n%s", name, output.String())
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	return s
}

// end waits until the story is told to its end.
func (s *story) end() {
	s.t.Helper()
	if err := <-s.ended; err != nil {
		s.t.Errorf("%s: %v", s.name, err)
	}
}
