package ircstory_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"trestle/internal/testkit"
)

// Parts are a homeserver, a bridge and an IRC server, three processes of which each can be killed.
type parts struct {
	t       *testing.T
	irc     *testkit.IRCServer
	trestle *testkit.Trestle

	command []string // of the bridge
	log     *os.File
	bridge  *exec.Cmd
	deaths  map[string]int
}

func startParts(t *testing.T, database string, irc *testkit.IRCServer) *parts {
	t.Helper()
	p := &parts{t: t, irc: irc, deaths: map[string]int{}}
	folder := t.TempDir()
	registration := filepath.Join(folder, "homeserver", "appservices", "irc.yaml")
	config := filepath.Join(folder, "irc.yaml")
	p.write(config, fmt.Sprintf(`server_name: localhost
bridges:
  irc:
    networks:
      local:
        enabled: true
        address: %s
        history: shared
        channels: ["#trestle"]
        flood_burst: 1000
        flood_interval: 1ms
`, irc.Addr))
	p.write(filepath.Join(folder, "homeserver", "trestle.yaml"), "server_name: localhost\nopen_registration: true\n")
	if err := os.MkdirAll(filepath.Dir(registration), 0o700); err != nil {
		t.Fatal(err)
	}
	p.command = []string{testkit.Binary(t), "bridge", "irc", "--config", config, "--data", filepath.Join(folder, "bridge"), "--registration", registration}
	generate := append(p.command[1:len(p.command):len(p.command)], "--generate-registration", "--url", "http://"+testkit.FreeAddress(t))
	if output, err := exec.Command(p.command[0], generate...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	options := testkit.TrestleOptions{Data: filepath.Join(folder, "homeserver")}
	if filepath.Ext(database) == "" { // a URL, or empty for SQLite
		options.Database = database
	}
	p.trestle = testkit.StartTrestle(t, options)
	p.command = append(p.command, "--homeserver", p.trestle.BaseURL)
	var err error
	if p.log, err = os.Create(filepath.Join(folder, "bridge.log")); err != nil {
		t.Fatal(err)
	}
	p.startBridge()
	t.Cleanup(func() {
		p.killBridge()
		p.log.Close()
		if text, err := os.ReadFile(p.log.Name()); err == nil && t.Failed() {
			t.Logf("the bridge's log ends with:\n%s", text[max(0, len(text)-10_000):])
		}
	})
	return p
}

func (p *parts) write(path, text string) {
	p.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *parts) startBridge() {
	p.bridge = exec.Command(p.command[0], p.command[1:]...)
	p.bridge.Stdout, p.bridge.Stderr = p.log, p.log
	if err := p.bridge.Start(); err != nil {
		p.t.Errorf("start the bridge: %v", err)
	}
}

func (p *parts) killBridge() {
	_ = p.bridge.Process.Kill()
	_ = p.bridge.Wait()
}

// kill ends one of the parts, or all of them at once, as kill -9 does, and starts it again.
func (p *parts) kill(victim string) {
	p.deaths[victim]++
	switch victim {
	case "bridge":
		p.killBridge()
		p.startBridge()
	case "homeserver":
		p.trestle.Restart()
	case "IRC server":
		p.irc.Restart()
	case "all three":
		p.killBridge()
		p.trestle.Kill()
		p.irc.Restart()
		p.trestle.Start()
		p.startBridge()
	}
}
