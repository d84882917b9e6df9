package ircstory_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// A terminal is irssi under tmux: somebody types, and reads what is on the screen.
type terminal struct {
	t      *testing.T
	socket string
}

// openIrssi has bob connect.
func openIrssi(t *testing.T, irc *testkit.IRCServer, nick string) *terminal {
	t.Helper()
	for _, program := range []string{"tmux", "irssi"} {
		if _, err := exec.LookPath(program); err != nil {
			testkit.Missing(t, program, err)
		}
	}
	folder := t.TempDir()
	host, port, _ := strings.Cut(irc.Addr, ":")
	term := &terminal{t, filepath.Join(folder, "tmux")}
	settings := `settings = { core = { real_name = "Bob"; user_name = "bob"; nick = "` + nick + `"; }; "fe-text" = { term_charset = "UTF-8"; }; };` + "\n"
	if err := os.WriteFile(filepath.Join(folder, "config"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "50",
		fmt.Sprintf("irssi --home=%s --connect=%s --port=%s --nick=%s", folder, host, port, nick))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the screen at the end:\n%s", term.screen())
		}
		term.tmux("kill-server")
	})
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	command := exec.Command("tmux", append([]string{"-u", "-S", term.socket}, args...)...)
	command.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=screen")
	output, err := command.CombinedOutput()
	if err != nil {
		term.t.Errorf("tmux %v: %v: %s", args, err, output)
	}
	return string(output)
}

// types enters a line.
func (term *terminal) types(line string) {
	term.t.Helper()
	term.tmux("send-keys", "-l", line)
	term.tmux("send-keys", "Enter")
}

func (term *terminal) screen() string { return term.tmux("capture-pane", "-p", "-J") }

// shows waits until a line of the screen has all parts.
func (term *terminal) shows(parts ...string) {
	term.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); ; {
		for line := range strings.Lines(term.screen()) {
			found := true
			for _, part := range parts {
				found = found && strings.Contains(line, part)
			}
			if found {
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			term.t.Fatalf("the screen does not show %q:\n%s", parts, term.screen())
		}
	}
}

// Bob has a client that people use, and sees what they would.
func TestBobUsesIrssi(t *testing.T) {
	irc := testkit.Inspircd(t, testkit.IRCOptions{})
	bob := openIrssi(t, irc, "bob")
	bob.shows("Mode change [+i] for user bob")
	bob.types("/join #trestle")
	bob.shows("#trestle", "Total of 1 nicks")
	alice := newPerson(t, startTrestle(t, "", irc), "alice")
	bob.shows("trestle", "has joined #trestle")
	alice.joins(alias)
	bob.shows("alice", "has joined #trestle")

	alice.says("1", text("Grüße, 世界 👋"))
	bob.shows("alice> Grüße, 世界 👋")
	alice.says("2", map[string]any{"msgtype": "m.emote", "body": "waves"})
	bob.shows("* alice waves")
	alice.says("3", text("two\nlines"))
	bob.shows("alice> two")
	bob.shows("alice> lines")
	bob.types("Тоже привет 🎉")
	alice.hears(ghost, "m.text", "Тоже привет 🎉")
	bob.types("/me waves back")
	alice.hears(ghost, "m.emote", "waves back")
	bob.types("/topic About bridges")
	bob.shows("bob changed the topic of #trestle to: About bridges")

	// Whoever asks sees who alice is.
	bob.types("/whois alice")
	bob.types("/window 1")
	bob.shows("ircname", "@alice:localhost")
	bob.types("/window 2")
	bob.types("/nick robert")
	alice.sees("@irc_local_robert:localhost", "join")
	bob.types("/kick alice enough of this")
	bob.shows("alice was kicked from #trestle by robert", "enough of this")
	if left := alice.sees(alice.UserID, "leave"); !strings.Contains(fmt.Sprint(left.Content.Raw["reason"]), "robert: enough of this") {
		t.Errorf("alice is removed with %v", left.Content.Raw)
	}
	alice.joins(alias)
	alice.says("4", text("I am back"))
	bob.shows("alice> I am back")
	if _, err := alice.LeaveRoom(t.Context(), alice.room); err != nil {
		t.Fatal(err)
	}
	bob.shows("alice", "has left #trestle")
}
