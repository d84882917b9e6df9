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

// TestABotInTenMinutes does what the page says, in three terminals.
func TestABotInTenMinutes(t *testing.T) {
	t.Parallel()
	follow(t, walk{
		page: "appservices.md", section: "A bot in ten minutes", steps: 10, tools: []string{"bash", "make", "node", "curl"},
		ports: []string{"8008", "9000"}, env: []string{"TRESTLE_NO_BRIDGES=true"}, waits: "second",
	})
}

// TestAChannelIsBridged goes from nothing to a bridged channel, in four terminals.
func TestAChannelIsBridged(t *testing.T) {
	t.Parallel()
	follow(t, walk{
		page: "irc.md", section: "From nothing to a bridged channel", steps: 12, tools: []string{"bash", "make", "curl", "/usr/sbin/ngircd"},
		ports: []string{"8008", "6667"}, env: []string{"TRESTLE_BRIDGES_IRC_NETWORKS_LOCAL_ADDRESS=127.0.0.1:6667"}, waits: "alice",
	})
}

// A walk is a page's section, and what it takes to follow it.
type walk struct {
	page, section string
	steps         int      // that it has at least
	tools         []string // which have to be installed
	ports         []string // for which there are others in a test
	env           []string
	waits         string // the terminal whose commands end; in the others programs go on
}

// follow does what a page says. That make has built the server already, and the ports, are all that
// differs.
func follow(t *testing.T, w walk) {
	t.Helper()
	for _, tool := range w.tools {
		if _, err := exec.LookPath(tool); err != nil {
			testkit.Missing(t, tool, err)
		}
	}
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", w.page))
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
	replacer := ports(t, w.ports...)
	env := []string{replacer.Replace("TRESTLE_LISTEN=127.0.0.1:8008"), "MAKEFLAGS="}
	for _, setting := range w.env {
		env = append(env, replacer.Replace(setting))
	}
	terminals := map[string]*terminal{}
	steps := blocks(string(page), w.section)
	if len(steps) < w.steps {
		t.Fatalf("the page has %d blocks", len(steps))
	}
	for _, step := range steps {
		step.text = replacer.Replace(step.text)
		if step.kind != "sh" && step.kind != "text" {
			write(t, folder, step)
			continue
		}
		term, known := terminals[step.name]
		if !known {
			term = open(t, folder, env...)
			terminals[step.name] = term
		}
		switch {
		case step.kind == "text":
			term.shows(strings.TrimSuffix(step.text, "\n"))
		case step.name == w.waits:
			term.runs(step.text)
		default: // a program that goes on
			term.enter(strings.Replace(step.text, "make run", "make -o build run", 1))
		}
	}
}
