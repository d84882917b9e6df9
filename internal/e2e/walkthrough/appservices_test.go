package walkthrough_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// ports has a page's ports be ones that are free.
func ports(t *testing.T, used ...string) *strings.Replacer {
	t.Helper()
	var pairs []string
	for _, port := range used {
		_, free, err := net.SplitHostPort(testkit.FreeAddress(t))
		if err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, port, free)
	}
	return strings.NewReplacer(pairs...)
}

// TestABotInTenMinutes does what the page says, in three terminals. That make
// has built the server already, and the ports, are all that differs.
func TestABotInTenMinutes(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"bash", "make", "node", "curl"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed", tool)
		}
		t.Skipf("%s is not installed", tool)
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "appservices.md"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "bin"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"Makefile": filepath.Join(root, "Makefile"), "bin/trestle": testkit.Binary(t)} {
		if err := os.Symlink(target, filepath.Join(folder, link)); err != nil {
			t.Fatal(err)
		}
	}
	replacer := ports(t, "8008", "9000")
	env := []string{replacer.Replace("TRESTLE_LISTEN=127.0.0.1:8008"), "TRESTLE_NO_BRIDGES=true", "MAKEFLAGS="}
	terminals := map[string]*terminal{}
	steps := blocks(string(page), "A bot in ten minutes")
	if len(steps) < 10 {
		t.Fatalf("the page has %d blocks", len(steps))
	}
	for _, step := range steps {
		step.text = replacer.Replace(step.text)
		term, known := terminals[step.name]
		if step.kind != "js" && !known {
			term = open(t, folder, env...)
			terminals[step.name] = term
		}
		switch {
		case step.kind == "js":
			write(t, folder, step)
		case step.kind == "text":
			term.shows(strings.TrimSuffix(step.text, "\n"))
		case step.name == "second":
			term.runs(step.text)
		default: // a program that goes on
			term.enter(strings.Replace(step.text, "make run", "make -o build run", 1))
		}
	}
}
