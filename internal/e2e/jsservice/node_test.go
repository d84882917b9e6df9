package jsservice_test

import (
	"bufio"
	"context"
	"embed"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
	"trestle/registration"
)

// patience bounds every wait: far more than anything takes on an idle machine.
const patience = 2 * time.Minute

//go:embed *.mjs *.cjs
var programs embed.FS

//go:embed package-lock.json
var wanted []byte

// A service is an application service that somebody else's library runs.
type service struct {
	*registration.Registration
	file string
}

// newService registers a service for @<id>_… and #<id>_….
func newService(t *testing.T, data, id string) *service {
	t.Helper()
	reg := registration.Generate(id, "http://"+testkit.FreeAddress(t), id+"bot")
	for sigil, space := range map[string]*[]registration.Namespace{"@": &reg.Namespaces.Users, "#": &reg.Namespaces.Aliases} {
		namespace, err := registration.NewNamespace(sigil+id+`_.*:localhost`, true)
		if err != nil {
			t.Fatal(err)
		}
		*space = append(*space, namespace)
	}
	s := &service{reg, filepath.Join(data, "appservices", id+".yaml")}
	if err := os.MkdirAll(filepath.Dir(s.file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := reg.Write(s.file); err != nil {
		t.Fatal(err)
	}
	return s
}

// run starts the service's program, with a judge between it and the homeserver,
// and waits until it listens. What it has printed is shown when the test ends.
func (s *service) run(t *testing.T, program, homeserver string) {
	t.Helper()
	// Node looks for libraries in the folders above a program.
	folder, err := os.MkdirTemp(testkit.NodeLibraries(t, "jsservice", wanted), "service-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	if err := os.CopyFS(folder, programs); err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	node := exec.CommandContext(ctx, "node", "--require", filepath.Join(folder, "nocrypto.cjs"), filepath.Join(folder, program))
	node.Env = append(os.Environ(), "HOMESERVER="+testkit.SpecProxy(t, homeserver), "PORT="+port, "REGISTRATION="+s.file)
	reader, writer := io.Pipe()
	node.Stdout, node.Stderr = writer, writer
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	var output strings.Builder
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			output.WriteString(lines.Text() + "\n")
			if lines.Text() == "ready" {
				close(ready)
			}
		}
	}()
	go func() { writer.CloseWithError(node.Wait()) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		t.Logf("%s:\n%s", program, output.String())
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatal("the service has ended before it listened")
	case <-time.After(patience):
		t.Fatal("the service never listens")
	}
}
