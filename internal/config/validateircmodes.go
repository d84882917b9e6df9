package config

import (
	"strings"

	"trestle/internal/matrix"
)

// validateModeration looks at what a network's modes mean, and at who is not bridged.
func (l *loader) validateModeration(key string, n IRCNetwork) {
	p := n.PowerLevels
	above := 99
	for _, level := range []struct {
		name  string
		value int
	}{{"owner", p.Owner}, {"admin", p.Admin}, {"op", p.Op}, {"half_op", p.HalfOp}, {"voice", p.Voice}} {
		l.within(key+".power_levels."+level.name, level.value, 0, 99)
		if level.value > above {
			l.invalidf(key+".power_levels."+level.name, "is worth more than a higher status")
		}
		if level.value > 0 {
			above = level.value
		}
	}
	for i, m := range n.Mappings {
		at := item(key+".mappings", i)
		if m.Channel == "" || strings.ContainsAny(m.Channel, " ,\a") || hasControl(m.Channel) {
			l.invalidf(at+".channel", "%q is not a channel", m.Channel)
		}
		if strings.ContainsAny(m.Key.Reveal(), " ,") || hasControl(m.Key.Reveal()) || strings.HasPrefix(m.Key.Reveal(), ":") {
			l.invalidf(at+".key", "is not a key that IRC knows")
		}
		if _, err := matrix.ParseRoomAlias(m.Alias); m.Alias != "" && err != nil {
			l.invalidf(at+".alias", "%q is not a room's alias", m.Alias)
		}
		if m.Room != "" && !isRoom(m.Room) {
			l.invalidf(at+".room", "%q is neither a room's ID nor an alias", m.Room)
		}
	}
	for i, room := range n.PolicyRooms {
		if !isRoom(room) {
			l.invalidf(item(key+".policy_rooms", i), "%q is neither a room's ID nor an alias", room)
		}
	}
}

func isRoom(text string) bool {
	if _, err := matrix.ParseRoomAlias(text); err == nil {
		return true
	}
	return len(text) > 1 && text[0] == '!' && !hasControl(text) && !strings.Contains(text, " ")
}
