package wire_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc/wire"
)

// saslServer offers SASL and answers the credentials with the given lines.
func saslServer(t *testing.T, offer string, answer ...string) string {
	return serve(t, func(p *peer) {
		p.expect("CAP LS 302")
		p.expect("USER ")
		p.send(":irc.fake CAP * LS * :multi-prefix server-time", ":irc.fake CAP * LS :"+offer)
		for range 2 {
			p.send(":irc.fake CAP * ACK :" + strings.TrimPrefix(p.expect("CAP REQ "), ":"))
		}
		p.expect("AUTHENTICATE ")
		p.send("AUTHENTICATE +")
		got := ""
		for {
			chunk := p.expect("AUTHENTICATE ")
			got += strings.TrimSuffix(chunk, "+")
			if len(chunk) < 400 {
				break
			}
		}
		if plain, err := base64.StdEncoding.DecodeString(got); err != nil || !strings.HasPrefix(string(plain), "\x00alice\x00pass") {
			p.t.Errorf("credentials %q", plain)
		}
		p.send(answer...)
		p.hold()
	})
}

func TestSASL(t *testing.T) {
	accepted := []string{
		":irc.fake 900 alice alice!a@h alice :You are now logged in", ":irc.fake 903 alice :ok",
		":irc.fake 001 alice :Welcome", ":irc.fake 376 alice :end",
	}
	for name, c := range map[string]struct {
		offer, password string
		answer          []string
		want            error
	}{
		"accepted":        {"sasl=EXTERNAL,PLAIN", "pass", accepted, nil},
		"long":            {"sasl", "pass" + strings.Repeat("x", 1000), accepted, nil},
		"exactly a chunk": {"sasl", "pass" + strings.Repeat("x", 300-4-7), accepted, nil},
		"refused":         {"sasl=PLAIN", "pass", []string{":irc.fake 904 alice :SASL failed"}, wire.ErrAuth},
		"refused by FAIL": {"sasl=PLAIN", "pass", []string{"FAIL AUTHENTICATE ACCOUNT_LOCKED :locked"}, wire.ErrAuth},
		"let in without":  {"sasl=PLAIN", "pass", []string{":irc.fake 001 alice :Welcome", ":irc.fake 376 alice :end"}, wire.ErrNoSASL},
		"late mechanisms": {"sasl", "pass", []string{":irc.fake 908 alice EXTERNAL :mechanisms", ":irc.fake 904 alice :no"}, wire.ErrNoSASL},
		"connection ends": {"sasl", "pass", []string{"ERROR :Closing Link: services are down"}, wire.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			addr := saslServer(t, c.offer, c.answer...)
			conn, err := wire.Dial(withTimeout(t), wire.Options{Addr: addr, Nick: "alice", SASL: wire.Plain("alice", c.password)})
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			if err == nil {
				conn.Close()
			}
		})
	}
}

func TestSASLIsNotOffered(t *testing.T) {
	for name, offer := range map[string]string{"no CAP": "", "no sasl": "multi-prefix", "another mechanism": "sasl=EXTERNAL,SCRAM-SHA-256"} {
		addr := serve(t, func(p *peer) {
			if offer != "" {
				p.expect("CAP LS 302")
				p.send(":irc.fake CAP * LS :" + offer)
			}
			p.welcome("NETWORK=Fake")
			p.hold()
		})
		_, err := wire.Dial(withTimeout(t), wire.Options{Addr: addr, Nick: "alice", SASL: wire.Plain("alice", "x")})
		if !errors.Is(err, wire.ErrNoSASL) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for want, lines := range map[error][]string{
		wire.ErrBanned:      {":irc.fake 465 alice :You are banned", "ERROR :Closing Link: bye"},
		wire.ErrRefused:     {"ERROR :Trying to reconnect too fast"},
		wire.ErrBadPassword: {":irc.fake 464 * :Password incorrect"},
		wire.ErrNoNick:      {strings.Repeat(":irc.fake 433 * alice :taken\r\n", 12)},
		wire.ErrLineTooLong: {strings.Repeat("x", 100_000)},
	} {
		addr := serve(t, func(p *peer) {
			p.expect("USER ")
			p.send(lines...)
			p.hold()
		})
		r := newRecorder()
		_, err := wire.Dial(withTimeout(t), wire.Options{Addr: addr, Nick: "alice", Handler: r})
		if !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
		if len(r.closed) > 0 {
			t.Error("Closed was called although Dial failed")
		}
	}
	silent := serve(t, (*peer).hold)
	_, err := wire.Dial(withTimeout(t), wire.Options{Addr: silent, Nick: "alice", Register: 100 * time.Millisecond})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a silent server: %v", err)
	}
	if _, err := wire.Dial(withTimeout(t), wire.Options{Addr: silent, Nick: "a\r\nQUIT"}); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a nick with a line break: %v", err)
	}
}

// A server that refuses all capabilities at once is asked for each alone.
func TestCapsRefused(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.expect("CAP LS 302")
		p.send(":irc.fake CAP * LS :server-time batch unknown/cap multi-prefix")
		all := strings.TrimPrefix(p.expect("CAP REQ "), ":")
		p.send(":irc.fake CAP * NAK :" + all)
		for range 3 {
			name := p.expect("CAP REQ ")
			answer := "ACK"
			if name == "batch" {
				answer = "NAK"
			}
			p.send(":irc.fake CAP * " + answer + " :" + name)
		}
		p.expect("CAP END")
		p.send(":irc.fake 001 alice :Welcome", ":irc.fake 376 alice :end")
		p.send(":irc.fake CAP alice NEW :batch=x away-notify")
		p.send(":irc.fake CAP alice ACK :" + strings.TrimPrefix(p.expect("CAP REQ "), ":"))
		p.send(":irc.fake CAP alice DEL :server-time", ":irc.fake NOTICE alice :done")
		p.hold()
	})
	c, r := dial(t, wire.Options{Addr: addr, Nick: "alice"})
	r.wait(t, "NOTICE", "alice", "done")
	for name, want := range map[string]bool{"multi-prefix": true, "batch": true, "away-notify": true, "server-time": false, "unknown/cap": false} {
		if c.HasCap(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if c.CapValue("batch") != "x" {
		t.Errorf("value %q", c.CapValue("batch"))
	}
}

func TestNextNick(t *testing.T) {
	addr := serve(t, func(p *peer) {
		for _, code := range []string{"433", "432", "437", "436"} {
			p.send(":irc.fake " + code + " * " + p.expect("NICK ") + " :no")
		}
		nick := p.expect("NICK ")
		p.send(":irc.fake 001 "+nick[:9]+" :Welcome", ":irc.fake 376 x :end")
		p.hold()
	})
	var refused []string
	c, _ := dial(t, wire.Options{Addr: addr, Nick: "a0", NextNick: func(nick string, reply *wire.Message) string {
		refused = append(refused, nick+" "+reply.Command)
		return nick + strings.Repeat("x", 3)
	}})
	if got := strings.Join(refused, ","); got != "a0 433,a0xxx 432,a0xxxxxx 437,a0xxxxxxxxx 436" {
		t.Errorf("refused %s", got)
	}
	if c.Nick() != "a0xxxxxxx" { // the server has cut it
		t.Errorf("nick %q", c.Nick())
	}
}
