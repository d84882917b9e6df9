package eventauth_test

import (
	"slices"
	"strings"
	"testing"

	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// Every version but 12 needs the create event as well.
func TestNeeded(t *testing.T) {
	const (
		power = "m.room.power_levels|"
		rules = "m.room.join_rules|"
		users = "m.room.member|"
	)
	tests := []struct {
		name, versions string
		event          ev
		want           []string
	}{
		{"message", "", message(bob, "m.room.message"), []string{power, users + bob}},
		{"state", "", state(bob, "m.room.topic", "", `{}`), []string{power, users + bob}},
		{"join", "", member(bob, bob, "join"), []string{power, users + bob, rules}},
		{"knock", "", member(bob, bob, "knock"), []string{power, users + bob, rules}},
		{"invite", "", member(bob, carol, "invite"), []string{power, users + bob, users + carol, rules}},
		{"leave", "", member(bob, bob, "leave"), []string{power, users + bob}},
		{"kick", "", member(bob, carol, "leave"), []string{power, users + bob, users + carol}},
		{"ban", "", member(bob, carol, "ban"), []string{power, users + bob, users + carol}},
		{"a membership without state key", "", message(bob, "m.room.member"), []string{power, users + bob}},
		{"third-party invite", "", state(bob, "m.room.member", carol, `{"membership":"invite","third_party_invite":{"signed":{"token":"t"}}}`),
			[]string{power, users + bob, users + carol, rules, "m.room.third_party_invite|t"}},
		{"third-party invite without token", "", state(bob, "m.room.member", carol, `{"membership":"invite","third_party_invite":1}`),
			[]string{power, users + bob, users + carol, rules}},
		{"third-party join", "", state(bob, "m.room.member", bob, `{"membership":"join","third_party_invite":{"signed":{"token":"t"}}}`),
			[]string{power, users + bob, rules}},
		{"restricted join", from8, state(bob, "m.room.member", bob, `{"membership":"join","join_authorised_via_users_server":"@carol:one.example"}`),
			[]string{power, users + bob, rules, users + carol}},
		{"restricted join by oneself", from8, state(bob, "m.room.member", bob, `{"membership":"join","join_authorised_via_users_server":"@bob:two.example"}`),
			[]string{power, users + bob, rules}},
		{"restricted join is not known", before8, state(bob, "m.room.member", bob, `{"membership":"join","join_authorised_via_users_server":"@carol:one.example"}`),
			[]string{power, users + bob, rules}},
		{"restricted leave", from8, state(bob, "m.room.member", bob, `{"membership":"leave","join_authorised_via_users_server":"@carol:one.example"}`),
			[]string{power, users + bob}},
	}
	for _, test := range tests {
		for _, version := range versions(test.versions) {
			t.Run(test.name+"/v"+version, func(t *testing.T) {
				r := newRoom(t, version)
				e := r.event(test.event)
				want := test.want
				if !r.version.RoomIDFromCreate {
					want = append([]string{"m.room.create|"}, want...)
				}
				if got := names(eventauth.Needed(e)); !slices.Equal(got, want) {
					t.Errorf("needed %v, want %v", got, want)
				}
				template := matrix.EventTemplate{Type: e.Type, Sender: e.Sender, StateKey: e.StateKey, Content: e.Content}
				if got := names(eventauth.NeededFor(r.version, template)); !slices.Equal(got, want) {
					t.Errorf("needed for the template %v, want %v", got, want)
				}
				if got := eventauth.Needed(r.create()); len(got) != 0 {
					t.Errorf("the create event needs %v", got)
				}
			})
		}
	}
}

func names(keys []eventauth.StateKey) []string {
	var names []string
	for _, key := range keys {
		names = append(names, key.Type+"|"+key.Key)
	}
	return names
}

func TestCheckAuthEvents(t *testing.T) {
	for _, version := range versions("") {
		t.Run("v"+version, func(t *testing.T) {
			r := newRoom(t, version)
			e := r.event(message(carol, "m.room.message"))
			var right []*matrix.Event
			for _, key := range eventauth.Needed(e) {
				right = append(right, r.state[key])
			}
			check := func(auth []*matrix.Event, rejected matrix.EventID, refused string) {
				t.Helper()
				err := eventauth.CheckAuthEvents(e, auth, func(id matrix.EventID) bool { return id == rejected })
				if refused == "" && err == nil {
					return
				}
				if err == nil || refused == "" || !strings.Contains(err.Error(), refused) {
					t.Errorf("error %v, want %q", err, refused)
				}
			}
			with := func(e *matrix.Event) []*matrix.Event { return append(slices.Clone(right), e) }
			check(right, "", "")
			check(with(right[0]), "", "by two events")
			check(with(r.event(member(carol, carol, "join"))), "", "by two events")
			check(with(r.event(member(bob, bob, "join"))), "", "has no say in it")
			check(with(r.state.Event("m.room.join_rules", "")), "", "has no say in it")
			check(with(r.event(message(carol, "m.room.message"))), "", "not a state event")
			check(right, right[1].ID, "was rejected")
			check(right[:len(right)-1], "", "")
			if r.version.RoomIDFromCreate {
				check(with(r.create()), "", "has no say in it")
			} else {
				check(right[1:], "", "does not refer to the m.room.create")
			}
			elsewhere := levels(alice, `{}`)
			elsewhere.roomID = "!other:one.example"
			for i, auth := range right {
				if auth.Type == "m.room.power_levels" {
					right[i] = r.event(elsewhere)
				}
			}
			check(right, "", "of another room")

			if err := eventauth.CheckAuthEvents(r.create(), nil, nil); err != nil {
				t.Errorf("create event: %v", err)
			}
		})
	}
}

func TestSigners(t *testing.T) {
	const one, two, three = matrix.ServerName("one.example"), matrix.ServerName("two.example"), matrix.ServerName("three.example")
	tests := []struct {
		name, versions string
		event          ev
		want           []matrix.ServerName
	}{
		{"a message", from3, message(bob, "m.room.message"), []matrix.ServerName{two}},
		// The server of the event ID, one.example here, has to sign as well.
		{"a message", before3, message(bob, "m.room.message"), []matrix.ServerName{two, one}},
		{"a message of the same server", before3, message(alice, "m.room.message"), []matrix.ServerName{one}},
		{"a third-party invite", from3, state(bob, "m.room.member", dave, `{"membership":"invite","third_party_invite":{}}`), nil},
		{"a third-party invite", before3, state(bob, "m.room.member", dave, `{"membership":"invite","third_party_invite":{}}`), []matrix.ServerName{one}},
		{"what only looks like one", from3, state(bob, "m.room.member", bob, `{"membership":"join","third_party_invite":{}}`), []matrix.ServerName{two}},
		{"a restricted join", from8, state(bob, "m.room.member", bob, `{"membership":"join","join_authorised_via_users_server":"@dave:three.example"}`), []matrix.ServerName{two, three}},
		{"a restricted join by a user of the same server", from8, state(carol, "m.room.member", carol, `{"membership":"join","join_authorised_via_users_server":"@alice:one.example"}`), []matrix.ServerName{one}},
		{"vouchers mean nothing", "3 4 5 6 7", state(bob, "m.room.member", bob, `{"membership":"join","join_authorised_via_users_server":"@dave:three.example"}`), []matrix.ServerName{two}},
	}
	for _, test := range tests {
		for _, version := range versions(test.versions) {
			t.Run(test.name+"/v"+version, func(t *testing.T) {
				got, err := eventauth.Signers(newRoom(t, version).event(test.event))
				if err != nil || !slices.Equal(got, test.want) {
					t.Errorf("signers are %v, %v; want %v", got, err, test.want)
				}
			})
		}
	}
	e := newRoom(t, "11").event(state(bob, "m.room.member", bob, `{"membership":"join","join_authorised_via_users_server":7}`))
	if got, err := eventauth.Signers(e); matrix.Code(err) != "M_FORBIDDEN" {
		t.Errorf("signers of a join that nobody can sign are %v, %v", got, err)
	}
}
