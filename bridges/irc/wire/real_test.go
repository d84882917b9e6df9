package wire_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc/wire"
	"trestle/internal/testkit"
)

// A recorder is a Handler that keeps what it was shown.
type recorder struct {
	messages chan *wire.Message
	closed   chan error
}

func newRecorder() *recorder {
	return &recorder{make(chan *wire.Message, 100_000), make(chan error, 1)}
}

func (r *recorder) Message(_ *wire.Conn, m *wire.Message) { r.messages <- m }
func (r *recorder) Closed(_ *wire.Conn, err error)        { r.closed <- err }

// wait returns the next message with a command, and, if there are any, with these first parameters.
func (r *recorder) wait(t *testing.T, command string, params ...string) *wire.Message {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for {
		select {
		case m := <-r.messages:
			if m.Command == command && len(m.Params) >= len(params) && slices.Equal(m.Params[:len(params)], params) {
				return m
			}
		case <-timeout:
			t.Fatalf("no %s %q came", command, params)
		}
	}
}

func withTimeout(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// dial connects without flood control, unless the options say otherwise.
func dial(t *testing.T, opts wire.Options) (*wire.Conn, *recorder) {
	t.Helper()
	r := newRecorder()
	opts.Handler = r
	if opts.Flood == nil {
		opts.Flood = &wire.Flood{}
	}
	c, err := wire.Dial(withTimeout(t), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, r
}

func onServers(t *testing.T, opts testkit.IRCOptions, test func(t *testing.T, server *testkit.IRCServer)) {
	t.Parallel()
	testkit.IRCServers(t, opts, func(t *testing.T, server *testkit.IRCServer) {
		t.Parallel()
		test(t, server)
	})
}

func TestRegister(t *testing.T) {
	onServers(t, testkit.IRCOptions{Password: "secret"}, func(t *testing.T, server *testkit.IRCServer) {
		opts := wire.Options{Addr: server.Addr, Nick: "alice", RealName: "@alice:example.org", Password: "secret"}
		c, _ := dial(t, opts)
		if c.Nick() != "alice" || c.Support().Network != "TestNet" || c.Support().NickLen != 30 {
			t.Errorf("nick %q, network %q, nick length %d", c.Nick(), c.Support().Network, c.Support().NickLen)
		}
		if !c.HasCap("multi-prefix") {
			t.Error("multi-prefix is off")
		}
		if server.Name == "inspircd" {
			for _, name := range []string{"echo-message", "labeled-response", "batch", "server-time", "account-tag", "extended-join", "away-notify", "userhost-in-names", "chghost", "invite-notify", "message-tags", "setname"} {
				if !c.HasCap(name) {
					t.Errorf("%s is off", name)
				}
			}
		}
		if err := c.Barrier(withTimeout(t)); err != nil {
			t.Error(err)
		}
		second, _ := dial(t, opts)
		if second.Nick() != "alice_" {
			t.Errorf("the second alice is %q", second.Nick())
		}
		if err := second.ChangeNick(withTimeout(t), "ALICE"); !errors.As(err, new(*wire.NickError)) {
			t.Errorf("a nick that is taken: %v", err)
		}
		if err := second.ChangeNick(withTimeout(t), "zoe"); err != nil || second.Nick() != "zoe" {
			t.Errorf("zoe: %v, %q", err, second.Nick())
		}

		opts.Password = "wrong"
		_, err := wire.Dial(withTimeout(t), opts)
		if !errors.As(err, new(*wire.RegisterError)) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a wrong password: %v", err)
		}
		opts.Password, opts.SASL = "secret", wire.Plain("alice", "x")
		if _, err := wire.Dial(withTimeout(t), opts); !errors.Is(err, wire.ErrNoSASL) {
			t.Errorf("a server without SASL: %v", err)
		}
		opts.SASL, opts.NextNick = nil, func(string, *wire.Message) string { return "" }
		if _, err := wire.Dial(withTimeout(t), opts); !errors.Is(err, wire.ErrNoNick) {
			t.Errorf("giving up: %v", err)
		}
	})
}

func TestJoin(t *testing.T) {
	onServers(t, testkit.IRCOptions{}, func(t *testing.T, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		for _, line := range []string{"JOIN #open,#invite,#key,#full,#ban", "MODE #invite +i", "MODE #key +k secret", "MODE #full +l 1", "MODE #ban +b *!*@*"} {
			bob.Send(line)
		}
		bob.Send("PING done")
		bob.Expect("PONG", "done")
		c, r := dial(t, wire.Options{Addr: server.Addr, Nick: "alice"})
		for channel, want := range map[string]error{
			"#open": nil, "#OPEN": nil, "#invite": wire.ErrInviteOnly, "#key": wire.ErrBadKey,
			"#full": wire.ErrChannelFull, "#ban": wire.ErrChannelBan,
			"0": wire.ErrNoSuchChannel, "#a,#b": wire.ErrNoSuchChannel, "#a b": wire.ErrNoSuchChannel,
			"#" + strings.Repeat("x", 200): wire.ErrNoSuchChannel, "#new": nil,
		} {
			err := c.JoinChannel(withTimeout(t), channel, "")
			if !errors.Is(err, want) || err != nil && !errors.As(err, new(*wire.JoinError)) {
				t.Errorf("join %s: %v, want %v", channel, err, want)
			}
		}
		if err := c.JoinChannel(withTimeout(t), "#key", "secret"); err != nil {
			t.Errorf("join with the key: %v", err)
		}
		if !c.In("#Key") || c.In("#ban") {
			t.Error("In is wrong")
		}
		if server.Name == "inspircd" {
			bob.Send("MODE #full +L #new") // needs to be in there, too
			bob.Send("JOIN #new")
			bob.Expect(" 366 ", "#new")
			c.Send(t.Context(), wire.NewMessage("MODE", "#new", "+o", "bob"))
			bob.Expect("MODE #new +o")
			bob.Send("MODE #full +L #new")
			bob.Expect("MODE #full +L")
			c.Send(t.Context(), wire.NewMessage("PART", "#new"))
			var refused *wire.JoinError
			if err := c.JoinChannel(withTimeout(t), "#full", ""); !errors.As(err, &refused) ||
				refused.Reason != wire.ErrForwarded || refused.Forward != "#new" {
				t.Errorf("a forwarding channel: %v", err)
			}
		}
		drain(r)
		bob.Send("KICK #open alice :out")
		r.wait(t, "KICK", "#open", "alice")
		if c.In("#open") {
			t.Error("still in after a KICK")
		}
	})
}

func drain(r *recorder) {
	for len(r.messages) > 0 {
		<-r.messages
	}
}

func TestChannelEvents(t *testing.T) {
	onServers(t, testkit.IRCOptions{}, func(t *testing.T, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		bob.Send("TOPIC #trestle :Ünïcode, with a colon: and spaces")
		c, r := dial(t, wire.Options{Addr: server.Addr, Nick: "alice"})
		if err := c.JoinChannel(withTimeout(t), "#trestle", ""); err != nil {
			t.Fatal(err)
		}
		if m := r.wait(t, "332", "alice", "#trestle"); m.Last() != "Ünïcode, with a colon: and spaces" {
			t.Errorf("topic %q", m.Last())
		}
		channel, members := c.Support().Names(r.wait(t, "353"))
		modes := map[string]string{}
		for _, member := range members {
			modes[member.Prefix.Nick] = member.Modes
			if named := member.Prefix.Host != ""; named != c.HasCap("userhost-in-names") {
				t.Errorf("member %v", member)
			}
		}
		if channel != "#trestle" || fmt.Sprint(modes) != "map[alice: bob:o]" {
			t.Errorf("names of %s: %v", channel, modes)
		}
		bob.Send("MODE #trestle +ovk-s alice alice key")
		changes := c.Support().ModeChanges(r.wait(t, "MODE", "#trestle").Params[1:])
		if !slices.Contains(changes, wire.ModeChange{Add: true, Mode: 'o', Arg: "alice"}) ||
			!slices.Contains(changes, wire.ModeChange{Add: true, Mode: 'k', Arg: "key"}) {
			t.Errorf("changes %v", changes)
		}
		bob.Send("NICK robert")
		if m := r.wait(t, "NICK", "robert"); m.Prefix.Nick != "bob" || c.FromSelf(m) {
			t.Errorf("nick change %v", m)
		}
		c.Send(t.Context(), wire.NewMessage("TOPIC", "#trestle", "new: topic"))
		if m := r.wait(t, "TOPIC", "#trestle", "new: topic"); !c.FromSelf(m) {
			t.Error("our topic is not ours")
		}
	})
}
