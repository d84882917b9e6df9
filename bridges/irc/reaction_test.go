package irc_test

import (
	"fmt"
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
