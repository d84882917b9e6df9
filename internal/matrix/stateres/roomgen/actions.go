package roomgen

import (
	"fmt"

	"trestle/internal/matrix"
)

// anything is what somebody tries to do next. Powerful people are more active,
// or too little would be allowed.
func (r *Room) anything() matrix.EventTemplate {
	who := r.anyone()
	if r.chance(2) {
		who = pick(r, Alice, Bob)
	}
	switch r.rand.IntN(12) {
	case 0:
		return r.template(who, "m.room.message", nil, map[string]any{"body": "hello"})
	case 1:
		return r.template(who, "m.room.topic", key(""), map[string]any{"topic": fmt.Sprint(r.rand.IntN(1000))})
	case 2:
		return r.template(who, "org.example.own", key(r.anyone()), map[string]any{})
	case 3, 4:
		return r.template(who, "m.room.power_levels", key(""), r.levels())
	case 5:
		rule := pick(r, "public", "public", "invite", "knock", "restricted", "knock_restricted", "private")
		return r.template(who, "m.room.join_rules", key(""), map[string]any{"join_rule": rule})
	case 6:
		return r.ownMembership(who)
	case 7, 8:
		// Whoever is on the way in keeps the room alive.
		who = pick(r, Bob, Carol, Dave, Erin)
		return r.template(who, "m.room.member", key(who), membership("join"))
	default:
		return r.template(who, "m.room.member", key(r.anyone()), membership(pick(r, "invite", "leave", "leave", "ban", "join")))
	}
}

func (r *Room) ownMembership(who matrix.UserID) matrix.EventTemplate {
	content := membership(pick(r, "join", "leave", "knock", "invite", "ban", "dance"))
	if r.chance(3) {
		content = membership("join")
		content["join_authorised_via_users_server"] = r.anyone()
	}
	if r.chance(4) {
		content["displayname"] = fmt.Sprint("name ", r.rand.IntN(100))
	}
	return r.template(who, "m.room.member", key(who), content)
}

// levels are new power levels. Mostly they change little of what is there,
// as people do.
func (r *Room) levels() map[string]any {
	users := map[matrix.UserID]any{}
	for _, user := range people {
		if !r.Version.PrivilegedCreators || user != Alice || r.chance(20) {
			users[user] = r.level()
		}
	}
	if r.chance(2) && !r.Version.PrivilegedCreators {
		users[Alice] = 100
	}
	for range r.rand.IntN(4) {
		delete(users, pick(r, people[1:]...))
	}
	content := map[string]any{"users": users}
	for _, name := range []string{"users_default", "events_default", "state_default", "ban", "kick", "redact", "invite"} {
		if r.chance(10) {
			content[name] = r.level()
		}
	}
	if r.chance(6) {
		content["events"] = map[string]any{"m.room.topic": r.level(), "m.room.power_levels": r.level()}
	}
	if r.chance(6) {
		content["notifications"] = map[string]any{"room": r.level()}
	}
	return content
}

// level is a power level, or now and then what only looks like one.
func (r *Room) level() any {
	if r.chance(60) {
		return pick[any](r, "50", nil, "much", []int{})
	}
	return pick(r, 0, 0, 25, 50, 50, 75, 100)
}
