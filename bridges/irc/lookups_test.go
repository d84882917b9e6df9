package irc_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
)

// found are the users or aliases of a look-up, with a field of each.
func found(t *testing.T, h *fakehomeserver.Homeserver, path string, query url.Values, field string) (list []string) {
	t.Helper()
	status, body := h.Look("/_matrix/app/v1/thirdparty/" + path + "?" + query.Encode())
	var answers []struct {
		UserID, Alias, Protocol string
		Fields                  map[string]string
	}
	if err := json.Unmarshal([]byte(body), &answers); err != nil || status != 200 {
		t.Fatalf("%s: %d %s", path, status, body)
	}
	for _, a := range answers {
		if a.Protocol != "irc" {
			t.Errorf("%s: %s", path, body)
		}
		list = append(list, a.UserID+a.Alias+" "+a.Fields["network"]+" "+a.Fields[field])
	}
	return list
}

// A channel can be spelt in endless ways, and nobody needs an account to ask for them.
func TestEndlessSpellings(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	room := asksFor(t, h, "#trestle")
	led := 0
	for i := range 1 << 6 {
		name := []byte("#trestle")
		for letter := range 6 {
			if i>>letter&1 == 1 {
				name[letter+1] -= 'a' - 'A'
			}
		}
		alias := "#irc_local_" + string(name) + ":localhost"
		status, body := h.Look("/_matrix/app/v1/rooms/" + url.PathEscape(alias))
		switch {
		case status == 200 && h.Resolve(alias) == room:
			led++
		case status != 404 || !strings.Contains(body, "#irc_local_#trestle:localhost"):
			t.Errorf("%s: %d %s", alias, status, body)
		}
	}
	if led < 10 || led > 40 {
		t.Errorf("%d spellings lead to the room", led)
	}
}

// Nor do they have endless virtual users come to be, by looking at the profiles of those who could be.
func TestEndlessNicksAreFewUsers(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	start(t, h, config(h, server.Addr, t.TempDir()))
	bob.Expect(":trestle!", "JOIN")
	ask := func(nick string) int {
		status, _ := h.Look("/_matrix/app/v1/users/" + url.PathEscape(ghost(nick)))
		return status
	}
	made := 0
	for i := range 2000 {
		switch status := ask(fmt.Sprint("nobody", i)); status {
		case 200:
			made++
		case 429:
		default:
			t.Fatalf("status %d", status)
		}
	}
	if made < 100 || made > 1000 {
		t.Errorf("%d virtual users have come to be", made)
	}
	if status := ask("nobody0"); status != 200 {
		t.Errorf("one who exists: %d", status)
	}
	h.Register(alice, "alice")
	room, refusal := h.Join(alice, "#irc_local_#trestle:localhost")
	if refusal != "" {
		t.Fatal(refusal)
	}
	h.WaitMembership(room, ghost("bob"), "join")
}

func TestLookUps(t *testing.T) {
	t.Parallel()
	h, server := fakehomeserver.New(t), testkit.Ngircd(t, testkit.IRCOptions{})
	c := config(h, server.Addr, t.TempDir())
	second := c.Networks[0]
	second.ID, second.Name, second.Icon, second.BotNick = "other", "The other", "mxc://localhost/other", "second"
	c.Networks[0].Mappings = []irc.Mapping{{Channel: "#club", Alias: "#club:localhost"}}
	c.Networks[0].Channels = []string{"#club"}
	c.Networks = append(c.Networks, second)
	bob := testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#club")
	start(t, h, c)
	bob.Expect(":trestle!", "JOIN", "#club")

	status, body := h.Look("/_matrix/app/v1/thirdparty/protocol/irc")
	var p struct {
		UserFields     []string                                        `json:"user_fields"`
		LocationFields []string                                        `json:"location_fields"`
		Types          map[string]struct{ Regexp, Placeholder string } `json:"field_types"`
		Instances      []struct {
			NetworkID string `json:"network_id"`
			Desc      string
			Icon      string
			Fields    map[string]string
		}
	}
	if err := json.Unmarshal([]byte(body), &p); err != nil || status != 200 || len(p.Instances) != 2 {
		t.Fatalf("%d %s", status, body)
	}
	if i := p.Instances[1]; i.NetworkID != "other" || i.Desc != "The other" || i.Icon != "mxc://localhost/other" || i.Fields["network"] != "other" {
		t.Errorf("the second network is %+v", i)
	}
	for _, field := range append(p.UserFields, p.LocationFields...) {
		if p.Types[field].Regexp == "" {
			t.Errorf("nobody says what a %s is", field)
		}
	}
	if status, _ := h.Look("/_matrix/app/v1/thirdparty/protocol/xmpp"); status != 404 {
		t.Errorf("xmpp: %d", status)
	}
	eventually(t, "an alias that the operator has given", func() bool {
		return len(found(t, h, "location", url.Values{"alias": {"#club:localhost"}}, "channel")) == 1
	})
	for _, tt := range []struct {
		path  string
		query url.Values
		field string
		want  []string
	}{
		{"user/irc", url.Values{"network": {"local"}, "nickname": {"Bob"}}, "nickname", []string{"@irc_local_bob:localhost local Bob"}},
		{"user/irc", url.Values{"nickname": {"bob"}}, "nickname", []string{"@irc_local_bob:localhost local bob", "@irc_other_bob:localhost other bob"}},
		{"user/irc", url.Values{"nickname": {"bob smith"}}, "nickname", nil},
		{"user/irc", url.Values{"network": {"nowhere"}, "nickname": {"bob"}}, "nickname", nil},
		{"user/irc", url.Values{}, "nickname", nil},
		{"user/xmpp", url.Values{"nickname": {"bob"}}, "nickname", nil},
		{"location/irc", url.Values{"network": {"Local"}, "channel": {"#Tea"}}, "channel", []string{"#irc_local_#tea:localhost local #Tea"}},
		{"location/irc", url.Values{"network": {"other"}, "channel": {"tea"}}, "channel", []string{"#irc_other_#tea:localhost other #tea"}},
		{"location/irc", url.Values{"network": {"local"}, "channel": {"#club"}}, "channel", []string{"#irc_local_#club:localhost local #club", "#club:localhost local #club"}},
		{"location/irc", url.Values{"channel": {"#a,#b"}}, "channel", nil},
		{"location/irc", url.Values{}, "channel", nil},
		{"user", url.Values{"userid": {"@irc_other_bob:localhost"}}, "nickname", []string{"@irc_other_bob:localhost other bob"}},
		{"user", url.Values{"userid": {"@irc_other_bob:elsewhere"}}, "nickname", nil},
		{"user", url.Values{"userid": {alice}}, "nickname", nil},
		{"location", url.Values{"alias": {"#irc_local_#tea:localhost"}}, "channel", []string{"#irc_local_#tea:localhost local #tea"}},
		{"location", url.Values{"alias": {"#club:localhost"}}, "channel", []string{"#club:localhost local #club"}},
		{"location", url.Values{"alias": {"#tea:localhost"}}, "channel", nil},
	} {
		if list := found(t, h, tt.path, tt.query, tt.field); !slices.Equal(list, tt.want) {
			t.Errorf("%s %v: %q, want %q", tt.path, tt.query, list, tt.want)
		}
	}
	// What operators have said of a channel tells that there is one; of a secret one, nobody hears it.
	bob.Send("MODE #club +s")
	eventually(t, "the secret channel in no list", func() bool {
		return len(found(t, h, "location", url.Values{"alias": {"#club:localhost"}}, "channel")) == 0
	})
	if list := found(t, h, "location/irc", url.Values{"network": {"local"}, "channel": {"#club"}}, "channel"); len(list) != 1 {
		t.Errorf("a secret channel is %q", list)
	}
}

// The moment a channel is secret, its room is out of the directory: before anything else reaches the
// room, and though somebody there holds everything else up.
func TestSecretChannelsAreInNoList(t *testing.T) {
	t.Parallel()
	servers(t, func(t *testing.T, h *fakehomeserver.Homeserver, server *testkit.IRCServer) {
		bob := testkit.DialIRC(t, server.Addr, "bob")
		bob.Join("#trestle")
		bob.Join("#secret")
		bob.Send("MODE #secret +s")
		bob.Expect("MODE #secret", "+s")
		c := config(h, server.Addr, t.TempDir())
		c.Networks[0].Published, c.Networks[0].History = true, irc.HistoryJoined
		_, stop := start(t, h, c)
		bob.Expect(":trestle!", "JOIN")
		room := join(t, h, alice, "alice", bob)
		if !h.Listed(room) {
			t.Error("the room is not listed")
		}
		secret, refusal := h.Join(alice, "#irc_local_#secret:localhost")
		if refusal != "" {
			t.Fatal(refusal)
		}
		if h.Listed(secret) {
			t.Error("a secret channel's room is listed")
		}
		// Carol is in the room and not in the channel: nothing is told there until she goes.
		bob.Send("MODE #trestle +b carol!*@*")
		bob.Expect("MODE #trestle", "+b")
		h.FailKicks(room)
		h.Register(carol, "carol")
		h.Member(room, carol, carol, "join", "")
		bob.Say("#trestle", "held")
		bob.Send("MODE #trestle +s")
		eventually(t, "a room in no list", func() bool { return !h.Listed(room) })
		if told := h.Events(room, func(e fakehomeserver.Event) bool { return e.Body() == "held" }); len(told) > 0 {
			t.Error("the room was not held up")
		}
		bob.Send("MODE #trestle -s")
		eventually(t, "a room in the list", func() bool { return h.Listed(room) })
		bob.Send("MODE #trestle +s")
		eventually(t, "a room in no list", func() bool { return !h.Listed(room) })
		stop()
		bob.Send("MODE #trestle -s")
		start(t, h, c)
		eventually(t, "a room in the list", func() bool { return h.Listed(room) })
		if h.Listed(secret) {
			t.Error("a secret channel's room is listed")
		}
	})
}
