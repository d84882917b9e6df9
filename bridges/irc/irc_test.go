package irc_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/bridges/irc/wire"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// promptly is what has to be seen within five seconds, or one, on a machine that has little else to do.
const promptly = 30 * time.Second

const (
	alice = "@alice:localhost"
	carol = "@carol:localhost"
	bot   = "@" + fakehomeserver.Sender + ":localhost"
)

func ghost(nick string) string { return "@irc_local_" + nick + ":localhost" }

// config is a bridge to one network, in a hurry.
func config(h *fakehomeserver.Homeserver, addr, folder string) irc.Config {
	return irc.Config{
		HomeserverURL: h.URL, ServerName: fakehomeserver.ServerName, ServiceID: "irc",
		ASToken: fakehomeserver.ASToken, HSToken: fakehomeserver.HSToken, SenderLocal: fakehomeserver.Sender,
		Database: filepath.Join(folder, "irc.db"), Journal: filepath.Join(folder, "irc.journal"),
		Logger: slog.New(slog.DiscardHandler),
		Networks: []irc.Network{{
			ID: "local", Name: "Local", Addr: addr, Channels: []string{"#trestle"}, Scrollback: 100, History: irc.HistoryShared,
			Flood:     &wire.Flood{Burst: 1000},
			Reconnect: irc.Backoff{First: 50 * time.Millisecond, Max: 500 * time.Millisecond},
		}},
	}
}

// start runs a bridge until stop is called.
func start(t testing.TB, h *fakehomeserver.Homeserver, c irc.Config) (service *irc.Service, stop func()) {
	t.Helper()
	if testing.Verbose() && (c.Logger == nil || c.Logger.Handler() == slog.DiscardHandler) {
		c.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	service, err := irc.New(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	server := httptest.NewServer(service.Handler())
	h.SetService(server.URL)
	stop = sync.OnceFunc(func() {
		h.SetService("")
		server.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		service.Close()
	})
	t.Cleanup(stop)
	return service, stop
}

// servers runs a test with a homeserver and each IRC server.
func servers(t *testing.T, test func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer)) {
	testkit.IRCServers(t, testkit.IRCOptions{}, func(t *testing.T, server *testkit.IRCServer) {
		test(t, fakehomeserver.New(t), server)
	})
}

// join joins a person to #trestle and waits until its puppet is there.
func join(t *testing.T, h *fakehomeserver.Homeserver, user, nick string, witness *testkit.IRCClient) (room string) {
	t.Helper()
	h.Register(user, nick)
	room, refusal := h.Join(user, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	witness.Expect(":"+nick+"!", "JOIN")
	return room
}

func isMessage(e fakehomeserver.Event) bool { return e.Type == "m.room.message" }

// The example of the first specification of application services, "IRC".
func TestTheStory(t *testing.T) {
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		bob.Send("TOPIC #trestle :Bridges and rivers")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		said := time.Now()
		bob.Say("#trestle", "hello?")
		bob.Send("NOTICE #trestle :anybody?")
		stored(t, bob)

		room := join(t, h, alice, "alice", bob)
		hello := h.WaitBody(room, ghost("bob"), "hello?")
		if at := time.UnixMilli(hello.Time); at.Before(said.Add(-time.Second)) || at.After(hello.Arrived.Add(time.Second)) {
			t.Errorf("the scrollback is of %s; it was said after %s, and there at %s", at, said, hello.Arrived)
		}
		h.WaitBody(room, ghost("bob"), "anybody?")
		h.WaitMembership(room, ghost("bob"), "join")
		h.Wait(room, "the topic", func(e fakehomeserver.Event) bool {
			return e.Type == "m.room.topic" && strings.Contains(string(e.Content), "Bridges and rivers")
		})

		h.Say(room, alice, "hi!")
		bob.Expect(":alice!", "PRIVMSG #trestle :hi!")
		bob.Say("#trestle", "what's up?")
		h.WaitBody(room, ghost("bob"), "what's up?")
		bob.Send("PRIVMSG #trestle :\x01ACTION waves\x01")
		e := h.WaitBody(room, ghost("bob"), "waves")
		if !strings.Contains(string(e.Content), `"m.emote"`) {
			t.Errorf("the wave is %s", e.Content)
		}
		h.Send(room, alice, "m.room.message", nil, `{"msgtype":"m.emote","body":"waves back"}`)
		bob.Expect(":alice!", "\x01ACTION waves back\x01")
		if echoes := h.Events(room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == ghost("alice") }); len(echoes) > 0 {
			t.Errorf("alice hears herself: %s", echoes[0].Content)
		}
	})
}

// stored waits until the bridge has stored what bob said.
func stored(t *testing.T, bob *testkit.IRCClient) {
	t.Helper()
	bob.Send("PRIVMSG trestle :\x01PING stored\x01")
	bob.Expect(":trestle!", "NOTICE", "\x01PING stored\x01")
}

func TestMembershipGoesBothWays(t *testing.T) {
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)
		h.WaitMembership(room, ghost("bob"), "join")

		dave := testkit.DialIRC(t, server.Addr, "dave")
		dave.Join("#trestle")
		h.WaitMembership(room, ghost("dave"), "join")
		dave.Send("NICK dave_away")
		h.WaitMembership(room, ghost("dave_away"), "join")
		h.WaitMembership(room, ghost("dave"), "leave")
		dave.Send("PART #trestle :lunch")
		if e := h.WaitMembership(room, ghost("dave_away"), "leave"); !strings.Contains(e.Reason(), "lunch") {
			t.Errorf("dave parted with %s", e.Content)
		}
		dave.Join("#trestle")
		h.WaitMembership(room, ghost("dave_away"), "join")
		bob.Send("KICK #trestle dave_away :no shouting")
		if e := h.WaitMembership(room, ghost("dave_away"), "leave"); !strings.Contains(e.Reason(), "bob: no shouting") {
			t.Errorf("dave was kicked with %s", e.Content)
		}
		dave.Join("#trestle")
		h.WaitMembership(room, ghost("dave_away"), "join")
		dave.Send("QUIT :good night")
		if e := h.WaitMembership(room, ghost("dave_away"), "leave"); !strings.Contains(e.Reason(), "good night") {
			t.Errorf("dave quit with %s", e.Content)
		}

		join(t, h, carol, "carol", bob)
		h.Member(room, carol, carol, "leave", "bedtime")
		bob.Expect(":carol!", "PART #trestle")
		join(t, h, carol, "carol", bob)
		h.Member(room, alice, carol, "leave", "spam")
		bob.Expect(":carol!", "PART #trestle", "alice")
		join(t, h, carol, "carol", bob)
		bob.Send("KICK #trestle carol :out")
		if e := h.WaitMembership(room, carol, "leave"); e.Sender != bot || !strings.Contains(e.Reason(), "bob: out") {
			t.Errorf("carol was kicked with %s by %s", e.Content, e.Sender)
		}

		bob.Send("MODE #trestle -t")
		bob.Send("TOPIC #trestle :new topic")
		h.Wait(room, "bob's topic", func(e fakehomeserver.Event) bool {
			return e.Type == "m.room.topic" && strings.Contains(string(e.Content), "new topic")
		})
		empty := ""
		h.Send(room, alice, "m.room.topic", &empty, `{"topic":"alice's topic"}`)
		bob.Expect(":alice!", "TOPIC #trestle", "alice's topic")
		bob.Send("MODE #trestle +t")
		bob.Expect("MODE #trestle", "+t")
		h.Send(room, alice, "m.room.topic", &empty, `{"topic":"not allowed"}`)
		h.Wait(room, "the old topic again", func(e fakehomeserver.Event) bool {
			return e.Type == "m.room.topic" && e.Sender == bot && strings.Contains(string(e.Content), "alice's topic")
		})
	})
}

func TestARefusalOfIRCIsARefusalOfTheJoin(t *testing.T) {
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#private")
		bob.Send("MODE #private +i")
		bob.Expect("MODE #private", "+i")
		service, _ := start(t, h, config(h, server.Addr, t.TempDir()))
		h.Register(alice, "alice")
		for alias, want := range map[string]string{
			"#irc_local_#private:localhost": "invite-only",
			"#irc_local_no:localhost":       "M_NOT_FOUND",
			"#irc_other_#x:localhost":       "M_NOT_FOUND",
		} {
			if _, refusal := h.Join(alice, alias); !strings.Contains(refusal, want) {
				t.Errorf("%s: %q, want %q", alias, refusal, want)
			}
		}
		if n := service.Status(context.Background()).Bridge.Portals; n != 0 {
			t.Errorf("%d rooms", n)
		}
		// Somebody on IRC may not want a person of Matrix in particular.
		bob.Join("#garden")
		bob.Send("MODE #garden +b alice!*@*")
		bob.Expect("MODE #garden", "+b")
		room, refusal := h.Join(alice, "#irc_local_#garden:localhost")
		if refusal != "" {
			t.Fatal(refusal)
		}
		if e := h.WaitMembership(room, alice, "leave"); !strings.Contains(e.Reason(), "banned") {
			t.Errorf("alice was removed with %s", e.Content)
		}
	})
}

func TestManyWhoJoinAtOnceGetOneRoom(t *testing.T) {
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		c := config(h, server.Addr, t.TempDir())
		c.Networks[0].Channels = nil
		start(t, h, c)
		h.Register(alice, "alice")
		var mu sync.Mutex
		rooms := map[string]bool{}
		var all sync.WaitGroup
		for i := range 20 {
			alias := "#irc_local_#many:localhost"
			if i%2 == 1 {
				alias = "#irc_local_#MaNy:localhost"
			}
			all.Go(func() {
				room, refusal := h.Join(alice, alias)
				if refusal != "" {
					t.Error(refusal)
				}
				mu.Lock()
				defer mu.Unlock()
				rooms[room] = true
			})
		}
		all.Wait()
		if len(rooms) != 1 {
			t.Errorf("%d rooms", len(rooms))
		}
	})
}

func TestTextsSurviveTheWay(t *testing.T) {
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)

		for _, long := range []string{
			strings.Repeat("Съешь же ещё этих мягких французских булок, да выпей чаю.", 40),
			strings.Repeat("いろはにほへとちりぬるを我が世誰ぞ常ならむ", 65),
			strings.Repeat("👩‍👩‍👧‍👦 👋🏽🇩🇪", 100), strings.Repeat("👨‍👩‍👧‍👦", 160), strings.Repeat("e\u0301\u0323", 800),
		} {
			h.Say(room, alice, long)
			got := ""
			for len(got) < len(long) {
				line := bob.Expect(":alice!", "PRIVMSG #trestle :")
				_, text, _ := strings.Cut(line, "PRIVMSG #trestle :")
				if strings.HasPrefix(text, "\u200d") || strings.HasSuffix(text, "\u200d") || strings.HasPrefix(text, "\u0301") || strings.HasPrefix(text, "\u0323") {
					t.Errorf("cut within a character: %q", text)
				}
				got += text
			}
			if got != long {
				t.Errorf("%q became %q", long, got)
			}
		}
		h.Say(room, alice, "one\r\nQUIT :injected\n\ntwo\x00three")
		bob.Expect(":alice!", "PRIVMSG #trestle :one")
		bob.Expect(":alice!", "PRIVMSG #trestle :QUIT :injected")
		bob.Expect(":alice!", "PRIVMSG #trestle :two")
		h.Send(room, alice, "m.room.message", nil,
			`{"msgtype":"m.text","body":"a bold word","format":"org.matrix.custom.html","formatted_body":"a <strong>bold</strong> word"}`)
		bob.Expect(":alice!", "a \x02bold\x02 word")
		bob.Send("PRIVMSG #trestle :some \x02bold\x02 and alice: look")
		e := h.WaitBody(room, ghost("bob"), "some bold and alice: look")
		for _, want := range []string{"<strong>bold</strong>", "https://matrix.to/#/@alice:localhost", `"user_ids":["@alice:localhost"]`} {
			if !strings.Contains(strings.ReplaceAll(string(e.Content), `\u003c`, "<"), want) && !strings.Contains(unescape(string(e.Content)), want) {
				t.Errorf("%s is not in %s", want, e.Content)
			}
		}
		// The bridge has written down what it sent when it sends the next.
		bob.Send("PRIVMSG #trestle :next")
		h.WaitBody(room, ghost("bob"), "next")
		reply := fmt.Sprintf(`{"msgtype":"m.text","body":"> <%s> some\n\nyes","m.relates_to":{"m.in_reply_to":{"event_id":%q}}}`, ghost("bob"), e.ID)
		h.Send(room, alice, "m.room.message", nil, reply)
		bob.Expect(":alice!", "PRIVMSG #trestle :bob: yes")
		h.Send(room, alice, "m.room.message", nil, `{"msgtype":"m.image","body":"cat.png","url":"mxc://localhost/cat"}`)
		bob.Expect(":alice!", "sent cat.png: ", "/_trestle/irc/media/", "/cat.png")
		h.Send(room, alice, "m.room.message", nil,
			`{"msgtype":"m.text","body":"* fixed","m.new_content":{"msgtype":"m.text","body":"fixed"},"m.relates_to":{"rel_type":"m.replace","event_id":"$x"}}`)
		bob.Expect(":alice!", "PRIVMSG #trestle :* fixed")
	})
}

func unescape(s string) string {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\"`, `"`).Replace(s)
}

func TestCommandsReachIRC(t *testing.T) {
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)
		direct := h.Direct(alice)
		h.WaitMembership(direct, bot, "join")
		answer := func(room, command, want string) {
			t.Helper()
			h.Say(room, alice, command)
			h.Wait(room, "answer to "+command, func(e fakehomeserver.Event) bool {
				return e.Sender == bot && isMessage(e) && strings.Contains(e.Body(), want)
			})
		}
		answer(direct, "status", "connected as alice")
		answer(direct, "networks", "local (Local): connected")
		answer(direct, "nick", "You are alice on Local")
		answer(direct, "nick wonderland", "You are wonderland on Local now")
		bob.Expect(":alice!", "NICK", "wonderland")
		answer(room, "!irc whois bob", "bob:")
		answer(direct, "join #garden", "#irc_local_#garden:localhost")
		h.Say(room, alice, "still me")
		bob.Expect(":wonderland!", "still me")
	})
}
