package irc_test

import (
	"testing"

	"trestle/internal/testkit"
)

func TestWordsForOperatorsAreNotForTheRoom(t *testing.T) {
	t.Parallel()
	h, server, _ := onOurs(t, nil)
	bob := testkit.DialIRC(t, server.Addr, "bob", "CAP REQ message-tags")
	bob.Join("#trestle")
	room := join(t, h, alice, "alice", bob)
	h.Member(room, carol, carol, "join", "carol")
	bob.Expect(":carol!", "JOIN")
	bob.Send("MODE #trestle +oo trestle carol")
	bob.Expect("MODE #trestle +oo")
	h.WaitMembership(room, ghost("bob"), "join")
	bob.Say("@#trestle", "one of us is a spy")
	bob.Send("@+typing=active TAGMSG @#trestle")
	bob.Send("NOTICE @#trestle :be careful")
	bob.Send("PRIVMSG +#trestle :\x01ACTION whispers\x01")
	bob.Send("PRIVMSG @#trestle :\x01VERSION\x01")
	bob.Say("#trestle", "hello all")
	h.WaitBody(room, ghost("bob"), "hello all")
	for _, e := range h.Events(room, isMessage) {
		if e.Body() != "hello all" {
			t.Errorf("the room has %s", e.Content)
		}
	}
	private := invitation(t, h, carol)
	h.Member(private, carol, carol, "join", "carol")
	for _, text := range []string{"[@#trestle] one of us is a spy", "[@#trestle] be careful", "[+#trestle] whispers"} {
		h.WaitBody(private, ghost("bob"), text)
	}
	if n := len(h.Events(private, isMessage)); n != 3 {
		t.Errorf("carol was told %d things", n)
	}
}
