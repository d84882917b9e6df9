package irc_test

import (
	"testing"

	"trestle/internal/testkit/fakehomeserver"
)

func TestTheBotIsBehind(t *testing.T) {
	t.Parallel()
	o, h, room := watched(t)
	o.behind(true)
	h.Register(carol, "carol")
	h.Member(room, carol, carol, "join", "carol")
	eventually(t, "carol in the channel", func() bool { return o.present(carol) })
	h.Say(room, carol, "as carol")
	eventually(t, "what carol says", func() bool { return o.hears("as carol") })
	o.rename(carol, "guest")
	o.on(carol, func(c *seeker) { c.send("PING :renamed") })
	eventually(t, "carol's connection hear that", func() bool { return o.hears("PONG") })
	h.Say(room, carol, "as guest")
	eventually(t, "what guest says", func() bool { return o.hears("as guest") })
	o.behind(false)
	o.say("fence")
	h.WaitBody(room, ghost("bob"), "fence")
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return e.Sender == ghost("carol") || e.Sender == ghost("guest") }) {
		t.Errorf("the room has carol's own words as %s: %s", e.Sender, e.Content)
	}
}
