package stateres_test

import "testing"

// Versions of all algorithms, and of those that replay what authorizes events.
var (
	all   = []string{"1", "2", "6", "10", "11", "12"}
	from2 = all[1:]
)

// each runs a story in several room versions.
func each(t *testing.T, versions []string, story func(t *testing.T, begin *fork)) {
	t.Helper()
	for _, version := range versions {
		t.Run("v"+version, func(t *testing.T) { story(t, newHistory(t, version)) })
	}
}

func TestWithoutConflict(t *testing.T) {
	each(t, all, func(t *testing.T, begin *fork) {
		begin.topic("topic", bob)
		merged := merge(begin, begin.fork())
		expect(t, merged, "m.room.topic", "", "topic")
		if len(merged) != len(begin.state) {
			t.Errorf("%d entries have become %d", len(begin.state), len(merged))
		}
	})
}

// Where nothing else tells topics apart, the later one counts.
func TestLaterTopic(t *testing.T) {
	each(t, all, func(t *testing.T, begin *fork) {
		left, right := begin.fork(), begin.fork()
		left.topic("early", alice)
		right.topic("late", bob)
		expect(t, merge(left, right), "m.room.topic", "", "late")
	})
}

// A topic by newer power levels counts more than one with a later time.
func TestTopicByMainline(t *testing.T) {
	each(t, from2, func(t *testing.T, begin *fork) {
		left, right := begin.fork(), begin.fork()
		left.levels("newer", alice, `{"@bob:two.example":60}`)
		left.topic("newerlevels", alice)
		right.topic("later", alice)
		merged := merge(left, right)
		expect(t, merged, "m.room.topic", "", "newerlevels")
		expect(t, merged, "m.room.power_levels", "", "newer")
	})
}

// Alice takes Bob's power while he, elsewhere, uses it: she wins, although his
// events have later times.
func TestDemotion(t *testing.T) {
	each(t, all, func(t *testing.T, begin *fork) {
		begin.topic("before", alice)
		left, right := begin.fork(), begin.fork()
		left.levels("demotion", alice, `{}`)
		right.topic("bobs", bob)
		right.levels("promotion", bob, `{"@bob:two.example":50,"@carol:three.example":50}`)
		right.topic("carols", carol)
		merged := merge(left, right)
		expect(t, merged, "m.room.power_levels", "", "demotion")
		expect(t, merged, "m.room.topic", "", "before")
	})
}

// Two changes that don't exclude each other are made in the order of their
// times, so that the later one counts.
func TestLaterLevels(t *testing.T) {
	each(t, all, func(t *testing.T, begin *fork) {
		left, right := begin.fork(), begin.fork()
		left.levels("first", bob, `{"@bob:two.example":50,"@dave:three.example":1}`)
		right.levels("second", bob, `{"@bob:two.example":40}`)
		expect(t, merge(left, right), "m.room.power_levels", "", "second")
		expect(t, merge(right, left), "m.room.power_levels", "", "second")
	})
}

// Who is banned on one fork can't do anything on the other.
func TestBan(t *testing.T) {
	each(t, all, func(t *testing.T, begin *fork) {
		left, right := begin.fork(), begin.fork()
		left.member("ban", bob, carol, "ban")
		right.member("name", carol, carol, "join")
		right.send("rule", alice, "m.room.join_rules", "", `{"join_rule":"invite"}`)
		merged := merge(left, right)
		expect(t, merged, "m.room.member", carol, "ban")
		expect(t, merged, "m.room.join_rules", "", "rule")
	})
}

// The join slips in while the room is being closed.
func TestJoinRules(t *testing.T) {
	each(t, from2, func(t *testing.T, begin *fork) {
		left, right := begin.fork(), begin.fork()
		left.send("closed", alice, "m.room.join_rules", "", `{"join_rule":"invite"}`)
		right.member("evades", dave, dave, "join")
		merged := merge(left, right)
		expect(t, merged, "m.room.join_rules", "", "closed")
		expect(t, merged, "m.room.member", dave, "")
	})
}

// A moderator who was kicked can't have banned anybody meanwhile.
func TestKickedModerator(t *testing.T) {
	each(t, all, func(t *testing.T, begin *fork) {
		left, right := begin.fork(), begin.fork()
		right.member("ban", bob, carol, "ban")
		left.member("kick", alice, bob, "leave")
		merged := merge(left, right)
		expect(t, merged, "m.room.member", bob, "kick")
		expect(t, merged, "m.room.member", carol, "carol")
	})
}

func TestThreeForks(t *testing.T) {
	each(t, from2, func(t *testing.T, begin *fork) {
		one, two, three := begin.fork(), begin.fork(), begin.fork()
		one.member("ban", bob, carol, "ban")
		two.topic("topic", bob)
		three.levels("demotion", alice, `{}`)
		merged := merge(one, two, three)
		expect(t, merged, "m.room.power_levels", "", "demotion")
		expect(t, merged, "m.room.member", carol, "carol")
		expect(t, merged, "m.room.topic", "", "")
	})
}

// MSC4297, problem A: a server was told an old join rule, while everybody
// agrees that Alice, who set both, has left since. Before room version 12 the
// room is left without any join rule.
func TestOutdatedJoinRules(t *testing.T) {
	each(t, from2, func(t *testing.T, begin *fork) {
		begin.levels("admins", alice, `{"@bob:two.example":100}`)
		old := begin.state.Event("m.room.join_rules", "")
		begin.send("newer", alice, "m.room.join_rules", "", `{"join_rule":"invite"}`)
		begin.member("left", alice, alice, "leave")
		right := begin.fork()
		right.put(old)
		want := ""
		if begin.version.ID == "12" {
			want = "newer"
		}
		expect(t, merge(begin, right), "m.room.join_rules", "", want)
	})
}

// MSC4297, problem B: a server was told old power levels. Bob, whom Alice has
// promoted, has promoted Carol; both states know, by the topic, of Bob's
// promotion, so that it is in no conflict. Before room version 12 it isn't
// replayed either, and Carol's is lost.
func TestOutdatedPowerLevels(t *testing.T) {
	each(t, all, func(t *testing.T, begin *fork) {
		old := begin.state.Event("m.room.power_levels", "")
		begin.levels("bobs", alice, `{"@bob:two.example":90}`)
		begin.levels("carols", bob, `{"@bob:two.example":90,"@carol:three.example":80}`)
		begin.topic("topic", carol)
		right := begin.fork()
		right.put(old)
		want := "levels"
		if begin.version.ID == "12" {
			want = "carols"
		}
		expect(t, merge(begin, right), "m.room.power_levels", "", want)
	})
}

// In version 12 creators win, whatever the levels say.
func TestCreators(t *testing.T) {
	begin := newHistory(t, "12")
	begin.levels("high", alice, `{"@bob:two.example":9007199254740991,"@carol:three.example":50}`)
	left, right := begin.fork(), begin.fork()
	left.member("kicks", bob, carol, "leave")
	right.levels("demotion", alice, `{"@carol:three.example":50}`)
	merged := merge(left, right)
	expect(t, merged, "m.room.power_levels", "", "demotion")
	expect(t, merged, "m.room.member", carol, "carol")
}

// Version 1 takes for a conflict only what two states have and in two ways:
// Dave's join slips in while the room is being closed, and an old join rule
// comes back because nobody is there who could have set the newer one.
func TestVersionOne(t *testing.T) {
	begin := newHistory(t, "1")
	left, right := begin.fork(), begin.fork()
	left.send("closed", alice, "m.room.join_rules", "", `{"join_rule":"invite"}`)
	right.member("evades", dave, dave, "join")
	merged := merge(left, right)
	expect(t, merged, "m.room.join_rules", "", "closed")
	expect(t, merged, "m.room.member", dave, "evades")

	left.member("left", alice, alice, "leave")
	right.put(left.state.Event("m.room.member", alice))
	expect(t, merge(left, right), "m.room.join_rules", "", "public")
}
