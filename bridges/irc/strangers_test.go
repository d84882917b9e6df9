package irc

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// by is a message to alice, or about her, that somebody on IRC has sent.
func by(nick, command string, params ...string) *wire.Message {
	m := wire.NewMessage(command, params...)
	m.Prefix = wire.Prefix{Nick: nick, User: "u", Host: "h"}
	return m
}

// Who has many nicks begins no more chats with a Matrix user than the limit lets through.
func TestStrangersBeginFewChats(t *testing.T) {
	h := fakehomeserver.New(t)
	h.Register("@alice:localhost", "alice")
	n, _ := listen(t, h, ircv3.Start(t, ircv3.Options{}).Addr)
	n.ask(t.Context(), func() {
		p := n.puppet("@alice:localhost")
		p.link = n.bot.link
		defer func() { p.link = nil }()
		begun := func(nick string) bool {
			p.whispered(by(nick, "PRIVMSG", "alice", "psst"))
			return n.service.bridge.Find(n.directKey(nick, p.user)) != nil
		}
		for i := range openLimit.Burst {
			if nick := fmt.Sprint("s", i); !begun(nick) {
				t.Errorf("%s cannot speak to alice", nick)
			}
		}
		if begun("mallory") {
			t.Errorf("there are more than %d chats", openLimit.Burst)
		}
		if !begun("s0") {
			t.Error("a chat that was begun cannot go on")
		}
		p.opens.filled = p.opens.filled.Add(-openLimit.Interval)
		if !begun("bob") || begun("mallory") {
			t.Errorf("after %s it is not one more", openLimit.Interval)
		}
	})
}

// Nor is anybody invited into more rooms.
func TestStrangersInviteIntoFewRooms(t *testing.T) {
	h := fakehomeserver.New(t)
	h.Register("@alice:localhost", "alice")
	n, _ := listen(t, h, ircv3.Start(t, ircv3.Options{}).Addr)
	rooms := make([]matrix.RoomID, inviteLimit.Burst+2)
	for i := range rooms {
		name := fmt.Sprint("#c", i)
		p, err := n.service.bridge.Portal(t.Context(), n.key(name), name)
		if err == nil {
			err = p.CreateRoom(t.Context(), bridge.RoomSpec{Alias: n.aliasOf(name)})
		}
		if err != nil {
			t.Fatal(err)
		}
		rooms[i] = p.Room()
	}
	invite := func(i int) {
		n.puppet("@alice:localhost").invited(by("mallory", "INVITE", "alice", fmt.Sprint("#c", i)))
	}
	n.ask(t.Context(), func() {
		for i := range inviteLimit.Burst + 1 {
			invite(i)
		}
		p := n.puppet("@alice:localhost")
		p.invites.filled = p.invites.filled.Add(-inviteLimit.Interval)
		invite(inviteLimit.Burst + 1)
	})
	for i, room := range rooms {
		if i != inviteLimit.Burst {
			h.WaitMembership(string(room), "@alice:localhost", "invite")
		}
	}
	if slices.Contains(h.Invitations("@alice:localhost"), string(rooms[inviteLimit.Burst])) {
		t.Errorf("alice is invited more than %d times", inviteLimit.Burst)
	}
}

// However often the bot is invited into a channel that it may not join, it does not ask that often.
func TestEndlessInvitationsAreFewJoins(t *testing.T) {
	server := ircv3.Start(t, ircv3.Options{})
	joins := make(chan string, 1000)
	server.Handle("JOIN", func(_ *ircv3.Server, c *ircv3.Client, m *ircv3.Message) { joins <- m.Param(0) })
	n, conn := listen(t, fakehomeserver.New(t), server.Addr)
	n.ask(t.Context(), func() {
		for range 500 {
			n.hear(conn, by("mallory", "INVITE", "me", "#full"))
		}
	})
	for range botLimit.Burst {
		<-joins
	}
	if err := conn.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(joins) > 0 {
		t.Errorf("%d times more", len(joins))
	}
}

// Where the bot is in as many channels as the server allows, it asks for another ten minutes later, and
// whoever invites it has it ask no more often after that.
func TestChannelsBeyondTheServersLimit(t *testing.T) {
	server := ircv3.Start(t, ircv3.Options{})
	joins := make(chan string, 100)
	server.Handle("JOIN", func(_ *ircv3.Server, c *ircv3.Client, m *ircv3.Message) { joins <- m.Param(0) })
	n, conn := listen(t, fakehomeserver.New(t), server.Addr)
	type wait struct {
		*time.Timer // that never fires
		after       time.Duration
		fn          func()
	}
	var waits []wait
	pending := func() (left []wait) {
		for _, w := range waits {
			if w.Stop() {
				left = append(left, w)
			}
		}
		waits = nil
		return left
	}
	n.ask(t.Context(), func() {
		n.timer = func(d time.Duration, fn func()) *time.Timer {
			w := wait{time.NewTimer(time.Hour), d, fn}
			waits = append(waits, w)
			return w.Timer
		}
	})
	refused := func(code string) wait {
		t.Helper()
		var left []wait
		n.ask(t.Context(), func() {
			for range 3 {
				n.hear(conn, by("mallory", "INVITE", "me", "#full"))
				n.hear(conn, wire.NewMessage(code, "me", "#full", "No."))
			}
			left = pending()
		})
		for range 3 {
			if got := <-joins; got != "#full" {
				t.Errorf("JOIN %s", got)
			}
		}
		if len(left) != 1 {
			t.Fatalf("the bot waits %d times", len(left))
		}
		return left[0]
	}
	again := refused("405")
	if again.after != 10*time.Minute {
		t.Errorf("it asks again after %s", again.after)
	}
	again.fn()
	if got := <-joins; got != "#full" {
		t.Errorf("JOIN %s", got)
	}
	if wait := refused("474").after; wait != rejoinAfter {
		t.Errorf("after a ban it asks again after %s", wait)
	}
	if len(joins) > 0 {
		t.Errorf("JOIN %s", <-joins)
	}
}

// Who asks for endless aliases, which takes no account, does not have the bot in endless channels.
func TestLookUpsOpenFewChannels(t *testing.T) {
	server := ircv3.Start(t, ircv3.Options{})
	usual, joins := server.Command("JOIN"), make(chan string, 1000)
	server.Handle("JOIN", func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
		joins <- m.Param(0)
		usual(s, c, m)
	})
	n, _ := listen(t, fakehomeserver.New(t), server.Addr)
	ask := func(channel string) error {
		return n.service.QueryAlias(t.Context(), matrix.RoomAlias("#irc_local_"+channel+":"+fakehomeserver.ServerName))
	}
	for i := range openingLimit.Burst {
		if err := ask(fmt.Sprint("#c", i)); err != nil {
			t.Fatalf("channel %d: %v", i, err)
		}
	}
	if err := ask("#onemore"); matrix.Code(err) != "M_LIMIT_EXCEEDED" {
		t.Errorf("the answer to one more is %v", err)
	}
	if err := ask("#c0"); err != nil {
		t.Errorf("what is open already is refused: %v", err)
	}
	if len(joins) != openingLimit.Burst {
		t.Errorf("the bot joins %d channels", len(joins))
	}
	n.ask(t.Context(), func() { n.openings.filled = n.openings.filled.Add(-openingLimit.Interval) })
	if err := ask("#onemore"); err != nil {
		t.Errorf("after %s: %v", openingLimit.Interval, err)
	}
	if err := ask("#another"); matrix.Code(err) != "M_LIMIT_EXCEEDED" {
		t.Errorf("then it is more than one more: %v", err)
	}
}

// Whom the network has banned does not come back again and again, however often they ask for that.
func TestWhoIsRefusedConnectsSeldom(t *testing.T) {
	server := ircv3.Start(t, ircv3.Options{})
	usual := server.Command("USER")
	var attempts atomic.Int32
	server.Handle("USER", func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
		if m.Param(0) != "alice" {
			usual(s, c, m)
			return
		}
		attempts.Add(1)
		c.Reply("465", "You are banned")
		c.Break()
	})
	h := fakehomeserver.New(t)
	h.Register("@alice:localhost", "alice")
	n, _ := listen(t, h, server.Addr)
	portal, err := n.service.bridge.Portal(t.Context(), n.directKey("bob", "@alice:localhost"), "bob")
	if err != nil {
		t.Fatal(err)
	}
	n.ask(t.Context(), func() { n.puppet("@alice:localhost").directs[portal] = true })
	for range 3 * reconnects.Burst {
		n.reconnect(t.Context(), "@alice:localhost")
		for refused := false; !refused; {
			n.ask(t.Context(), func() {
				p := n.puppet("@alice:localhost")
				refused = p.link == nil && p.waiting != nil
			})
		}
	}
	if got := int(attempts.Load()); got != reconnects.Burst {
		t.Errorf("alice has connected %d times", got)
	}
}
