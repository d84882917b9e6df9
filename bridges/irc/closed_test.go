package irc_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// While the bot is not in a channel that is for those who are invited, its room stays for those, too.
func TestAClosedChannelStaysClosedWithoutTheBot(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		start(t, h, config(h, server.Addr, t.TempDir()))
		bob.Expect(":trestle!", "JOIN", "#trestle")
		room := join(t, h, alice, "alice", bob)
		bob.Send("MODE #trestle +i")
		h.Wait(room, "the join rule", func(e fakehomeserver.Event) bool {
			return e.Type == "m.room.join_rules" && strings.Contains(string(e.Content), "invite")
		})
		bob.Send("KICK #trestle trestle")
		told(h, room, "The bridge was kicked")
		direct := h.Direct(carol)
		h.Say(direct, carol, "join #trestle")
		told(h, direct, "is for those who are invited")
		if invited := h.Membership(room, carol); invited != "leave" {
			t.Errorf("carol's membership is %s", invited)
		}
	})
}

// The room of a channel that is for those who are invited, or know its key, is so from its beginning.
func TestAClosedChannelsRoomIsNeverOpen(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#locked")
	bob.Send("MODE #locked +k secret")
	bob.Expect("MODE #locked", "+k")
	start(t, h, config(h, server.Addr, t.TempDir()))
	h.Register(alice, "alice")
	direct := h.Direct(alice)
	h.Say(direct, alice, "join #locked secret")
	told(h, direct, "You are invited")
	room, rule := h.Resolve("#irc_local_#locked:localhost"), ""
	for _, e := range h.Events(room, func(e fakehomeserver.Event) bool { return e.StateKey != nil }) {
		switch e.Type {
		case "m.room.join_rules":
			rule = string(e.Content)
		case "m.bridge": // which the room has from its beginning, too
			if !strings.Contains(rule, "invite") {
				t.Errorf("when the room was made, its rule was %s", rule)
			}
			return
		}
	}
	t.Error("the room does not say what it is")
}

// Who are the operators of a channel that is for those who are invited is told to those who are in it.
func TestOperatorsOfClosedChannelsAreNotTold(t *testing.T) {
	t.Parallel()
	h, _, bob, api := provisioned(t)
	room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	bob.Expect(":alice!", "JOIN", "#trestle")
	bob.Send("MODE #trestle +ik key")
	h.Wait(room, "the join rule", func(e fakehomeserver.Event) bool {
		return e.Type == "m.room.join_rules" && strings.Contains(string(e.Content), "invite")
	})
	link := map[string]string{"remote_room_server": "local", "remote_room_channel": "#trestle"}
	api.session(h, carol).refused("POST", "querylink", link, 403, "M_FORBIDDEN")
	if status, answer, _ := api.session(h, alice).call("POST", "querylink", link); status != 200 {
		t.Errorf("alice, who is there, is told %d %v", status, answer)
	}
	bob.Send("MODE #trestle -i")
	bob.Expect("MODE #trestle", "-i")
	stored(t, bob)
	api.session(h, carol).refused("POST", "querylink", link, 403, "M_FORBIDDEN")
	link["key"] = "key"
	if status, answer, _ := api.session(h, carol).call("POST", "querylink", link); status != 200 {
		t.Errorf("carol, who knows the key, is told %d %v", status, answer)
	}
}

// Nor are others told who read along where the bridge is one of many.
func TestOthersReadAlongInAnyRoom(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	bob.Join("#hidden")
	bob.Send("MODE #hidden +s")
	start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	join(t, h, alice, "alice", bob)
	if _, refusal := h.Join(alice, "#irc_local_#hidden:localhost"); refusal != "" {
		t.Fatal(refusal)
	}
	bob.Expect(":alice!", "JOIN", "#hidden")
	crowd := h.Direct(alice)
	h.WaitMembership(crowd, bot, "join")
	told(h, crowd, "Hello!")
	h.Register(carol, "carol")
	h.Member(crowd, carol, carol, "join", "")
	for command, shown := range map[string]string{"whois bob": "is @irc_local_bob:localhost", "cmd WHOIS bob": "127.0.0.1", "listrooms": "read along"} {
		h.Say(crowd, alice, command)
		text := h.Wait(crowd, "an answer", func(e fakehomeserver.Event) bool {
			return e.Sender == bot && isMessage(e) && strings.Contains(e.Body(), shown)
		}).Body()
		if strings.Contains(text, "#hidden") {
			t.Errorf("%s: carol reads %q", command, text)
		}
	}
}
