package irc_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// asksFor asks the bridge what is behind a channel's alias, as a homeserver does for anybody.
func asksFor(t *testing.T, h *fakehomeserver.Homeserver, channel string) (room string) {
	t.Helper()
	alias := "#irc_local_" + channel + ":localhost"
	if status, body := h.Look("/_matrix/app/v1/rooms/" + url.PathEscape(alias)); status != 200 {
		t.Fatalf("%s: %d %s", alias, status, body)
	}
	return h.Resolve(alias)
}

// Rooms that were made because somebody has asked for them, and into which nobody has come, do not fill the channels that the bot
// may be in.
func TestRoomsThatNobodyJoinsAreGivenUp(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	for _, channel := range []string{"#mapped", "#listed", "#visited", "#invited", "#quiet"} {
		bob.Join(channel)
	}
	c := config(h, server.Addr, t.TempDir())
	n := &c.Networks[0]
	n.Channels, n.Mappings, n.Unvisited = []string{"#listed"}, []irc.Mapping{{Channel: "#mapped"}}, time.Hour
	_, stop := start(t, h, c)
	h.Register(alice, "alice")
	kept := map[string]string{}
	for _, channel := range []string{"#mapped", "#listed", "#visited"} {
		kept[channel] = asksFor(t, h, channel)
	}
	if _, refusal := h.Join(alice, "#irc_local_#visited:localhost"); refusal != "" {
		t.Fatal(refusal)
	}
	bob.Expect(":alice!", "JOIN", "#visited")
	h.Member(kept["#visited"], alice, alice, "leave", "")
	bob.Expect(":alice!", "PART", "#visited")
	direct := h.Direct(carol)
	h.Say(direct, carol, "join #invited")
	told(h, direct, "You are invited")
	kept["#invited"] = h.Resolve("#irc_local_#invited:localhost")
	quiet := asksFor(t, h, "#quiet")
	h.WaitMembership(quiet, ghost("bob"), "join")
	stop()
	bob.Expect(":trestle!", "QUIT")

	n.Unvisited = time.Millisecond // nobody has come since before the restart
	_, stop = start(t, h, c)
	h.WaitMembership(quiet, ghost("bob"), "leave")
	h.WaitMembership(quiet, bot, "leave")
	bob.Expect(":trestle!", "PART #quiet")
	if found := h.Resolve("#irc_local_#quiet:localhost"); found != "" {
		t.Errorf("the alias leads to %s", found)
	}
	// What was asked for before that was looked at before that.
	for channel, room := range kept {
		if h.Membership(room, bot) != "join" || h.Resolve("#irc_local_"+channel+":localhost") != room {
			t.Errorf("%s has lost its room", channel)
		}
	}
	h.Member(kept["#invited"], carol, carol, "leave", "") // who has declined
	h.WaitMembership(kept["#invited"], bot, "leave")
	stop()

	n.Unvisited = time.Hour
	start(t, h, c)
	again, refusal := h.Join(alice, "#irc_local_#quiet:localhost")
	if refusal != "" || again == quiet {
		t.Fatalf("alice is in %s, %s", again, refusal)
	}
	bob.Expect(":alice!", "JOIN", "#quiet")
	bob.Say("#quiet", "hello, alice")
	h.WaitBody(again, ghost("bob"), "hello, alice")
}

// A bridge that is stopped while it gives up a room goes on with that, and who has come in at that moment is told what to do.
func TestGivingUpARoomOutlivesARestart(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#quiet")
	c := config(h, server.Addr, t.TempDir())
	c.Networks[0].Unvisited = 50 * time.Millisecond
	h.Register(alice, "alice")
	release := h.Hold(bot, "/joined_members")
	_, stop := start(t, h, c)
	quiet := asksFor(t, h, "#quiet")
	bob.Expect(":trestle!", "PART #quiet")
	h.Member(quiet, alice, alice, "join", "")
	stop()
	release()
	if h.Membership(quiet, bot) != "join" {
		t.Fatal("the bot has left the room already")
	}
	start(t, h, c)
	h.WaitMembership(quiet, bot, "leave")
	h.WaitMembership(quiet, ghost("bob"), "leave")
	if e := h.WaitMembership(quiet, alice, "leave"); e.Sender != bot || !strings.Contains(e.Reason(), "Join it once more") {
		t.Errorf("alice is removed by %s: %s", e.Sender, e.Content)
	}
	if rule := h.State(quiet, "m.room.join_rules", ""); !strings.Contains(rule, "invite") {
		t.Errorf("the join rule is %s", rule)
	}
}
