package irc_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// hinder has a bridge's database, which no bridge uses now, not take what the room is to be told.
func hinder(t *testing.T, file, what string) (relieve func()) {
	t.Helper()
	execute(t, file, "CREATE TRIGGER obstacle BEFORE INSERT ON outbox WHEN instr(NEW.entry, '"+what+"') > 0 BEGIN SELECT RAISE(ABORT, 'obstacle'); END")
	return func() { execute(t, file, "DROP TRIGGER obstacle") }
}

// A message that IRC did not take is not done with before it is safe that the room is told: if the bridge ends in between,
// the next process does it.
func TestAMarkOutlivesTheBridge(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	bob.Send("MODE #trestle +m")
	bob.Expect("MODE #trestle", "+m")
	c, errs := config(h, server.Addr, t.TempDir()), newErrors()
	c.Networks[0].Undelivered, c.Logger = "reply", slog.New(errs)
	relieve := hinder(t, c.Database, "did not reach IRC")
	_, stop := start(t, h, c)
	room := join(t, h, alice, "alice", bob)
	h.Say(room, alice, "unheard")
	errs.wait(t, "obstacle")
	stop()
	relieve()
	start(t, h, c)
	told(h, room, "did not reach IRC: Cannot send to channel.")
}

// A line of which nobody knows whether it is on IRC stays so until the room was told, and is not said again.
func TestADoubtOutlivesTheBridge(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	folder := ""
	p := startProcess(t, h, server.Addr, func(args *childArgs) { folder = args.Folder })
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	h.Say(room, alice, "seen")
	bob.Expect(":alice!", "seen")
	usual := server.Command("PRIVMSG")
	arrived, died := make(chan struct{}, 1), make(chan struct{})
	server.Handle("PRIVMSG", func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
		if m.Param(1) != "unseen" {
			usual(s, c, m)
			return
		}
		arrived <- struct{}{}
		<-died
	})
	h.Say(room, alice, "unseen")
	<-arrived
	p.kill()
	close(died)
	server.Handle("PRIVMSG", usual)
	relieve := hinder(t, filepath.Join(folder, "irc.db"), "unseen")
	p.start()
	h.Say(room, alice, "afterwards")
	bob.Expect(":alice!", "afterwards")
	p.kill()
	relieve()
	p.start()
	told(h, room, "“unseen”")
	h.Say(room, alice, "the end")
	if line := bob.Expect(":alice!", "PRIVMSG #trestle"); !strings.HasSuffix(line, ":the end") {
		t.Errorf("IRC hears %q", line)
	}
}
