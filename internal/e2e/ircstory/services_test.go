package ircstory_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/testkit"
)

const ircBot = id.UserID("@irc_bot:localhost")

// startSecure runs a homeserver whose bridge reaches a network with services over TLS.
func startSecure(t *testing.T, network *testkit.IRCNetwork) *testkit.Trestle {
	t.Helper()
	return startWith(t, testkit.TrestleOptions{}, fmt.Sprintf(`
        address: %s
        tls: true
        ca_file: %s
        nickserv: NickServ@services.test`, network.TLSAddr, network.CAFile))
}

// A chat is what a person and the bridge's own user say to each other.
type chat struct {
	*person
	dm   id.RoomID
	seen map[id.EventID]bool
}

func (p *person) chatsWithTheBridge() *chat {
	p.t.Helper()
	res, err := p.CreateRoom(p.t.Context(), &mautrix.ReqCreateRoom{
		Preset: "trusted_private_chat", Invite: []id.UserID{ircBot}, IsDirect: true,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	c := &chat{p, res.RoomID, map[id.EventID]bool{}}
	c.hears("Hello!")
	return c
}

// asks sends a command and waits for the answer that has a text in it.
func (c *chat) asks(command, answer string) (body string, asked id.EventID) {
	c.t.Helper()
	sent, err := c.SendText(c.t.Context(), c.dm, command)
	if err != nil {
		c.t.Fatal(err)
	}
	return c.hears(answer), sent.EventID
}

// hears waits for a new notice of the bridge's.
func (c *chat) hears(text string) (body string) {
	c.t.Helper()
	found := c.until("the bridge say "+text, func(e *event.Event) bool {
		body, _ = e.Content.Raw["body"].(string)
		return e.RoomID == c.dm && e.Sender == ircBot && !c.seen[e.ID] && strings.Contains(body, text)
	})
	c.seen[found.ID] = true
	return body
}

// loggedIn waits until alice has come into the channel, and looks whose account she uses.
func loggedIn(bob *testkit.IRCClient, nick, account string) {
	bob.Expect(":"+nick+"!", "JOIN")
	bob.Send("WHOIS " + nick)
	bob.ExpectFunc(nick+" logged in as "+account, func(line string) bool {
		return strings.Contains(line, " 330 ") && strings.Contains(line, nick+" "+account+" ")
	})
}

var sha256Line = regexp.MustCompile(`SHA-256: ([0-9a-f]{64})`)

// With real services: wrong and right passwords, a certificate, and a nick that is taken back.
func TestAliceHasAnAccountOnIRC(t *testing.T) {
	network := testkit.AnopeNetwork(t)
	al := testkit.DialIRC(t, network.Addr, "al")
	network.RegisterNick(al, "right-password")
	bob := testkit.DialIRC(t, network.Addr, "bob")
	bob.Join("#trestle")
	trestle := startSecure(t, network)
	bob.Expect(":trestle!", "JOIN")
	alice := newPerson(t, trestle, "alice")
	alice.joins(alias)
	bob.Expect(":alice!", "JOIN")
	chat := alice.chatsWithTheBridge()

	chat.asks("username al", "is al.")
	_, asked := chat.asks("storepass wrong-password", "is kept, sealed")
	bob.Expect(":alice!", "QUIT")
	chat.hears("authentication refused")
	stored, err := alice.GetEvent(t.Context(), chat.dm, asked)
	if err != nil || stored.Content.Raw["body"] != nil {
		t.Errorf("the message with the password is %v, %v", stored, err)
	}
	chat.asks("storepass right-password", "is kept, sealed")
	loggedIn(bob, "alice", "al")

	shown, _ := chat.asks("certfp", "SHA-256")
	loggedIn(bob, "alice", "al")
	fingerprint := sha256Line.FindStringSubmatch(shown)
	if fingerprint == nil {
		t.Fatalf("no fingerprint in %q", shown)
	}
	chat.asks("certfp use", "logs you in")
	bob.Expect(":alice!", "QUIT")
	chat.hears("authentication refused") // nobody has told services yet
	chat.asks("storepass right-password", "is kept, sealed")
	loggedIn(bob, "alice", "al")
	if answer, _ := chat.asks("certfp add", "NickServ says"); !strings.Contains(answer, fingerprint[1]) {
		t.Errorf("the server sees another certificate: %q", answer)
	}
	chat.asks("removepass", "is forgotten")
	bob.Expect(":alice!", "JOIN")
	chat.asks("certfp use", "logs you in")
	loggedIn(bob, "alice", "al")

	// An operator takes the nick away, and somebody else has it then. Services give it back to
	// who has logged in.
	al.Send("QUIT")
	chat.asks("nick al", "You are al")
	bob.Expect(":alice!", "NICK :al")
	bob.Send("OPER root root")
	bob.Expect(" 381 ")
	bob.Send("SANICK al alto")
	bob.Expect(":al!", "NICK :alto")
	chat.hears("renamed")
	testkit.DialIRC(t, network.Addr, "al")
	chat.asks("reconnect", "Connecting")
	bob.Expect(":al_!", "JOIN")
	bob.Expect(":al_!", "NICK :al")

	// Without services nobody can be logged in, and then is not there; bob, who never asked
	// for that, is.
	network.StopServices()
	chat.asks("reconnect", "Connecting")
	bob.Expect(":al!", "QUIT")
	chat.hears("cannot be logged in")
	chat.asks("certfp remove", "is forgotten")
	bob.Expect(":al!", "JOIN")
}
