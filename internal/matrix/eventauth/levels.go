package eventauth

import (
	"math"

	"trestle/internal/matrix"
)

// CreatorLevel is the power level of the creators of a room from room version
// 12 on: infinite, above every level that an event can name.
const CreatorLevel = math.MaxInt64

// creatorDefault is the creator's level in older rooms, as long as there are
// no power levels.
const creatorDefault = 100

// PowerLevels are what everybody in a room may do, out of its create event
// and its power levels event. They are immutable, and worth keeping as long
// as those two events are current.
type PowerLevels struct {
	create   *matrix.Event
	creators []matrix.UserID
	federate bool // the room is open to other servers
	present  bool // there is a power levels event
	levels
}

// PowerLevelsOf reads the power levels of a room; pl is nil if it has none. A
// value that can't be read counts as absent: such an event can't become
// part of a room's state, except in versions that never checked.
func PowerLevelsOf(create, pl *matrix.Event) *PowerLevels {
	p := &PowerLevels{create: create, present: pl != nil}
	if create != nil {
		p.creators = Creators(create)
		p.federate = string(members(create.Content)["m.federate"]) != "false"
	}
	if pl != nil {
		p.levels, _ = parseLevels(pl)
	}
	return p
}

// User is the power level of a user.
func (p *PowerLevels) User(user matrix.UserID) int64 {
	if p.create != nil && p.create.Version.PrivilegedCreators {
		if p.IsCreator(user) {
			return CreatorLevel
		}
	} else if !p.present && p.IsCreator(user) {
		return creatorDefault
	}
	if level, ok := p.users[string(user)]; ok {
		return level
	}
	return p.named[usersDefault].or(0)
}

// IsCreator reports whether the user is among the room's creators.
func (p *PowerLevels) IsCreator(user matrix.UserID) bool {
	for _, creator := range p.creators {
		if creator == user {
			return true
		}
	}
	return false
}

// Event is the level that is required to send events of a type. It does not
// apply to m.room.member and m.room.third_party_invite.
func (p *PowerLevels) Event(typ string, isState bool) int64 {
	if level, ok := p.events[typ]; ok {
		return level
	}
	if isState {
		return p.named[stateDefault].or(50)
	}
	return p.named[eventsDefault].or(0)
}

// Invite is the level that is required to invite.
func (p *PowerLevels) Invite() int64 { return p.named[invite].or(0) }

// Kick is the level that is required to kick.
func (p *PowerLevels) Kick() int64 { return p.named[kick].or(50) }

// Ban is the level that is required to ban, and to unban.
func (p *PowerLevels) Ban() int64 { return p.named[ban].or(50) }

// Redact is the level that is required to redact the events of others.
func (p *PowerLevels) Redact() int64 { return p.named[redact].or(50) }

// Notification is the level that is required to notify the whole room by a
// key such as "room".
func (p *PowerLevels) Notification(key string) int64 {
	if level, ok := p.notifications[key]; ok {
		return level
	}
	return 50
}

// levels are the content of a power levels event.
type levels struct {
	named         [len(levelNames)]level
	events        map[string]int64
	notifications map[string]int64
	users         map[string]int64
}

// The levels that have a name of their own.
const (
	usersDefault = iota
	eventsDefault
	stateDefault
	ban
	redact
	kick
	invite
)

var levelNames = [...]string{
	usersDefault:  "users_default",
	eventsDefault: "events_default",
	stateDefault:  "state_default",
	ban:           "ban",
	redact:        "redact",
	kick:          "kick",
	invite:        "invite",
}

// A level is a power level that may be absent.
type level struct {
	value int64
	given bool
}

func (l level) or(value int64) int64 {
	if l.given {
		return l.value
	}
	return value
}
