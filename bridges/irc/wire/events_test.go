package wire_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"trestle/bridges/irc/names"
	"trestle/bridges/irc/wire"
)

// sees connects to a server that sends some lines, and returns all that came up to the
// last.
func sees(t *testing.T, isupport string, lines ...string) (*wire.Conn, []*wire.Message) {
	t.Helper()
	addr := serve(t, func(p *peer) {
		p.welcome(isupport)
		p.send(lines...)
		p.send("NOTICE alice :the end")
		p.hold()
	})
	c, r := dial(t, wire.Options{Addr: addr, Nick: "alice"})
	r.wait(t, "422")
	var seen []*wire.Message
	for {
		select {
		case m := <-r.messages:
			if m.Last() == "the end" {
				return c, seen
			}
			seen = append(seen, m)
		case err := <-r.closed:
			t.Fatal(err)
		}
	}
}

func TestSupport(t *testing.T) {
	c, _ := sees(t, "CASEMAPPING=ascii CHANTYPES=#& PREFIX=(qaohv)~&@%+ CHANMODES=beI,k,l,imnt NICKLEN=31 CHANNELLEN=20 LINELEN=2048 MODES=4",
		":s 005 alice TARGMAX=PRIVMSG:4,WHOIS: CHANLIMIT=#&:50,+: MAXLIST=be:100 NETWORK=A\\x20B STATUSMSG=@+ EXCEPTS INVEX=J BOT=B UTF8ONLY WHOX CHATHISTORY=100 :are supported",
		":s 005 alice -WHOX TOPICLEN=-5 KICKLEN=99999999999999999999 =x :are supported", ":s 005 alice", ":s 005")
	s := c.Support()
	for what, ok := range map[string]bool{
		"casemapping": s.CaseMapping == names.ASCII, "nicklen": s.NickLen == 31, "linelen": s.LineLen == 2048,
		"modes": s.Modes == 4, "targmax": s.MaxTargets["PRIVMSG"] == 4 && s.MaxTargets["WHOIS"] == 0,
		"chanlimit": s.ChanLimit['#'] == 50 && s.ChanLimit['+'] == 0, "maxlist": s.MaxList['e'] == 100,
		"network": s.Network == "A B", "letters": s.Excepts == 'e' && s.InvEx == 'J' && s.Bot == 'B',
		"utf8only": s.UTF8Only, "whox": !s.WhoX, "chathistory": s.ChatHistory == 100, "absurd": s.TopicLen == 0 && s.KickLen == 0,
		"raw": s.Raw["LINELEN"] == "2048", "channels": s.IsChannel("&x") && !s.IsChannel("x") && !s.IsChannel(""),
		"valid":  s.ValidChannel("#x") && !s.ValidChannel("#x,y") && !s.ValidChannel("0") && !s.ValidChannel("#"+strings.Repeat("x", 20)),
		"status": s.IsStatus('h') && !s.IsStatus('b'),
	} {
		if !ok {
			t.Errorf("%s is wrong: %+v", what, s)
		}
	}
	if channel, ok := s.Channel("@+#x"); channel != "#x" || !ok {
		t.Errorf("@+#x is %q", channel)
	}
	if _, ok := s.Channel("bob"); ok {
		t.Error("bob is a channel")
	}
	m := wire.NewMessage("353", "alice", "=", "#x", "~@bob!b@h  +carol %&dave @ ")
	channel, members := s.Names(m)
	if got := fmt.Sprint(channel, members); got != "#x[{bob!b@h qo} {carol v} {dave ha}]" {
		t.Errorf("names are %s", got)
	}
	for params, want := range map[string]string{
		"+ov-b a b *!*@*": "[+oa +vb -b*!*@*]", "+kl-lk key 5 key": "[+kkey +l5 -l -kkey]", "+b": "[+b]", "+o": "[]", "imn": "[+i +m +n]",
		"+z-x+ib m": "[+z -x +i +bm]", "": "[]",
	} {
		if got := changes(s, strings.Fields(params)); got != want {
			t.Errorf("modes %q are %s, want %s", params, got, want)
		}
	}
}

func changes(s *wire.Support, params []string) string {
	var out []string
	for _, c := range s.ModeChanges(params) {
		out = append(out, string("-+"[b(c.Add)])+string(c.Mode)+c.Arg)
	}
	return fmt.Sprint(out)
}

func b(v bool) int {
	if v {
		return 1
	}
	return 0
}

func TestBatches(t *testing.T) {
	_, seen := sees(t, "NETWORK=Fake",
		":s BATCH +h chathistory #c", "@batch=h;time=2020-01-02T03:04:05.678Z;msgid=1 :bob!b@h PRIVMSG #c :old",
		"@batch=h :alice!a@h JOIN #old", "@batch=h;msgid=2 :bob!b@h BATCH +m draft/multiline #c", "@batch=m :bob!b@h PRIVMSG #c :one ",
		"@batch=m;draft/multiline-concat :bob!b@h PRIVMSG #c :line", "@batch=m :bob!b@h PRIVMSG #c :two", "BATCH -m", "BATCH -h",
		"@batch=gone :bob PRIVMSG #c :new", "BATCH -unknown", "BATCH", "BATCH +", "@time=9999-01-01T00:00:00Z :bob PRIVMSG #c :future")
	var got []string
	for _, m := range seen {
		kind := ""
		if m.Batch != nil {
			kind = m.Batch.Type
		}
		got = append(got, fmt.Sprintf("%s %q %s %v", m.Command, m.Last(), kind, m.Replayed()))
	}
	want := []string{
		`BATCH "#c" chathistory true`, `PRIVMSG "old" chathistory true`, `JOIN "#old" chathistory true`, `PRIVMSG "one line\ntwo" chathistory true`,
		`BATCH "-h" chathistory true`, `PRIVMSG "new"  false`, `PRIVMSG "future"  false`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if at := seen[1].Time; !at.Equal(time.Date(2020, 1, 2, 3, 4, 5, 678e6, time.UTC)) || seen[1].ID() != "1" || seen[3].ID() != "2" {
		t.Errorf("time %v, IDs %q %q", at, seen[1].ID(), seen[3].ID())
	}
	if at := seen[6].Time; time.Since(at).Abs() > time.Minute {
		t.Errorf("a message from the future is from %v", at)
	}
}

// A server that opens each batch in the one before, and closes that, does not make a chain that grows.
func TestForgedBatches(t *testing.T) {
	lines := []string{"BATCH +0 chathistory #c"}
	for i := 1; i < 5000; i++ {
		lines = append(lines, fmt.Sprintf("@batch=%d BATCH +%d netsplit", i-1, i), fmt.Sprintf("BATCH -%d", i-1))
	}
	_, seen := sees(t, "NETWORK=Fake", append(lines, "@batch=4999 :bob!b@h PRIVMSG #c :deep")...)
	for _, m := range seen {
		depth := 0
		for b := m.Batch; b != nil; b = b.Parent {
			depth++
		}
		if depth > 10 {
			t.Fatalf("a batch in %d others", depth)
		}
	}
}

// What we know of ourselves follows the server, and replayed history does not count.
func TestSelf(t *testing.T) {
	c, seen := sees(t, "NETWORK=Fake",
		":alice!al@first.host JOIN #c", ":alice!al@first.host JOIN #d,#e", ":s 396 alice second.host :is your host", ":alice!al@second.host NICK Alice2",
		":bob!b@h NICK alice", ":s BATCH +h chathistory #c", "@batch=h :Alice2!x@old.host JOIN #old", "@batch=h :Alice2!x@old.host NICK old", "BATCH -h",
		":Alice2!al@second.host CHGHOST new third.host", ":bob!b@h KICK #c ALICE2 :out")
	if got := c.Self().String(); got != "Alice2!new@third.host" {
		t.Errorf("we are %s", got)
	}
	if c.In("#c") || c.In("#old") || c.FromSelf(seen[4]) || !c.FromSelf(seen[3]) || !c.FromSelf(seen[0]) {
		t.Error("what we did is mixed up with what others did")
	}
	if pieces := c.Split(wire.Privmsg, "#c", strings.Repeat("x", 2000)); len(pieces[0]) != 512-len(":Alice2!new@third.host PRIVMSG #c :\r\n") {
		t.Errorf("a piece has %d bytes", len(pieces[0]))
	}
}

// Lines that no server should send are skipped, and what it sends endlessly is bounded.
func TestHostileServer(t *testing.T) {
	lines := []string{"", " ", ":", "@", ":x", "\x00", "@=;=;a :p PRIVMSG", "PRIVMSG", "JOIN", ":alice JOIN", ":alice!a@b NICK", "KICK", "KICK #x", "396", "302 a", "302 a :alice=", "005", "CAP", "CAP * LS",
		"CAP * NAK", "CAP * ACK :" + strings.Repeat("~= ", 50), "BATCH +", "353", "470 a", "433", "001 mallory", ":mallory!\xff@\xff JOIN #\xff", "PING", "AUTHENTICATE +", "904", "PONG", strings.Repeat("@x;", 2000) + " X"}
	for n := range 2000 {
		lines = append(lines, fmt.Sprintf("BATCH +%d netsplit", n), fmt.Sprintf("CAP * LS :cap%d", n), fmt.Sprintf("005 a TOKEN%d=x :y", n),
			fmt.Sprintf("PING :%d", n), fmt.Sprintf(":mallory!x@y JOIN #%d", n))
	}
	c, _ := sees(t, "NETWORK=Fake", lines...)
	if c.Nick() != "mallory" || len(c.Support().Raw) > 1000 {
		t.Errorf("nick %q, %d tokens", c.Nick(), len(c.Support().Raw))
	}
	addr := serve(t, func(p *peer) {
		p.welcome("NETWORK=Fake")
		for range 100_000 {
			if _, err := p.conn.Write([]byte(strings.Repeat("x", 1000))); err != nil {
				return
			}
		}
	})
	_, r := dial(t, wire.Options{Addr: addr, Nick: "alice"})
	if err := <-r.closed; !errors.Is(err, wire.ErrLineTooLong) {
		t.Errorf("an endless line: %v", err)
	}
}

// A server that does not read ends the connection, not our memory.
func TestServerDoesNotRead(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.welcome("NETWORK=Fake")
		for {
			if _, err := p.conn.Write([]byte("PING :" + strings.Repeat("x", 400) + "\r\n")); err != nil {
				return
			}
		}
	})
	c, r := dial(t, wire.Options{Addr: addr, Nick: "alice", WriteWait: 300 * time.Millisecond})
	if err := <-r.closed; err == nil || errors.Is(err, wire.ErrClosed) {
		t.Errorf("ended with %v", err)
	}
	if err := c.Send(withTimeout(t), wire.NewMessage("PING", "x")); err == nil {
		t.Error("a dead connection takes lines")
	}
}

// Labels tie each line to the server's answer.
func TestLabels(t *testing.T) {
	addr := serve(t, func(p *peer) {
		p.expect("CAP LS")
		p.send("CAP * LS :echo-message labeled-response batch message-tags")
		p.send("CAP * ACK :" + strings.TrimPrefix(p.expect("CAP REQ "), ":"))
		p.expect("CAP END")
		p.send("001 alice :hi", "376 alice :end")
		for i := 1; ; i++ {
			label, line, _ := strings.Cut(p.expect("@label="), " ")
			if label == "" {
				return
			}
			switch {
			case i%3 == 0:
				p.send("@label=" + label + " :s 404 alice #c :Cannot send to channel")
			default:
				p.send("@label=" + label + ";msgid=" + fmt.Sprint(i) + " :alice!a@h " + line)
			}
			if strings.HasSuffix(line, "last") {
				p.send(":s PONG s :" + p.expect("PING "))
			}
		}
	})
	c, _ := dial(t, wire.Options{Addr: addr, Nick: "alice"})
	d, err := c.Deliver(withTimeout(t), wire.Text{Target: "#c", Lines: []string{"one", "last"}})
	if err != nil || d.Taken != 2 || fmt.Sprint(d.IDs) != "[1 2]" {
		t.Errorf("%+v, %v", d, err)
	}
	d, err = c.Deliver(withTimeout(t), wire.Text{Target: "#c", Lines: []string{"one", "two", "last"}})
	var refused *wire.SendError
	if !errors.As(err, &refused) || refused.Code != "404" || d.Taken != 2 || d.Lines != 3 {
		t.Errorf("%+v, %v", d, err)
	}
}

// While the Handler works, silence is ours, not the server's.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		h := &stuck{newRecorder(), release}
		c, err := wire.Dial(withTimeout(t), wire.Options{Nick: "alice", Handler: h, DialContext: piped(t, func(p *peer) {
			p.welcome("NETWORK=Fake")
			for {
				token := p.expect("PING ")
				if token == "" {
					return
				}
				p.send("PONG s :" + token)
			}
		})})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		select {
		case <-c.Done():
			t.Errorf("ended while the Handler worked: %v", c.Err())
		case <-time.After(time.Hour):
		}
		close(release)
		for range 3 {
			h.wait(t, "PONG")
		}
	})
}

// stuck is a Handler that works on the first PONG until it is released.
type stuck struct {
	*recorder
	release chan struct{}
}

func (s *stuck) Message(c *wire.Conn, m *wire.Message) {
	if m.Command == "PONG" {
		<-s.release
	}
	s.recorder.Message(c, m)
}
