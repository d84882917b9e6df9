package irc_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

func TestReactionsAreTakenBack(t *testing.T) {
	t.Parallel()
	m := startModern(t, ircv3.Options{}, nil)
	m.bob.Say("#trestle", "who likes tea?")
	question := m.WaitBody(m.room, ghost("bob"), "who likes tea?")
	m.settled(t)
	id := m.said(t, "who likes tea?")
	react := fmt.Sprintf(`{"m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"👍"}}`, question.ID)
	for range 2 { // at once, and again
		m.Redact(m.room, alice, m.Send(m.room, alice, "m.reaction", nil, react))
		m.bob.Expect("+draft/react=👍", ":alice!", "TAGMSG #trestle")
		m.bob.Expect("+draft/reply="+id, "+draft/unreact=👍", "+reply="+id, ":alice!", "TAGMSG #trestle")
	}

	// And from IRC. What was not there is not taken back.
	redactions := func(e fakehomeserver.Event) bool { return e.Type == "m.room.redaction" && e.Sender == ghost("bob") }
	for _, tag := range []string{"+draft/unreact=🎉", "+draft/react=🎉", "+draft/react=x", "+draft/unreact=🎉"} {
		m.bob.Send("@+reply=" + id + ";" + tag + " TAGMSG #trestle")
	}
	m.Wait(m.room, "a redaction", redactions)
	m.settled(t)
	var party string
	for _, e := range m.Events(m.room, func(e fakehomeserver.Event) bool { return e.Type == "m.reaction" && e.Sender == ghost("bob") }) {
		if strings.Contains(string(e.Content), "🎉") {
			party = e.ID
		}
	}
	if all := m.Events(m.room, redactions); len(all) != 1 || !strings.Contains(string(all[0].Content), party) {
		t.Errorf("%d redactions, of %s", len(all), all[0].Content)
	}
}

// Two who talk alone react, reply and vote as in a channel.
func TestDirectChatsHaveMoreThanTexts(t *testing.T) {
	for _, tags := range []bool{true, false} {
		options := ircv3.Options{Without: []string{"draft/multiline"}}
		if !tags {
			options.Without = append(options.Without, "message-tags")
		}
		m := startModern(t, options, nil)
		room := m.DirectWith(alice, ghost("bob"))
		m.WaitMembership(room, ghost("bob"), "join")
		mine := m.Say(room, alice, "tea or milk?")
		line := m.bob.Expect(":alice!", "PRIVMSG bob :tea or milk?")
		m.bob.Say("alice", "tea?")
		tea := m.WaitBody(room, ghost("bob"), "tea?")
		m.bob.Say("alice", "the bridge has written that down when this is there")
		m.WaitBody(room, ghost("bob"), "the bridge has written that down when this is there")
		m.Send(room, alice, "m.poll.start", nil, `{"m.poll":{"kind":"m.disclosed","question":{"m.text":[{"body":"Which?"}]},"answers":[{"m.id":"a","m.text":[{"body":"Tea"}]}]}}`)
		m.bob.Expect(":alice!", "PRIVMSG bob :[poll] Which?")
		reaction := m.Send(room, alice, "m.reaction", nil, fmt.Sprintf(`{"m.relates_to":{"rel_type":"m.annotation","event_id":%q,"key":"👍"}}`, tea.ID))
		if !tags {
			m.bob.Expect(":alice!", "PRIVMSG bob :\x01ACTION reacted to bob (“tea?”) with 👍")
			continue
		}
		m.bob.Expect("+draft/react=👍", ":alice!", "TAGMSG bob")
		m.Send(room, alice, "m.room.redaction", nil, fmt.Sprintf(`{"redacts":%q}`, reaction))
		m.bob.Expect("+draft/unreact=👍", ":alice!", "TAGMSG bob")
		id := regexp.MustCompile(`msgid=(\w+)`).FindStringSubmatch(line)[1]
		m.bob.Send("@+draft/reply=" + id + ";+draft/react=🎉 TAGMSG alice")
		got := m.Wait(room, "bob's reaction", func(e fakehomeserver.Event) bool { return e.Type == "m.reaction" && e.Sender == ghost("bob") })
		if !strings.Contains(string(got.Content), mine) || !strings.Contains(string(got.Content), "🎉") {
			t.Errorf("bob reacts with %s", got.Content)
		}
		m.bob.Send("@+draft/reply=" + id + " PRIVMSG alice :milk")
		if e := m.WaitBody(room, ghost("bob"), "milk"); !strings.Contains(string(e.Content), `"m.in_reply_to":{"event_id":"`+mine) {
			t.Errorf("bob's answer is %s", e.Content)
		}
	}
}
