package irc

import (
	"context"
	"encoding/json"
	"math"
	"strconv"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

// maxTitle is how many bytes of a room's name people on IRC are told.
const maxTitle = 60

// A lodging is a room of Matrix as its state tells whether and how a channel can live there.
type lodging struct {
	id         matrix.RoomID
	title      string
	alias      string                 // that the room itself shows
	creators   map[matrix.UserID]bool // above all, from room version 12 on
	levels     levels
	joinRule   string
	visibility string // of history
	encrypted  bool
	joined     map[matrix.UserID]bool
	bridges    []*event.Event // what bridges say of themselves in the room
}

// levels are a room's m.room.power_levels. What is missing has the specification's value.
type levels struct {
	Users         map[matrix.UserID]int `json:"users"`
	UsersDefault  int                   `json:"users_default"`
	Events        map[string]int        `json:"events"`
	EventsDefault int                   `json:"events_default"`
	StateDefault  *int                  `json:"state_default"`
	Invite        int                   `json:"invite"`
}

// lodging reads a room's state; the bridge's own user must be in the room.
func (s *Service) lodging(ctx context.Context, room matrix.RoomID) (*lodging, error) {
	var state []*event.Event
	err := client.Retry(ctx, nil, func(ctx context.Context) (err error) {
		state, err = s.bridge.Client().Bot().AllState(ctx, room)
		return err
	})
	switch {
	case client.Is(err, "M_FORBIDDEN"), client.Is(err, "M_NOT_FOUND"):
		return nil, matrix.Forbidden("I am not in %s. Invite %s there first.", room, s.bridge.Client().Bot().ID)
	case err != nil:
		return nil, err
	}
	l := &lodging{id: room, joinRule: "invite", visibility: "shared", joined: map[matrix.UserID]bool{}, creators: map[matrix.UserID]bool{}}
	for _, e := range state {
		if e.StateKey != nil {
			l.take(e)
		}
	}
	return l, nil
}

// take notes one event of the state. What is of the wrong shape counts as if it were not there.
func (l *lodging) take(e *event.Event) {
	var text struct {
		Name       string          `json:"name"`
		Alias      string          `json:"alias"`
		JoinRule   string          `json:"join_rule"`
		Visibility string          `json:"history_visibility"`
		Membership string          `json:"membership"`
		Version    string          `json:"room_version"`
		Creators   []matrix.UserID `json:"additional_creators"`
	}
	_ = json.Unmarshal(e.Content.VeryRaw, &text)
	if e.Type.Type == "m.room.member" {
		if text.Membership == "join" {
			l.joined[matrix.UserID(*e.StateKey)] = true
		}
		return
	}
	if isBridgeInfo(e.Type.Type) {
		l.bridges = append(l.bridges, e)
	}
	if *e.StateKey != "" {
		return
	}
	switch e.Type.Type {
	case "m.room.name":
		l.title = clip(plain(text.Name), maxTitle)
	case "m.room.canonical_alias":
		l.alias = text.Alias
	case "m.room.join_rules":
		l.joinRule = text.JoinRule
	case "m.room.history_visibility":
		l.visibility = text.Visibility
	case "m.room.encryption":
		l.encrypted = true
	case "m.room.power_levels":
		_ = json.Unmarshal(e.Content.VeryRaw, &l.levels)
	case "m.room.create":
		if version, err := strconv.Atoi(text.Version); err == nil && version >= 12 {
			l.creators[matrix.UserID(e.Sender)] = true
			for _, creator := range text.Creators {
				l.creators[creator] = true
			}
		}
	}
}

// free refuses a room that a rule bans, or that another bridge has linked with the channel.
func (l *lodging) free(ctx context.Context, n *network, channel string) error {
	if err := n.mayOpen(ctx, channel, string(l.id), l.alias); err != nil {
		return err
	}
	for _, e := range l.bridges {
		if n.otherBridge(channel, e) {
			return matrix.NewError(409, codeLinkedAlready, "The room is linked with %s already, by %s.", decode(channel), e.Sender)
		}
	}
	return nil
}

// power is somebody's in the room.
func (l *lodging) power(user matrix.UserID) int {
	if l.creators[user] {
		return math.MaxInt
	}
	if level, named := l.levels.Users[user]; named {
		return level
	}
	return l.levels.UsersDefault
}

// stateDefault is the power that changing the room takes.
func (l *lodging) stateDefault() int {
	if l.levels.StateDefault == nil {
		return 50
	}
	return *l.levels.StateDefault
}

// moderates makes sure that somebody may decide for a room: has the power that changing it takes, and that
// the network asks for.
func (l *lodging) moderates(user matrix.UserID, n *network) error {
	if need := max(n.now().PlumbPower, l.stateDefault()); !l.joined[user] || l.power(user) < need {
		return matrix.NewError(403, codeNoPower, "That is for moderators of the room, with a power level of %d or more.", need)
	}
	return nil
}

// fits tells what keeps a channel from living in a room.
func (l *lodging) fits(bot matrix.UserID, ghosts bridge.Ghost, encrypts bool) error {
	speak, said := l.levels.Events["m.room.message"]
	if !said {
		speak = l.levels.EventsDefault
	}
	switch {
	case l.encrypted && !encrypts:
		return matrix.Forbidden("The room is encrypted: the bridge could not read it.")
	case l.joinRule != "public" && l.power(bot) < l.levels.Invite:
		return matrix.Forbidden("Who is on IRC has to be invited into the room: give %s the power to invite (%d).", bot, l.levels.Invite)
	case l.power(ghosts.ID) < speak, l.power(bot) < speak:
		return matrix.Forbidden("People from IRC could not speak in the room: that takes a power level of %d there.", speak)
	}
	return nil
}
