package ircstory_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// A besideBridge is the bridge as a process of its own, with a configuration that a test changes.
type besideBridge struct {
	t       *testing.T
	folder  string
	args    []string // that all its commands have
	process *exec.Cmd
	log     *os.File
}

func newBeside(t *testing.T, networks map[string]string) *besideBridge {
	t.Helper()
	b := &besideBridge{t: t, folder: t.TempDir()}
	b.args = []string{"--config", filepath.Join(b.folder, "irc.yaml"), "--data", b.folder}
	b.write(networks)
	return b
}

// write makes the networks those with these addresses.
func (b *besideBridge) write(networks map[string]string) {
	b.t.Helper()
	text := "server_name: localhost\nbridges:\n  irc:\n    networks:\n"
	for id, addr := range networks {
		text += fmt.Sprintf("      %s: {address: %q, flood_burst: 1000, history: shared}\n", id, addr)
	}
	if err := os.WriteFile(filepath.Join(b.folder, "irc.yaml"), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// run runs trestle bridge irc with further arguments.
func (b *besideBridge) run(args ...string) (out string, err error) {
	b.t.Helper()
	command := exec.CommandContext(b.t.Context(), testkit.Binary(b.t), append([]string{"bridge", "irc"}, args...)...)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err = command.Run(); err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout.String(), err
}

// must is run that does not fail.
func (b *besideBridge) must(args ...string) string {
	b.t.Helper()
	out, err := b.run(append(args, b.args...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// start starts the bridge beside a homeserver that has its registration.
func (b *besideBridge) start(homeserver, registration string) {
	b.t.Helper()
	var err error
	if b.log, err = os.Create(filepath.Join(b.folder, "log")); err != nil {
		b.t.Fatal(err)
	}
	args := append([]string{"bridge", "irc", "--homeserver", homeserver, "--registration", registration}, b.args...)
	b.process = exec.Command(testkit.Binary(b.t), args...)
	b.process.Stdout, b.process.Stderr = b.log, b.log
	if err := b.process.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := b.process.Process.Signal(syscall.SIGTERM); err != nil {
			b.t.Error(err)
		}
		if err := b.process.Wait(); err != nil {
			b.t.Errorf("the bridge ended with %v", err)
		}
		if b.t.Failed() {
			b.t.Log(b.said())
		}
	})
}

func (b *besideBridge) said() string {
	text, _ := os.ReadFile(b.log.Name())
	return string(text)
}

// hup sends SIGHUP and waits until the log says something.
func (b *besideBridge) hup(says string) {
	b.t.Helper()
	before := strings.Count(b.said(), says)
	if err := b.process.Process.Signal(syscall.SIGHUP); err != nil {
		b.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); strings.Count(b.said(), says) == before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("the log does not say %q:\n%s", says, b.said())
		}
	}
}

// since is when a network's bot was connected.
func (b *besideBridge) since() map[string]int64 {
	b.t.Helper()
	var status struct {
		Networks []struct {
			ID    string `json:"id"`
			Since int64  `json:"since"`
		} `json:"networks"`
	}
	if err := json.Unmarshal([]byte(b.must("status", "--json")), &status); err != nil {
		b.t.Fatal(err)
	}
	since := map[string]int64{}
	for _, n := range status.Networks {
		since[n.ID] = n.Since
	}
	return since
}

// The bridge and the homeserver are two processes, and the bridge's operator gives it another network,
// a wrong configuration, and the old one.
func TestTheBridgeRunsBesideAHomeserver(t *testing.T) {
	local, other := testkit.Ngircd(t, testkit.IRCOptions{}), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, local.Addr, "bob")
	bob.Join("#trestle")
	b := newBeside(t, map[string]string{"local": local.Addr})
	data := filepath.Join(t.TempDir(), "data")
	folder := filepath.Join(data, "appservices")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	registration := filepath.Join(folder, "irc.yaml")
	address := "http://" + testkit.FreeAddress(t)
	generate := []string{"--registration", registration, "--generate-registration", "--url", address}
	b.must(generate...)
	trestle := testkit.StartTrestle(t, testkit.TrestleOptions{Data: data, Args: []string{"--open-registration"}})
	if _, err := b.run(append([]string{"status"}, b.args...)...); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("the status of a bridge that does not run: %v", err)
	}
	b.start(trestle.BaseURL, registration)

	alice := newPerson(t, trestle, "alice")
	alice.joins(alias)
	bob.Expect(":alice!", "JOIN")
	alice.says("1", text("hi!"))
	bob.Expect(":alice!", "PRIVMSG #trestle :hi!")
	bob.Say("#trestle", "what's up?")
	alice.hears(ghost, "m.text", "what's up?")
	alice.says("2", text(strings.Repeat("and so on\n", 40)))
	_, link, _ := strings.Cut(bob.Expect(":alice!", address+"/_trestle/irc/text/"), "http://")
	response, err := http.Get("http://" + strings.TrimRight(link, ")"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("the link to the whole text is answered with %s", response.Status)
	}
	if table := b.must("status"); !strings.Contains(table, local.Addr) || !strings.Contains(table, "connected") {
		t.Errorf("the status is\n%s", table)
	}
	if table := b.must("rooms"); !strings.Contains(table, alias) || !strings.Contains(table, string(alice.room)) {
		t.Errorf("the rooms are\n%s", table)
	}
	before := b.since()["local"]

	// Names that the homeserver would not let it have, first.
	b.write(map[string]string{"local": local.Addr, "other": other.Addr})
	if _, err := b.run(append([]string{"rehash"}, b.args...)...); err == nil || !strings.Contains(err.Error(), "does not claim @irc_other_nick:localhost") {
		t.Errorf("a network without a claim: %v", err)
	}
	tokens := tokensOf(t, registration)
	b.must(generate...)
	if again := tokensOf(t, registration); again != tokens {
		t.Error("the tokens are others")
	}
	trestle.Command("", "appservice", "reload")
	if said := b.must("rehash"); !strings.Contains(said, "other: new") {
		t.Errorf("the rehash says %q", said)
	}
	erin := testkit.DialIRC(t, other.Addr, "erin")
	erin.Join("#garden")
	alice.joins("#irc_other_#garden:localhost")
	erin.Expect(":alice!", "JOIN")

	file := filepath.Join(b.folder, "irc.yaml")
	if err := os.WriteFile(file, []byte("server_name: localhost\nbridges:\n  irc:\n    networks:\n      local: {adress: 'x:1'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.hup("irc.yaml:5")
	b.write(map[string]string{"local": local.Addr})
	b.hup("removed=[other]")
	erin.Expect(":alice!", "QUIT")
	if after := b.since(); after["local"] != before || len(after) != 1 {
		t.Errorf("the bot was connected since %d, and is since %v", before, after)
	}
	if said := b.must("kick", string(alice.UserID), "--reason", "enough"); !strings.Contains(said, "1 connection") {
		t.Errorf("the kick says %q", said)
	}
	bob.Expect(":alice!", "QUIT")
}

func tokensOf(t *testing.T, registration string) string {
	t.Helper()
	raw, err := os.ReadFile(registration)
	if err != nil {
		t.Fatal(err)
	}
	tokens := ""
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "_token") {
			tokens += line
		}
	}
	return tokens
}

// The bridge inside of the server is asked and changed in the same way; the homeserver learns of the new
// network's names by itself.
func TestTheBundledBridgeGetsAnotherNetwork(t *testing.T) {
	local, other := testkit.Ngircd(t, testkit.IRCOptions{}), testkit.Ngircd(t, testkit.IRCOptions{})
	trestle := startTrestle(t, "irc.db", local)
	bob := testkit.DialIRC(t, local.Addr, "bob")
	bob.Join("#trestle")
	alice := newPerson(t, trestle, "alice")
	alice.joins(alias)
	bob.Expect(":alice!", "JOIN")

	file := filepath.Join(trestle.Data, "trestle.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, fmt.Sprintf("      other: {address: %q, history: shared}\n", other.Addr)...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := trestle.Command("", "bridge", "irc", "rehash"); said != "other: new, connecting\n" {
		t.Errorf("the rehash says %q", said)
	}
	erin := testkit.DialIRC(t, other.Addr, "erin")
	erin.Join("#garden")
	alice.joins("#irc_other_#garden:localhost")
	erin.Expect(":alice!", "JOIN")
	alice.sees("@irc_other_erin:localhost", "join")
	if status := trestle.Command("", "bridge", "irc", "status"); strings.Count(status, "connected") != 2 {
		t.Errorf("the status is\n%s", status)
	}
}
