package irc_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/bridges/irc/wire"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// A server that puts the bot into one channel after the other is not told more than it takes: what waits for it
// is bounded.
func TestEndlessForcedJoinsAreBounded(t *testing.T) {
	h, server, _ := onOurs(t, func(n *irc.Network) {
		n.Channels = []string{"#trestle"}
		n.Flood = &wire.Flood{Burst: 20, Interval: time.Hour}
	})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	before := runtime.NumGoroutine()
	for i := range 12000 {
		server.Inject("trestle", fmt.Sprintf(":trestle!trestle@127.0.0.1 JOIN #c%d", i))
	}
	server.Inject("trestle", ":bob!bob@127.0.0.1 PRIVMSG #trestle :and now?")
	h.WaitBody(room, ghost("bob"), "and now?")
	if most := runtime.NumGoroutine() - before; most > 8000 {
		t.Errorf("%d things wait to be sent", most)
	}
	server.Close() // which reads no goodbye
}

// A mask that means everybody is told once.
func TestABanOfManyIsOneNotice(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	for i := range 8 {
		nick := fmt.Sprint("user", i)
		join(t, h, "@"+nick+":localhost", nick, bob)
	}
	bob.Send("MODE #trestle +b *!*@*")
	told(h, room, " others (*!*@*)") // of a connection that has just come it may not be known where it comes from
	bob.Send("MODE #trestle -b *!*@*")
	bob.Say("#trestle", "done")
	h.WaitBody(room, ghost("bob"), "done")
	if n := len(h.Events(room, func(e fakehomeserver.Event) bool { return e.Sender == bot && strings.Contains(e.Body(), "has banned") })); n != 1 {
		t.Errorf("%d notices", n)
	}
}

// Who has a thousand nicks does not invite somebody into a thousand rooms.
func TestStrangersInviteNobodyEndlessly(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, func(n *irc.Network) { n.Direct = irc.FromAll })
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	join(t, h, alice, "alice", bob)
	for i := range 60 {
		server.Inject("alice", fmt.Sprintf(":n%d!u@127.0.0.1 PRIVMSG alice :hello", i))
	}
	server.Inject("alice", ":bob!bob@127.0.0.1 INVITE alice #nowhere")
	bob.Send("PRIVMSG alice :\x01PING 1\x01")
	bob.Expect("NOTICE bob", "PING 1") // by then all before it has been heard
	invited := h.Invitations(alice)
	for patience := time.Now().Add(promptly); len(invited) < 20 && time.Now().Before(patience); invited = h.Invitations(alice) {
		time.Sleep(10 * time.Millisecond)
	}
	if len(invited) != 20 {
		t.Errorf("%d invitations", len(invited))
	}
}
