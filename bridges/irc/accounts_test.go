package irc_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

const secret = "hunter2-hunter2"

// talk is a direct chat with the bridge's own user.
type talk struct {
	t    *testing.T
	h    *fakehomeserver.Homeserver
	room string
	seen int
}

func newTalk(t *testing.T, h *fakehomeserver.Homeserver) *talk {
	k := &talk{t: t, h: h, room: h.Direct(alice)}
	h.WaitMembership(k.room, bot, "join")
	k.hears("Hello!")
	return k
}

// hears waits for the next notice of the bridge that has the text in it.
func (k *talk) hears(text string) string {
	k.t.Helper()
	fromBot := func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == bot }
	for {
		all := k.h.WaitN(k.room, "“"+text+"”", k.seen+1, fromBot)
		body := all[k.seen].Body()
		k.seen++
		if strings.Contains(body, secret) {
			k.t.Errorf("the bridge repeats a secret: %q", body)
		}
		if strings.Contains(body, text) {
			return body
		}
	}
}

func (k *talk) says(text string) { k.h.Say(k.room, alice, text) }

// redacted waits until the bridge has redacted an event.
func redacted(t *testing.T, h *fakehomeserver.Homeserver, room, id string) {
	t.Helper()
	h.Wait(room, "the redaction", func(e fakehomeserver.Event) bool {
		return e.Type == "m.room.redaction" && e.Sender == bot && strings.Contains(string(e.Content), id)
	})
}

// A user who has stored a password is never on IRC without having logged in with it.
func TestNeverUnauthenticated(t *testing.T) {
	h, server, folder := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{}), t.TempDir()
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, folder)
	c.KeyFile = filepath.Join(folder, "irc.keys")
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)

	id := h.Say(room, alice, "!irc storepass "+secret)
	redacted(t, h, room, id)
	h.Wait(room, "the refusal", func(e fakehomeserver.Event) bool { return strings.Contains(e.Body(), "direct chat") })
	k := newTalk(t, h)
	k.says("username al")
	k.hears("is al.")
	k.says("username")
	k.hears("is al.")
	id = h.Say(k.room, alice, "storepass "+secret)
	k.hears("is kept, sealed")
	redacted(t, h, k.room, id)
	bob.Expect(":alice!", "QUIT")
	k.hears("cannot be logged in to Local") // ngircd has no SASL
	h.Say(room, alice, "not without my account")
	checkSealed(t, folder)
	stop()

	// After a restart it is the same; without the key, too.
	if err := os.Remove(c.KeyFile); err != nil {
		t.Fatal(err)
	}
	service, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	k.hears("lost the key")
	bob.Say("trestle", "\x01PING 1\x01")
	if line := bob.ExpectFunc("alice or the answer", func(line string) bool {
		return strings.HasPrefix(line, ":alice") || strings.Contains(line, "PING 1")
	}); strings.HasPrefix(line, ":alice") {
		t.Errorf("alice is there unauthenticated: %s", line)
	}
	if status := service.Status(t.Context()).Networks[0]; status.Puppets != 0 || status.PuppetsOff != 1 {
		t.Errorf("status %+v", status)
	}
	k.says("removepass")
	k.hears("is forgotten")
	bob.Expect(":alice!", "JOIN")
	k.says("removepass")
	k.hears("no password of yours")
	k.says("certfp")
	k.hears("without TLS")
	h.ForbidRedactions(k.room)
	k.says("storepass two words")
	k.hears("I may not remove your message")
	stop()
}

// checkSealed looks for the secret in all that the bridge has written.
func checkSealed(t *testing.T, folder string) {
	t.Helper()
	files, err := os.ReadDir(folder)
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		// The transaction that brought it is forgotten when it is worked off, but the
		// database's pages are not overwritten at once.
		if strings.HasPrefix(file.Name(), "irc.db") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil || strings.Contains(string(text), secret) {
			t.Errorf("%s holds the secret, or %v", file.Name(), err)
		}
	}
}

// The first server that answers is the one, and the others follow.
func TestFailover(t *testing.T) {
	h, first, second := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{}), testkit.Ngircd(t, testkit.IRCOptions{})
	c := config(h, first.Addr, t.TempDir())
	c.Networks[0].Servers = []string{second.Addr}
	start(t, h, c)
	there := func(server *testkit.IRCServer) *testkit.IRCClient {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		return bob
	}
	room := join(t, h, alice, "alice", there(first))
	first.Kill()
	bob := there(second)
	bob.ExpectFunc("alice elsewhere", func(line string) bool {
		return strings.HasPrefix(line, ":alice!") && strings.Contains(line, "JOIN")
	})
	h.Say(room, alice, "here now")
	bob.Expect(":alice!", "here now")
	first.Start()
	second.Kill()
	bob = there(first)
	h.Say(room, alice, "back again")
	bob.Expect(":alice!", "back again")
}

// A nick that services or operators take away is asked for again when it is free; one that
// was chosen survives a restart.
func TestNicksAreKept(t *testing.T) {
	h, server, folder := fakehomeserver.New(t), testkit.Inspircd(t, testkit.IRCOptions{}), t.TempDir()
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	thief := testkit.DialIRC(t, server.Addr, "alice")
	c := config(h, server.Addr, folder)
	c.Networks[0].RegainAfter = 50 * time.Millisecond
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	h.Register(alice, "alice")
	if _, refusal := h.Join(alice, "#irc_local_#trestle:localhost"); refusal != "" {
		t.Fatal(refusal)
	}
	bob.Expect(":alice_!", "JOIN")
	thief.Send("QUIT")
	bob.Expect(":alice_!", "NICK :alice")

	bob.Send("OPER root root")
	bob.Expect(" 381 ")
	k := newTalk(t, h)
	bob.Send("SANICK alice guest1")
	bob.Expect(":alice!", "NICK :guest1")
	k.hears("renamed")
	bob.Expect(":guest1!", "NICK :alice")

	k.says("nick wonder")
	bob.Expect(":alice!", "NICK :wonder")
	k.hears("You are wonder")
	stop()
	bob.Expect(":wonder!", "QUIT")
	_, stop = start(t, h, c)
	bob.Expect(":wonder!", "JOIN")
	k.says("nick alice")
	bob.Expect(":wonder!", "NICK :alice")
	k.hears("You are alice")
	stop()
}

// Where all connections are in use, one that has long been silent gives way.
func TestMakeRoom(t *testing.T) {
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].MaxConnections, c.Networks[0].MakeRoom = 1, time.Millisecond
	start(t, h, c)
	room := join(t, h, alice, "alice", bob)
	h.Say(room, alice, "hello")
	bob.Expect(":alice!", "hello")
	h.Register(carol, "carol")
	h.Member(room, carol, carol, "join", "")
	bob.Expect(":alice!", "QUIT")
	bob.Expect(":carol!", "JOIN")
}
