package irc_test

import (
	"fmt"
	"testing"
	"time"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// Users who come and go do not fill the memory for ever.
func TestWhoIsGoneIsForgotten(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].MaxConnections = 1
	service, _ := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	for i := range 5 { // for whom there is no connection
		user := fmt.Sprintf("@guest%d:localhost", i)
		h.Register(user, "")
		direct := h.Direct(user)
		h.WaitMembership(direct, bot, "join")
		h.Say(direct, user, "reconnect")
		told(h, direct, "Connecting to Local")
	}
	if users := service.Forget("local", 0); users != 6 {
		t.Errorf("%d users are known", users)
	}
	if users := service.Forget("local", 30*time.Minute); users != 6 {
		t.Errorf("%d users are known after half an hour", users)
	}
	if users := service.Forget("local", 2*time.Hour); users != 1 {
		t.Errorf("%d users are known after two hours", users)
	}
	h.Say(room, alice, "still here")
	bob.Expect(":alice!", "PRIVMSG #trestle :still here")
}
