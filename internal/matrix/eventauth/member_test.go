package eventauth_test

import "testing"

func TestFirstJoin(t *testing.T) {
	for _, version := range versions("") {
		t.Run("v"+version, func(t *testing.T) {
			r := newEmptyRoom(t, version, `{"creator":"@alice:one.example","additional_creators":["@bob:two.example"]}`)
			first := func(user string) ev {
				join := member(user, user, "join")
				join.prev = []string{string(r.create().ID)}
				return join
			}
			r.check(r.event(first(alice)), "")
			r.check(r.event(first(bob)), "is not invited")
			r.check(r.event(member(alice, alice, "join")), "is not invited")

			second := first(alice)
			second.prev = append(second.prev, previous)
			r.check(r.event(second), "is not invited")
		})
	}
}

// Before room version 11, the creator is whom the content names.
func TestCreatorInContent(t *testing.T) {
	for _, version := range versions("") {
		t.Run("v"+version, func(t *testing.T) {
			r := newEmptyRoom(t, version, `{"creator":"@carol:one.example"}`)
			join := member(carol, carol, "join")
			join.prev = []string{string(r.create().ID)}
			if r.version.CreatorFromSender {
				r.check(r.event(join), "is not invited")
			} else {
				r.check(r.event(join), "")
			}
		})
	}
}

func TestJoin(t *testing.T) {
	join := func(user string) ev { return member(user, user, "join") }
	via := func(user, voucher string) ev {
		return state(user, "m.room.member", user, `{"membership":"join","join_authorised_via_users_server":"`+voucher+`"}`)
	}
	invited := member(bob, dave, "invite")
	checkRules(t, []rule{
		{name: "for somebody else", given: []ev{joinRule("public")}, event: member(alice, dave, "join"), refused: "can't join for"},
		{name: "public", given: []ev{joinRule("public")}, event: join(dave)},
		{name: "public, banned", given: []ev{joinRule("public"), member(bob, dave, "ban")}, event: join(dave), refused: "is banned"},
		{name: "public, having left", given: []ev{joinRule("public"), member(dave, dave, "leave")}, event: join(dave)},
		{name: "public, having knocked", given: []ev{joinRule("public"), member(dave, dave, "knock")}, event: join(dave)},
		{name: "invite, not invited", given: []ev{joinRule("invite")}, event: join(dave), refused: "is not invited"},
		{name: "invite, invited", given: []ev{joinRule("invite"), invited}, event: join(dave)},
		{name: "invite, joined: a new name", given: []ev{joinRule("invite")}, event: join(carol)},
		{name: "invite, having knocked", given: []ev{member(dave, dave, "knock")}, event: join(dave), refused: "is not invited"},
		{name: "a rule without a name is invite", given: []ev{state(alice, "m.room.join_rules", "", `{}`), invited}, event: join(dave)},
		{name: "a rule that nobody knows", given: []ev{joinRule("private"), invited}, event: join(dave), refused: "Nobody can join"},
		{name: "a rule that is no string", given: []ev{state(alice, "m.room.join_rules", "", `{"join_rule":1}`), invited}, event: join(dave), refused: "Nobody can join"},
		{name: "the rule's name in another case is no rule", given: []ev{state(alice, "m.room.join_rules", "", `{"Join_Rule":"public"}`)}, event: join(dave), refused: "is not invited"},

		{name: "knock, invited", versions: from7, given: []ev{joinRule("knock"), invited}, event: join(dave)},
		{name: "knock, having knocked", versions: from7, given: []ev{joinRule("knock"), member(dave, dave, "knock")}, event: join(dave), refused: "is not invited"},
		{name: "knock is not known", versions: before7, given: []ev{joinRule("knock"), invited}, event: join(dave), refused: "Nobody can join"},

		{name: "restricted, invited", versions: from8, given: []ev{joinRule("restricted"), invited}, event: join(dave)},
		{name: "restricted, joined", versions: from8, given: []ev{joinRule("restricted")}, event: join(carol)},
		{name: "restricted, nobody vouches", versions: from8, given: []ev{joinRule("restricted")}, event: join(dave), refused: "has vouched"},
		{name: "restricted, a member vouches", versions: from8, given: []ev{joinRule("restricted")}, event: via(dave, carol)},
		{name: "restricted, a stranger vouches", versions: from8, given: []ev{joinRule("restricted")}, event: via(dave, erin), refused: "is not in this room"},
		{name: "restricted, the member may not invite", versions: from8, given: []ev{joinRule("restricted"), levels(alice, `{"invite":10}`)},
			event: via(dave, carol), refused: "needs 10 to vouch"},
		{name: "restricted, banned", versions: from8, given: []ev{joinRule("restricted"), member(bob, dave, "ban")}, event: via(dave, carol), refused: "is banned"},
		{name: "restricted, a moderator vouches", versions: from8, given: []ev{joinRule("restricted"), levels(alice, `{"invite":10,"users":{"@bob:two.example":50}}`)},
			event: via(dave, bob)},
		{name: "restricted, who vouches is not a user", versions: from8, given: []ev{joinRule("restricted")}, event: via(dave, "carol"), refused: "is not a user ID"},
		{name: "a voucher that is no user spoils any membership", versions: from8, given: []ev{joinRule("public")}, event: via(dave, ""), refused: "is not a user ID"},
		{name: "vouchers mean nothing", versions: before8, given: []ev{joinRule("public")}, event: via(dave, "")},
		{name: "restricted is not known", versions: before8, given: []ev{joinRule("restricted"), invited}, event: via(dave, carol), refused: "Nobody can join"},
		{name: "knock_restricted, a member vouches", versions: from10, given: []ev{joinRule("knock_restricted")}, event: via(dave, carol)},
		{name: "knock_restricted, nobody vouches", versions: from10, given: []ev{joinRule("knock_restricted")}, event: join(dave), refused: "has vouched"},
		{name: "knock_restricted is not known", versions: before10, given: []ev{joinRule("knock_restricted"), invited}, event: via(dave, carol), refused: "Nobody can join"},
	})
}

func TestKnock(t *testing.T) {
	knock := func(user string) ev { return member(user, user, "knock") }
	checkRules(t, []rule{
		{name: "knock", versions: from7, given: []ev{joinRule("knock")}, event: knock(dave)},
		{name: "knock again", versions: from7, given: []ev{joinRule("knock"), knock(dave)}, event: knock(dave)},
		{name: "knock after leaving", versions: from7, given: []ev{joinRule("knock"), member(dave, dave, "leave")}, event: knock(dave)},
		{name: "for somebody else", versions: from7, given: []ev{joinRule("knock")}, event: member(alice, dave, "knock"), refused: "can't knock for"},
		{name: "banned", versions: from7, given: []ev{joinRule("knock"), member(bob, dave, "ban")}, event: knock(dave), refused: "is banned"},
		{name: "invited", versions: from7, given: []ev{joinRule("knock"), member(bob, dave, "invite")}, event: knock(dave), refused: "is invited"},
		{name: "joined", versions: from7, given: []ev{joinRule("knock")}, event: knock(carol), refused: "already"},
		{name: "public", versions: from7, given: []ev{joinRule("public")}, event: knock(dave), refused: "Nobody can knock"},
		{name: "invite", versions: from7, given: []ev{joinRule("invite")}, event: knock(dave), refused: "Nobody can knock"},
		{name: "restricted", versions: from8, given: []ev{joinRule("restricted")}, event: knock(dave), refused: "Nobody can knock"},
		{name: "knock_restricted", versions: from10, given: []ev{joinRule("knock_restricted")}, event: knock(dave)},
		{name: "knock_restricted", versions: "7 8 9", given: []ev{joinRule("knock_restricted")}, event: knock(dave), refused: "Nobody can knock"},
		{name: "not known", versions: before7, given: []ev{joinRule("knock")}, event: knock(dave), refused: "is not a membership"},
	})
}

func TestInvite(t *testing.T) {
	checkRules(t, []rule{
		{name: "by a member", event: member(carol, dave, "invite")},
		{name: "again", given: []ev{member(bob, dave, "invite")}, event: member(carol, dave, "invite")},
		{name: "of somebody who knocks", given: []ev{member(dave, dave, "knock")}, event: member(carol, dave, "invite")},
		{name: "of somebody who has left", given: []ev{member(dave, dave, "leave")}, event: member(carol, dave, "invite")},
		{name: "by a stranger", event: member(erin, dave, "invite"), refused: "is not in this room"},
		{name: "by somebody invited", given: []ev{member(bob, erin, "invite")}, event: member(erin, dave, "invite"), refused: "is not in this room"},
		{name: "of a member", event: member(bob, carol, "invite"), refused: "already"},
		{name: "of oneself", event: member(bob, bob, "invite"), refused: "already"},
		{name: "of somebody banned", given: []ev{member(alice, dave, "ban")}, event: member(bob, dave, "invite"), refused: "is banned"},
		{name: "without the level", given: []ev{levels(alice, `{"invite":1}`)}, event: member(carol, dave, "invite"), refused: "needs 1 to invite"},
	})
}

func TestLeave(t *testing.T) {
	checkRules(t, []rule{
		{name: "a member leaves", event: member(carol, carol, "leave")},
		{name: "an invite is declined", given: []ev{member(bob, dave, "invite")}, event: member(dave, dave, "leave")},
		{name: "a knock is taken back", versions: from7, given: []ev{member(dave, dave, "knock")}, event: member(dave, dave, "leave")},
		{name: "a knock is not known", versions: before7, given: []ev{member(dave, dave, "knock")}, event: member(dave, dave, "leave"), refused: "is not in this room"},
		{name: "a stranger leaves", event: member(dave, dave, "leave"), refused: "is not in this room"},
		{name: "who has left leaves again", given: []ev{member(dave, dave, "leave")}, event: member(dave, dave, "leave"), refused: "is not in this room"},
		{name: "who is banned leaves", given: []ev{member(bob, carol, "ban")}, event: member(carol, carol, "leave"), refused: "is banned"},
		{name: "a moderator kicks", event: member(bob, carol, "leave")},
		{name: "a moderator takes an invite back", given: []ev{member(carol, dave, "invite")}, event: member(bob, dave, "leave")},
		{name: "who has left kicks", given: []ev{member(bob, bob, "leave")}, event: member(bob, carol, "leave"), refused: "is not in this room"},
		{name: "a member kicks", event: member(carol, dave, "leave"), refused: "needs 50 to remove"},
		{name: "a moderator kicks the admin", event: member(bob, alice, "leave"), refused: "as much power"},
		{name: "a moderator kicks a moderator", given: []ev{levels(alice, `{"users":{"@bob:two.example":50,"@carol:one.example":50}}`)},
			event: member(bob, carol, "leave"), refused: "as much power"},
		{name: "a moderator unbans", given: []ev{member(alice, carol, "ban")}, event: member(bob, carol, "leave")},
		{name: "unbanning needs the ban level", given: []ev{levels(alice, `{"ban":60,"users":{"@bob:two.example":50}}`), member(alice, carol, "ban")},
			event: member(bob, carol, "leave"), refused: "needs 60 to unban"},
		{name: "unbanning needs the kick level too", given: []ev{levels(alice, `{"kick":60,"users":{"@bob:two.example":50}}`), member(alice, carol, "ban")},
			event: member(bob, carol, "leave"), refused: "needs 60 to remove"},
		{name: "unbanning needs more power than the banned has", given: []ev{levels(alice, `{"users":{"@bob:two.example":50,"@carol:one.example":50}}`), member(alice, carol, "ban")},
			event: member(bob, carol, "leave"), refused: "as much power"},
	})
}

func TestBan(t *testing.T) {
	checkRules(t, []rule{
		{name: "of a member", event: member(bob, carol, "ban")},
		{name: "of a stranger", event: member(bob, dave, "ban")},
		{name: "by a member", event: member(carol, dave, "ban"), refused: "needs 50 to ban"},
		{name: "by a stranger", event: member(dave, carol, "ban"), refused: "is not in this room"},
		{name: "of the admin", event: member(bob, alice, "ban"), refused: "as much power"},
		{name: "of oneself", event: member(bob, bob, "ban"), refused: "as much power"},
		{name: "with a level of its own", given: []ev{levels(alice, `{"ban":60,"users":{"@bob:two.example":50}}`)}, event: member(bob, carol, "ban"), refused: "needs 60 to ban"},
	})
}

func TestMembershipsThatAreNone(t *testing.T) {
	checkRules(t, []rule{
		{name: "no state key", event: message(bob, "m.room.member"), refused: "needs a state key"},
		{name: "no membership", event: state(bob, "m.room.member", bob, `{}`), refused: "is not a membership"},
		{name: "a number", event: state(bob, "m.room.member", bob, `{"membership":1}`), refused: "is not a membership"},
		{name: "an unknown one", event: member(bob, bob, "dance"), refused: "is not a membership"},
		{name: "in another case", event: state(bob, "m.room.member", bob, `{"Membership":"join"}`), refused: "is not a membership"},
	})
}

// Creators of version 12 stand above everybody, each other excepted.
func TestCreators(t *testing.T) {
	r := newEmptyRoom(t, "12", `{"additional_creators":["@bob:two.example"]}`)
	r.put(
		member(alice, alice, "join"), member(bob, bob, "join"), member(carol, carol, "join"), joinRule("public"),
		levels(alice, `{"users":{"@carol:one.example":9007199254740991},"ban":9007199254740991,"state_default":9007199254740991}`),
	)
	r.check(r.event(member(bob, carol, "ban")), "")
	r.check(r.event(state(bob, "m.room.name", "", `{}`)), "")
	r.check(r.event(member(carol, bob, "leave")), "as much power")
	r.check(r.event(member(alice, bob, "leave")), "as much power")
	r.check(r.event(member(bob, alice, "ban")), "as much power")
	r.check(r.event(levels(bob, `{"users":{"@carol:one.example":0}}`)), "")
}
