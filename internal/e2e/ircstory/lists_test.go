package ircstory_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"

	"trestle/internal/testkit"
)

// asks makes a request and returns the answer's text.
func (p *person) asks(method, path string, query url.Values, body any) string {
	p.t.Helper()
	var answer json.RawMessage
	target := p.HomeserverURL.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	if _, err := p.MakeRequest(p.t.Context(), method, target, body, &answer); err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
	return string(answer)
}

// lists are what carol, who is in no room, can see of rooms.
func (p *person) lists() map[string]string {
	const rooms = "/_matrix/client/v3/publicRooms"
	lists := map[string]string{"public rooms": p.asks(http.MethodGet, rooms, nil, nil)}
	for name, body := range map[string]any{
		"public rooms, searched":     map[string]any{"filter": map[string]string{"generic_search_term": "trestle"}},
		"public rooms, all networks": map[string]any{"include_all_networks": true},
		"public rooms, of IRC":       map[string]any{"third_party_instance_id": "irc|local"},
	} {
		lists[name] = p.asks(http.MethodPost, rooms, nil, body)
	}
	return lists
}

// What clients can look up of IRC, and what they cannot.
func TestListsAndLookUps(t *testing.T) {
	irc := testkit.Ngircd(t, testkit.IRCOptions{})
	testkit.Databases(t, func(t *testing.T, database string) {
		options := testkit.TrestleOptions{}
		if strings.Contains(database, "://") {
			options.Database = database
		}
		bob := testkit.DialIRC(t, irc.Addr, "bob")
		bob.Join("#trestle")
		bob.Send("MODE #trestle -s")
		trestle := startWith(t, options, fmt.Sprintf(`
        address: %s
        history: joined
        published: true`, irc.Addr))
		bob.Expect(":trestle!", "JOIN")
		alice, carol := newPerson(t, trestle, "alice"), newPerson(t, trestle, "carol")
		alice.joins(alias)
		bob.Expect(":alice", "JOIN")
		bob.Say("#trestle", "hello")
		alice.hears(ghost, "m.text", "hello")
		if list := carol.lists()["public rooms"]; !strings.Contains(list, string(alice.room)) {
			t.Errorf("the room is not in %s", list)
		}
		bob.Send("MODE #trestle +s")
		deadline := time.Now().Add(patience)
		for name, list := range carol.lists() {
			for strings.Contains(list, string(alice.room)) {
				if time.Now().After(deadline) {
					t.Fatalf("a secret channel is in the %s: %s", name, list)
				}
				list = carol.lists()[name]
			}
		}
		trestle.Restart() // and stays out
		for name, list := range carol.lists() {
			if strings.Contains(list, string(alice.room)) {
				t.Errorf("a secret channel is in the %s: %s", name, list)
			}
		}

		// Virtual users are in no directory, not even for who is in a room with them.
		for _, person := range []*person{alice, carol} {
			found, err := person.SearchUserDirectory(t.Context(), "bob", 10)
			if err != nil || len(found.Results) > 0 {
				t.Errorf("%s finds %+v, %v", person.UserID, found, err)
			}
		}
		if found, err := alice.SearchUserDirectory(t.Context(), "irc_local", 10); err != nil || len(found.Results) > 0 {
			t.Errorf("alice finds %+v, %v", found, err)
		}
		lookUps(t, carol)
	})
}

func lookUps(t *testing.T, carol *person) {
	t.Helper()
	const path = "/_matrix/client/v3/thirdparty/"
	for _, tt := range []struct {
		path  string
		query url.Values
		want  []string
	}{
		{"protocols", nil, []string{`"irc":`, `"instance_id":"irc|local"`, `"network_id":"local"`}},
		{"protocol/irc", nil, []string{`"user_fields":["network","nickname"]`, `"location_fields":["network","channel"]`, `"placeholder"`}},
		{"user/irc", url.Values{"nickname": {"bob"}}, []string{`"userid":"@irc_local_bob:localhost"`}},
		{"location/irc", url.Values{"channel": {"#trestle"}}, []string{`"alias":"#irc_local_#trestle:localhost"`}},
		{"location/irc", url.Values{"channel": {"#nobody-was-ever-here"}}, []string{`"alias":"#irc_local_#nobody-was-ever-here:localhost"`}},
		{"user", url.Values{"userid": {"@irc_local_bob:localhost"}}, []string{`"nickname":"bob"`, `"network":"local"`}},
		{"location", url.Values{"alias": {alias}}, []string{`"channel":"#trestle"`, `"network":"local"`}},
	} {
		answer := carol.asks(http.MethodGet, path+tt.path, tt.query, nil)
		for _, want := range tt.want {
			if !strings.Contains(answer, want) {
				t.Errorf("%s %v: %s is not in %s", tt.path, tt.query, want, answer)
			}
		}
	}
	if _, err := carol.MakeRequest(t.Context(), http.MethodGet, carol.HomeserverURL.String()+path+"protocol/gopher", nil, nil); !errors.Is(err, mautrix.MNotFound) {
		t.Errorf("a protocol that nobody has: %v", err)
	}
}
