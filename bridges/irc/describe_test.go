package irc_test

import (
	"encoding/json"
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

const infoKey = "org.trestle.irc://local/%23trestle"

// A room says which channel it is, whatever the configuration becomes; and what somebody else
// makes of it does not last.
func TestRoomsSayWhatTheyAreBridgedTo(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	c := config(h, server.Addr, t.TempDir())
	_, stop := start(t, h, c)
	k := newTalk(t, h)
	h.Register(alice, "alice")
	room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	type part struct {
		ID     string `json:"id"`
		Name   string `json:"displayname"`
		Avatar string `json:"avatar_url"`
		URL    string `json:"external_url"`
	}
	type info struct {
		Bot      string `json:"bridgebot"`
		Creator  string `json:"creator"`
		Protocol part   `json:"protocol"`
		Network  part   `json:"network"`
		Channel  part   `json:"channel"`
	}
	wait := func(room, key string, want info) {
		t.Helper()
		for _, kind := range []string{"m.bridge", "uk.half-shot.bridge"} {
			var is info
			eventually(t, kind+" of "+room, func() bool {
				is = info{}
				return json.Unmarshal([]byte(h.State(room, kind, key)), &is) == nil && is == want
			})
		}
	}
	want := info{
		Bot: bot, Protocol: part{ID: "irc", Name: "IRC"}, Network: part{ID: "local", Name: "Local"}, Channel: part{ID: "#trestle", Name: "#trestle"},
	}
	wait(room, infoKey, want)
	k.says("join #Garden")
	k.hears("You are invited")
	garden := want
	garden.Creator, garden.Channel = alice, part{ID: "#garden", Name: "#Garden"}
	wait(h.Resolve("#irc_local_#garden:localhost"), "org.trestle.irc://local/%23garden", garden)
	if n := len(h.Events(room, func(e fakehomeserver.Event) bool { return e.Type == "m.bridge" })); n != 1 {
		t.Errorf("it was said %d times", n)
	}

	stop()
	c.Networks[0].Name, c.Networks[0].Icon = "Village", "mxc://localhost/village"
	_, stop = start(t, h, c)
	want.Network = part{ID: "local", Name: "Village", Avatar: "mxc://localhost/village"}
	wait(room, infoKey, want)
	stop()
	_, stop = start(t, h, c)
	h.Say(k.room, alice, "help")
	k.hears("Commands")
	if n := len(h.Events(room, func(e fakehomeserver.Event) bool { return e.Type == "m.bridge" })); n != 2 {
		t.Errorf("it was said %d times", n)
	}
	stop()

	// The network is not bridged any more.
	c.Networks[0].ID, c.Networks[0].Addr = "other", server.Addr
	start(t, h, c)
	wait(room, infoKey, info{})
}
