package walkthrough_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/registration"
)

// What docs/irc.md says of a bridge beside another homeserver can be followed: the configuration is one, and the
// command makes a registration of it.
func TestTheBridgeBesideAnotherHomeserver(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "irc.md"))
	if err != nil {
		t.Fatal(err)
	}
	folder, bin := t.TempDir(), t.TempDir()
	if err := os.Symlink(testkit.Binary(t), filepath.Join(bin, "trestle")); err != nil {
		t.Fatal(err)
	}
	run := func(command string) string {
		t.Helper()
		shell := exec.CommandContext(t.Context(), "bash", "-e", "-c", command)
		shell.Dir, shell.Env = folder, append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := shell.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	seen := 0
	for _, b := range blocks(string(page), "Beside another homeserver") {
		switch {
		case b.kind == "yaml":
			if err := os.WriteFile(filepath.Join(folder, b.name), []byte(b.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if said := run("trestle check-config --config " + b.name); !strings.Contains(said, "is fine for example.org") {
				t.Errorf("the configuration: %s", said)
			}
		case b.name == "register":
			run(b.text)
			r, err := registration.LoadFile(filepath.Join(folder, "irc-reg.yaml"))
			if err != nil || r.URL != "http://127.0.0.1:9009" || len(r.Namespaces.Aliases) != 1 {
				t.Errorf("the registration is %+v, %v", r, err)
			}
		case b.name == "bridge":
			// Which would not end: with this it says what else it takes, and knows all of these.
			run(strings.TrimSpace(b.text) + " --help")
		}
		seen++
	}
	if seen != 3 {
		t.Errorf("the section has %d blocks", seen)
	}
}
