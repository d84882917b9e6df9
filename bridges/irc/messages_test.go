package irc_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

// A modern is a bridge to a network with the extensions of IRCv3, and alice and bob in #trestle.
type modern struct {
	*fakehomeserver.Homeserver
	server *ircv3.Server
	bob    *testkit.IRCClient // who sees tags
	room   string
}

func startModern(t *testing.T, options ircv3.Options, change func(*irc.Network)) *modern {
	t.Helper()
	m := &modern{Homeserver: fakehomeserver.New(t), server: ircv3.Start(t, options)}
	m.bob = testkit.DialIRC(t, m.server.Addr, "bob", "CAP REQ :message-tags")
	m.bob.Join("#trestle")
	c := config(m.Homeserver, m.server.Addr, t.TempDir())
	if change != nil {
		change(&c.Networks[0])
	}
	start(t, m.Homeserver, c)
	m.bob.Expect(":trestle!", "JOIN")
	m.room = join(t, m.Homeserver, alice, "alice", m.bob)
	m.WaitMembership(m.room, ghost("bob"), "join")
	return m
}

// send sends a message of alice.
func (m *modern) send(content string, args ...any) (event string) {
	return m.Send(m.room, alice, "m.room.message", nil, fmt.Sprintf(content, args...))
}

// said is the msgid of the newest message on IRC with a text.
func (m *modern) said(t *testing.T, text string) string {
	t.Helper()
	for _, message := range m.server.History("#trestle") {
		if message.Param(1) == text {
			return message.Tags["msgid"]
		}
	}
	t.Fatalf("nobody has said %q", text)
	return ""
}

// settled waits until the bridge has written down what it sent and heard: it has said
// something itself after that.
func (m *modern) settled(t *testing.T) {
	t.Helper()
	mark := fmt.Sprintf("mark %d", time.Now().UnixNano())
	m.bob.Say("#trestle", mark)
	m.WaitBody(m.room, ghost("bob"), mark)
	m.Say(m.room, alice, mark)
	m.bob.Expect(":alice!", mark)
}

func TestRepliesAndReactionsHaveTags(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	m.bob.Say("#trestle", "who likes tea?")
	question := m.WaitBody(m.room, ghost("bob"), "who likes tea?")
	m.settled(t)
	id := m.said(t, "who likes tea?")

	mine := m.send(`{"msgtype":"m.text","body":"I do","m.relates_to":{"m.in_reply_to":{"event_id":%q}}}`, question.ID)
	m.bob.Expect("+draft/reply="+id, "+reply="+id, ":alice!", "PRIVMSG #trestle :bob: I do")
	m.Send(m.room, alice, "m.reaction", nil, fmt.Sprintf(`{"m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"👍"}}`, question.ID))
	m.bob.Expect("+draft/react=👍", "+draft/reply="+id, ":alice!", "TAGMSG #trestle")

	m.settled(t)
	id = m.said(t, "bob: I do")
	m.bob.Send("@+draft/reply=" + id + " PRIVMSG #trestle :good")
	answer := m.WaitBody(m.room, ghost("bob"), "good")
	for _, want := range []string{`"m.in_reply_to":{"event_id":"` + mine + `"}`, `"user_ids":["` + alice + `"]`} {
		if !strings.Contains(string(answer.Content), want) {
			t.Errorf("%s is not in %s", want, answer.Content)
		}
	}
	m.bob.Send("@+reply=" + id + ";+draft/react=🎉 TAGMSG #trestle")
	reaction := m.Wait(m.room, "bob's reaction", func(e fakehomeserver.Event) bool { return e.Type == "m.reaction" && e.Sender == ghost("bob") })
	if !strings.Contains(string(reaction.Content), `"event_id":"`+mine+`"`) || !strings.Contains(string(reaction.Content), `"key":"🎉"`) {
		t.Errorf("the reaction is %s", reaction.Content)
	}
	// Those to what nobody knows are nothing at all.
	m.bob.Send("@+reply=unknown;+draft/react=x TAGMSG #trestle")
	m.bob.Send("@+draft/reply=unknown PRIVMSG #trestle :to nobody")
	if e := m.WaitBody(m.room, ghost("bob"), "to nobody"); strings.Contains(string(e.Content), "relates_to") {
		t.Errorf("an answer to nothing: %s", e.Content)
	}
	if all := m.Events(m.room, func(e fakehomeserver.Event) bool { return e.Type == "m.reaction" && e.Sender == ghost("bob") }); len(all) != 1 {
		t.Errorf("%d reactions", len(all))
	}
}

func TestReactionsWithoutTags(t *testing.T) {
	for mode, want := range map[string]string{
		"auto": "\x01ACTION reacted to bob (“hello”) with 👍\x01", "lines": "\x01ACTION reacted to bob (“hello”) with 👍\x01", "tags": "", "off": "",
	} {
		m := startModern(t, ircv3.Options{Without: []string{"message-tags"}}, func(n *irc.Network) { n.Reactions = mode })
		m.bob.Say("#trestle", "hello")
		hello := m.WaitBody(m.room, ghost("bob"), "hello")
		m.settled(t)
		m.Send(m.room, alice, "m.reaction", nil, fmt.Sprintf(`{"m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"👍"}}`, hello.ID))
		m.Say(m.room, alice, "next")
		line := m.bob.Expect(":alice!", "PRIVMSG #trestle :")
		if _, text, _ := strings.Cut(line, "PRIVMSG #trestle :"); text != want && (want != "" || text != "next") {
			t.Errorf("%s: %q, want %q", mode, text, want)
		}
	}
}

func TestEditsAreOneLine(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	edit := func(event, body string) {
		m.send(`{"msgtype":"m.text","body":"* x","m.new_content":{"msgtype":"m.text","body":%q},"m.relates_to":{"rel_type":"m.replace","event_id":%q}}`, body, event)
	}
	long := strings.Repeat("word by word ", 30)
	first := m.send(`{"msgtype":"m.text","body":%q}`, long+"teh end")
	m.bob.Expect(":alice!", "word by word")
	edit(first, long+"the end")
	m.bob.Expect(":alice!", "PRIVMSG #trestle :s/teh/the/")
	edit(first, long+"the very end")
	m.bob.Expect(":alice!", "PRIVMSG #trestle :s/the/the very/")
	edit(first, long+"the very end")
	edit(first, strings.Repeat("something else ", 100))
	if line := m.bob.Expect(":alice!", "PRIVMSG #trestle :"); !strings.Contains(line, ":* something else") || !strings.HasSuffix(line, "…") || len(line) > 512 {
		t.Errorf("a whole new text is %q", line)
	}
	edit("$unknown", "fixed")
	m.bob.Expect(":alice!", "PRIVMSG #trestle :* fixed")
}

func TestPollsStickersPlacesAndThreads(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	root := m.send(`{"msgtype":"m.text","body":"about the weather"}`)
	m.bob.Expect(":alice!", "about the weather")
	m.settled(t)
	m.send(`{"msgtype":"m.text","body":"it rains","m.relates_to":{"rel_type":"m.thread","event_id":%q,"is_falling_back":true,"m.in_reply_to":{"event_id":%q}}}`, root, root)
	m.bob.Expect(":alice!", "PRIVMSG #trestle :[thread “about the weather”] it rains")
	m.send(`{"msgtype":"m.location","body":"The tower","geo_uri":"geo:48.858,2.294;u=10"}`)
	m.bob.Expect(":alice!", "PRIVMSG #trestle :The tower (48.858,2.294)")
	m.Send(m.room, alice, "m.sticker", nil, `{"body":"a \u0001cat\nwaves","url":"mxc://localhost/cat","info":{}}`)
	m.bob.Expect(":alice!", "PRIVMSG #trestle :[a cat waves]")

	old := m.Send(m.room, alice, "org.matrix.msc3381.poll.start", nil, `{"org.matrix.msc3381.poll.start":{"kind":"org.matrix.msc3381.poll.disclosed",
		"question":{"org.matrix.msc1767.text":"Tea?"},"answers":[{"id":"a","org.matrix.msc1767.text":"Yes"},{"id":"b","org.matrix.msc1767.text":"No"}]}}`)
	for _, want := range []string{"[poll] Tea?", "1. Yes", "2. No"} {
		m.bob.Expect(":alice!", "PRIVMSG #trestle :"+want)
	}
	m.Send(m.room, alice, "org.matrix.msc3381.poll.response", nil, fmt.Sprintf(`{"org.matrix.msc3381.poll.response":{"answers":["b","zz"]},"m.relates_to":{"rel_type":"m.reference","event_id":%q}}`, old))
	m.bob.Expect(":alice!", "PRIVMSG #trestle :[poll “Tea?”] votes for 2 (No)")
	m.Send(m.room, alice, "org.matrix.msc3381.poll.end", nil, fmt.Sprintf(`{"org.matrix.msc3381.poll.end":{},"org.matrix.msc1767.text":"Ended: No wins","m.relates_to":{"rel_type":"m.reference","event_id":%q}}`, old))
	m.bob.Expect(":alice!", "PRIVMSG #trestle :[poll “Tea?”] Ended: No wins")
	fresh := m.Send(m.room, alice, "m.poll.start", nil, `{"m.poll":{"kind":"m.undisclosed","question":{"m.text":[{"body":"Secret?"}]},"answers":[{"m.id":"a","m.text":[{"body":"Yes"}]}]}}`)
	m.bob.Expect(":alice!", "PRIVMSG #trestle :[poll] Secret?")
	m.bob.Expect(":alice!", "PRIVMSG #trestle :1. Yes")
	m.Send(m.room, alice, "m.poll.response", nil, fmt.Sprintf(`{"m.selections":["a"],"m.relates_to":{"rel_type":"m.reference","event_id":%q}}`, fresh))
	m.Say(m.room, alice, "voted")
	if line := m.bob.Expect(":alice!", "PRIVMSG #trestle :"); !strings.HasSuffix(line, ":voted") {
		t.Errorf("a secret vote is told: %q", line)
	}
}

func TestTyping(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	m.Type(m.room, alice, ghost("bob"), "@carol:localhost")
	m.bob.Expect("+typing=active", ":alice!", "TAGMSG #trestle")
	typing := func(want string) {
		t.Helper()
		m.Wait(m.room, "typing "+want, func(e fakehomeserver.Event) bool {
			return e.Type == "m.typing" && e.Sender == ghost("bob") && strings.Contains(string(e.Content), want)
		})
	}
	m.bob.Send("@+typing=active TAGMSG #trestle")
	typing(`"typing":true`)
	m.bob.Say("#trestle", "done typing")
	typing(`"typing":false`)
}

func TestLinesOfOneTextStayTogether(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	eve := testkit.DialIRC(t, m.server.Addr, "eve", "CAP REQ :message-tags batch draft/multiline")
	eve.Join("#trestle")
	long := strings.Repeat("Съешь же ещё этих мягких французских булок. ", 12)
	m.send(`{"msgtype":"m.text","body":%q}`, "one\n"+long+"\nthree")
	start := eve.Expect("BATCH +", "draft/multiline #trestle")
	eve.Expect("@batch=", "PRIVMSG #trestle :one")
	eve.Expect("draft/multiline-concat", "PRIVMSG #trestle :")
	eve.Expect("@batch=", "PRIVMSG #trestle :three")
	eve.Expect("BATCH -")
	if text := m.server.History("#trestle")[0].Param(1); text != "one\n"+strings.TrimRight(long, " ")+"\nthree" {
		t.Errorf("IRC has %q", text)
	}
	// And back.
	m.settled(t)
	id := regexp.MustCompile(`msgid=(\w+)`).FindStringSubmatch(start)[1]
	for _, line := range []string{
		"@+reply=" + id + " BATCH +x draft/multiline #trestle", "@batch=x PRIVMSG #trestle :first", "@batch=x PRIVMSG #trestle :sec",
		"@batch=x;draft/multiline-concat PRIVMSG #trestle :ond", "BATCH -x",
	} {
		eve.Send(line)
	}
	if e := m.WaitBody(m.room, ghost("eve"), "first\nsecond"); !strings.Contains(string(e.Content), "m.in_reply_to") {
		t.Errorf("the answer is %s", e.Content)
	}
}

// A server that says one thing and does another gets the lines one by one.
func TestABatchThatIsRefused(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	m.server.Handle("BATCH", func(_ *ircv3.Server, c *ircv3.Client, message *ircv3.Message) {
		if strings.HasPrefix(message.Param(0), "-") {
			c.Fail("BATCH", "MULTILINE_MAX_LINES", "1", "Too many")
		}
	})
	m.server.Handle("PRIVMSG", ignoreBatches(m.server))
	m.send(`{"msgtype":"m.text","body":"one\ntwo"}`)
	m.bob.Expect(":alice!", "PRIVMSG #trestle :one")
	m.bob.Expect(":alice!", "PRIVMSG #trestle :two")
	m.Say(m.room, alice, "three")
	m.bob.Expect(":alice!", "PRIVMSG #trestle :three")
	texts := ""
	for _, said := range m.server.History("#trestle") {
		texts += said.Param(1) + " "
	}
	if texts != "one two three " {
		t.Errorf("IRC has %q", texts)
	}
}

// A server that complains of batches where there are none does not have a line said again and again.
func TestARefusalOfNoBatch(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	say := m.server.Command("PRIVMSG")
	m.server.Handle("PRIVMSG", func(s *ircv3.Server, c *ircv3.Client, message *ircv3.Message) {
		if c.Nick() == "alice" {
			c.Fail("BATCH", "MULTILINE_INVALID", "x", "Not this")
		}
		say(s, c, message)
	})
	m.Say(m.room, alice, "one")
	m.Say(m.room, alice, "two")
	m.bob.Expect(":alice!", "PRIVMSG #trestle :one")
	if line := m.bob.Expect(":alice!", "PRIVMSG #trestle :"); !strings.HasSuffix(line, ":two") {
		t.Errorf("bob hears %q", line)
	}
}

func TestWhatIRCDoesNotTakeIsMarked(t *testing.T) {
	for mode, want := range map[string]func(e fakehomeserver.Event) bool{
		"reply": func(e fakehomeserver.Event) bool {
			return strings.Contains(e.Body(), "did not reach IRC: Cannot send to channel.")
		},
		"reaction": func(e fakehomeserver.Event) bool {
			return strings.Contains(string(e.Content), "❌ Cannot send to channel.")
		},
	} {
		m := startModern(t, ircv3.Options{}, func(n *irc.Network) { n.Undelivered = mode })
		m.bob.Send("MODE #trestle +m")
		m.bob.Expect("MODE #trestle", "+m")
		lost := m.send(`{"msgtype":"m.text","body":"unheard"}`)
		marks := func(e fakehomeserver.Event) bool {
			return e.Sender == bot && strings.Contains(string(e.Content), `"event_id":"`+lost+`"`) && want(e)
		}
		m.Wait(m.room, "a mark", marks)
		m.bob.Send("MODE #trestle -m")
		m.bob.Expect("MODE #trestle", "-m")
		m.Say(m.room, alice, "heard")
		m.bob.Expect(":alice!", "PRIVMSG #trestle :heard")
		if n := len(m.Events(m.room, marks)); n != 1 {
			t.Errorf("%s: %d marks", mode, n)
		}
	}
}

func TestOnlySafeCTCP(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	for _, to := range []string{"trestle", "alice"} {
		for question, want := range map[string]string{"VERSION": "VERSION Trestle", "TIME": "TIME ", "PING x y": "PING x y"} {
			m.bob.Send("PRIVMSG " + to + " :\x01" + question + "\x01")
			m.bob.Expect(":"+to+"!", "NOTICE bob :\x01"+want)
		}
		m.bob.Send("PRIVMSG " + to + " :\x01DCC SEND x 1 2 3\x01")
	}
	m.bob.Send("PRIVMSG #trestle :\x01VERSION\x01")
	m.bob.Send("NOTICE #trestle :\x01VERSION forged\x01")
	m.bob.Say("#trestle", "bob: alice, hi")
	e := m.WaitBody(m.room, ghost("bob"), "bob: alice, hi")
	for _, want := range []string{"matrix.to/#/@irc_local_bob:localhost", "matrix.to/#/@alice:localhost"} {
		if !strings.Contains(string(e.Content), want) {
			t.Errorf("%s is not in %s", want, e.Content)
		}
	}
	said := m.Events(m.room, func(e fakehomeserver.Event) bool { return isMessage(e) && e.Sender == ghost("bob") })
	if len(said) != 1 {
		t.Errorf("%d messages: %s", len(said), said[0].Content)
	}
}

// ignoreBatches says what is not part of a batch.
func ignoreBatches(s *ircv3.Server) ircv3.Command {
	say := s.Command("PRIVMSG")
	return func(s *ircv3.Server, c *ircv3.Client, m *ircv3.Message) {
		if m.Tags["batch"] == "" {
			say(s, c, m)
		}
	}
}

// A server that drops a line now and then, or its echo, and then breaks the connection, makes
// the bridge say lines again, and none twice.
func TestLostLinesAreSaidAgain(t *testing.T) {
	m := startModern(t, ircv3.Options{}, nil)
	say := m.server.Command("PRIVMSG")
	calls := 0
	m.server.Handle("PRIVMSG", func(s *ircv3.Server, c *ircv3.Client, message *ircv3.Message) {
		if c.Nick() != "alice" {
			say(s, c, message)
			return
		}
		switch calls++; calls % 7 {
		case 3: // never read
			c.Break()
		case 5: // read, shown, and its echo lost
			say(s, c, message)
			c.Break()
		default:
			say(s, c, message)
		}
	})
	const n = 15
	for i := range n {
		m.Say(m.room, alice, fmt.Sprint("line ", i))
	}
	m.bob.Expect(":alice!", fmt.Sprint("line ", n-1))
	var got []string
	for _, said := range m.server.History("#trestle") {
		got = append(got, said.Param(1))
	}
	want := []string{}
	for i := range n {
		want = append(want, fmt.Sprint("line ", i))
	}
	if a, b := mustJSON(got), mustJSON(want); a != b {
		t.Errorf("IRC has %s", a)
	}
}

func mustJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(raw)
}
