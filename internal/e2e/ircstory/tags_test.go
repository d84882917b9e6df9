package ircstory_test

import (
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/internal/testkit"
	"trestle/internal/testkit/ircv3"
)

// On a network with tags, people see each other type, react and reply.
func TestTagsCrossTheBridge(t *testing.T) {
	server := ircv3.Start(t, ircv3.Options{})
	bob := testkit.DialIRC(t, server.Addr, "bob", "CAP REQ :message-tags")
	bob.Join("#trestle")
	alice := newPerson(t, startTrestle(t, "", &testkit.IRCServer{Addr: server.Addr}), "alice")
	bob.Expect(":trestle!", "JOIN")
	alice.joins(alias)
	bob.Expect(":alice!", "JOIN")
	if _, err := alice.UserTyping(t.Context(), alice.room, true, time.Minute); err != nil {
		t.Fatal(err)
	}
	bob.Expect("+typing=active", ":alice!", "TAGMSG #trestle")

	question := alice.says("question", text("tea?"))
	bob.Expect(":alice!", "PRIVMSG #trestle :tea?")
	// When the next line is there, the one before is written down.
	alice.says("next", text("or coffee?"))
	bob.Expect(":alice!", "PRIVMSG #trestle :or coffee?")
	id := messageID(t, server, "tea?")
	bob.Send("@+typing=active TAGMSG #trestle")
	bob.Send("@+draft/reply=" + id + " PRIVMSG #trestle :tea")
	reply := alice.hears(ghost, "m.text", "tea")
	if err := reply.Content.ParseRaw(event.EventMessage); err != nil || reply.Content.AsMessage().RelatesTo.GetReplyTo() != question {
		t.Errorf("bob answers with %v, %v", reply.Content.Raw, err)
	}
	bob.Send("@+reply=" + id + ";+draft/react=🍵 TAGMSG #trestle")
	reaction := alice.until("a reaction", func(e *event.Event) bool { return e.Type == event.EventReaction && e.Sender == ghost })
	if err := reaction.Content.ParseRaw(event.EventReaction); err != nil {
		t.Fatal(err)
	}
	if relates := reaction.Content.AsReaction().RelatesTo; relates.EventID != question || relates.Key != "🍵" {
		t.Errorf("bob reacts with %+v", relates)
	}
	if _, err := alice.SendReaction(t.Context(), alice.room, reply.ID, "👍"); err != nil {
		t.Fatal(err)
	}
	if line := bob.Expect("+draft/react=👍", ":alice!", "TAGMSG #trestle"); !strings.Contains(line, "+draft/reply="+messageID(t, server, "tea")) {
		t.Errorf("alice reacts by %q", line)
	}
}

// messageID is what the server calls a message.
func messageID(t *testing.T, server *ircv3.Server, text string) string {
	t.Helper()
	for _, said := range server.History("#trestle") {
		if said.Param(1) == text {
			return said.Tags["msgid"]
		}
	}
	t.Fatalf("nobody has said %q", text)
	return ""
}
