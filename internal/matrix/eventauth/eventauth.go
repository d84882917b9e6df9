// Package eventauth decides whether an event is allowed in a room: the
// authorization rules of every room version (Room Versions § Authorisation
// rules). It is pure: what it needs of the room is handed to it.
package eventauth

import (
	"strings"

	"trestle/internal/matrix"
)

// A State is the state of a room against which an event is judged: the state
// before the event, the current state, or the event's own auth_events. The
// create event belongs to it in every room version, also from version 12 on,
// where auth_events don't name it.
//
// A State that also has a method PowerLevels() *PowerLevels spares Allowed
// the parsing of the create and power levels events; see [WithPowerLevels].
type State interface {
	// Event is the state event of that type and state key, or nil.
	Event(typ, stateKey string) *matrix.Event
}

// A StateKey names an entry of a room's state.
type StateKey struct {
	Type string
	Key  string
}

// A StateMap is a State in memory.
type StateMap map[StateKey]*matrix.Event

// StateOf is the state that consists of these events; of two with the same
// type and state key it takes the later one. Other events are left out.
func StateOf(events ...*matrix.Event) StateMap {
	state := make(StateMap, len(events))
	for _, e := range events {
		if e.IsState() {
			state[StateKey{e.Type, *e.StateKey}] = e
		}
	}
	return state
}

// Event is the entry of that type and state key, or nil.
func (s StateMap) Event(typ, stateKey string) *matrix.Event {
	return s[StateKey{typ, stateKey}]
}

// WithPowerLevels is state with levels that were parsed before. They must be
// those of the state's own create and power levels events.
func WithPowerLevels(state State, levels *PowerLevels) State {
	return parsedState{state, levels}
}

type parsedState struct {
	State
	levels *PowerLevels
}

func (s parsedState) PowerLevels() *PowerLevels { return s.levels }

// powerLevelsOf is what the state says of power, parsed now or before.
func powerLevelsOf(state State) *PowerLevels {
	if parsed, ok := state.(interface{ PowerLevels() *PowerLevels }); ok {
		if levels := parsed.PowerLevels(); levels != nil {
			return levels
		}
	}
	return PowerLevelsOf(state.Event("m.room.create", ""), state.Event("m.room.power_levels", ""))
}

// Allowed judges an event against a state of its room by the rules of its
// room version. The error is M_FORBIDDEN and says which rule the event breaks.
//
// Two things are left to the caller, who has what they need: [CheckAuthEvents]
// for the event's references, and the signatures that [Signers] lists.
func Allowed(e *matrix.Event, state State) error {
	if e.Type == "m.room.create" {
		return checkCreate(e)
	}
	c := check{Event: e, state: state, levels: powerLevelsOf(state)}
	if err := c.room(); err != nil {
		return err
	}
	switch {
	case e.Type == "m.room.aliases" && e.Version.SpecialCaseAliasesAuth:
		return c.aliases()
	case e.Type == "m.room.member":
		return c.member()
	}
	if c.membership(e.Sender) != "join" {
		return matrix.Forbidden("%s is not in this room.", e.Sender)
	}
	if e.Type == "m.room.third_party_invite" {
		return c.atLeast(e.Sender, c.levels.Invite(), "to invite people")
	}
	if err := c.typeAndKey(); err != nil {
		return err
	}
	switch {
	case e.Type == "m.room.power_levels":
		return c.powerLevels()
	case e.Type == "m.room.redaction" && e.Version.SpecialCaseRedactionAuth:
		return c.redaction()
	}
	return nil
}

// A check is the judgement of one event.
type check struct {
	*matrix.Event
	state  State
	levels *PowerLevels
}

// room checks that the state is that of the event's room, and that the room
// is open to the sender's server.
func (c *check) room() error {
	create := c.levels.create
	if create == nil {
		return matrix.Forbidden("The room has no m.room.create event.")
	}
	if create.RoomID != c.RoomID {
		return matrix.Forbidden("The event is for room %s, but the state is that of %s.", c.RoomID, create.RoomID)
	}
	if !c.levels.federate && create.Sender.Server() != c.Sender.Server() {
		return matrix.Forbidden("This room is open only to users of %s.", create.Sender.Server())
	}
	return nil
}

// aliases is the rule that m.room.aliases had before room version 6.
func (c *check) aliases() error {
	if !c.StateKeyIs(string(c.Sender.Server())) {
		return matrix.Forbidden("A server may list only its own aliases in m.room.aliases.")
	}
	return nil
}

// typeAndKey checks the level that the type requires, and that nobody sets
// the state that belongs to another user.
func (c *check) typeAndKey() error {
	required := c.levels.Event(c.Type, c.IsState())
	if level := c.levels.User(c.Sender); level < required {
		return matrix.Forbidden("%s has power level %d, but needs %d to send %s.", c.Sender, level, required, c.Type)
	}
	if c.IsState() && strings.HasPrefix(*c.StateKey, "@") && *c.StateKey != string(c.Sender) {
		return matrix.Forbidden("%s may not set the %s of %s.", c.Sender, c.Type, *c.StateKey)
	}
	return nil
}

// redaction is the rule that redactions had in room versions 1 and 2. Later
// the question is not whether the redaction may be sent but whether it counts.
func (c *check) redaction() error {
	if server := domain(c.ID); server != "" && server == domain(c.Redacts) {
		return nil
	}
	return c.atLeast(c.Sender, c.levels.Redact(), "to redact the events of other servers")
}

// domain is the server in an event ID of room versions 1 and 2.
func domain(id matrix.EventID) string {
	_, server, _ := strings.Cut(string(id), ":")
	return server
}

// membership is the current membership of a user.
func (c *check) membership(user matrix.UserID) string {
	if e := c.state.Event("m.room.member", string(user)); e != nil {
		return e.Membership()
	}
	return "leave"
}

// atLeast checks that a user has a power level.
func (c *check) atLeast(user matrix.UserID, required int64, purpose string) error {
	if level := c.levels.User(user); level < required {
		return matrix.Forbidden("%s has power level %d, but needs %d %s.", user, level, required, purpose)
	}
	return nil
}
