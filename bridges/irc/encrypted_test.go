package irc_test

import (
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	settings "trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// A bridge that takes no part in encrypted rooms says so where one is, at once and once, and what
// it could not read is marked.
func TestAnEncryptedChannelIsTold(t *testing.T) {
	server := testkit.Ngircd(t, testkit.IRCOptions{})
	h := fakehomeserver.New(t)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	bob.Expect(":trestle!", "JOIN")
	room := join(t, h, alice, "alice", bob)
	began, empty := time.Now(), ""
	h.Send(room, alice, "m.room.encryption", &empty, `{"algorithm":"m.megolm.v1.aes-sha2"}`)
	told := func(e fakehomeserver.Event) bool {
		return e.Sender == bot && e.Type == "m.room.message" && strings.Contains(e.Body(), "This room is encrypted")
	}
	if took := h.Wait(room, "that the bridge cannot read", told).Arrived.Sub(began); took > promptly {
		t.Errorf("that takes %s", took)
	}
	unread := func(how string) {
		t.Helper()
		event := h.Send(room, alice, "m.room.encrypted", nil, `{"algorithm":"m.megolm.v1.aes-sha2","ciphertext":"x","session_id":"`+how+`"}`)
		h.Wait(room, "that a message could not be read", func(e fakehomeserver.Event) bool {
			return e.Sender == bot && strings.Contains(string(e.Content), event) && strings.Contains(e.Body(), "did not reach IRC")
		})
	}
	unread("before")
	bob.Say("#trestle", "do not mind me")
	h.WaitBody(room, ghost("bob"), "do not mind me")
	stop()
	start(t, h, c)
	unread("after")
	if n := len(h.Events(room, told)); n != 1 {
		t.Errorf("it is said %d times", n)
	}
}

func TestTheRegistrationAsksForDevices(t *testing.T) {
	for how, want := range map[string]bool{"off": false, "bot": true, "users": true} {
		c := settings.Default().Bridges.IRC
		n := c.Networks["local"]
		n.Enabled, n.Encryption = true, how
		c.Networks["local"] = n
		r, err := irc.NewRegistration(c, "localhost", "http://127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		if r.DeviceLists != want || r.DeviceManagement != want {
			t.Errorf("%s: %v, %v", how, r.DeviceLists, r.DeviceManagement)
		}
	}
}
