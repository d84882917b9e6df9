package rooms

import (
	"encoding/json"

	"trestle/internal/matrix"
)

// powerLevels is the default levels under the client's own words.
func (c *creation) powerLevels() (json.RawMessage, error) {
	users := map[matrix.UserID]int64{}
	if !c.version.PrivilegedCreators {
		users[c.req.Creator] = 100
		if c.preset.trusted {
			for _, user := range c.req.Invite {
				users[user] = 100
			}
		}
	}
	tombstone := 100
	if c.version.PrivilegedCreators {
		tombstone = 150
	}
	levels := map[string]any{
		"ban": 50, "kick": 50, "redact": 50, "invite": 0, "events_default": 0, "state_default": 50, "users_default": 0,
		"users": users,
		"events": map[string]int{
			"m.room.name": 50, "m.room.avatar": 50, "m.room.canonical_alias": 50, "m.room.history_visibility": 100,
			"m.room.power_levels": 100, "m.room.server_acl": 100, "m.room.encryption": 100, "m.room.tombstone": tombstone,
		},
		"notifications": map[string]int{"room": 50},
		"historical":    100,
	}
	for key, value := range c.req.PowerLevels {
		levels[key] = value
	}
	raw, err := json.Marshal(levels)
	if err != nil || !c.version.PrivilegedCreators {
		return raw, err
	}
	return guardTombstone(raw)
}

// guardTombstone makes tombstones need more than other state does, whatever the
// client has overridden: in rooms whose creators stand above all, upgrading is
// theirs (Client-Server API § POST /createRoom). What is no such content is for
// the room's rules to refuse.
func guardTombstone(raw json.RawMessage) (json.RawMessage, error) {
	var content map[string]json.RawMessage
	var levels struct {
		Events  map[string]json.RawMessage `json:"events"`
		Default int64                      `json:"state_default"`
	}
	if json.Unmarshal(raw, &content) != nil || json.Unmarshal(raw, &levels) != nil {
		return raw, nil
	}
	var tombstone int64
	if json.Unmarshal(levels.Events["m.room.tombstone"], &tombstone) == nil && tombstone > levels.Default {
		return raw, nil
	}
	events, err := merge(levels.Events, map[string]any{"m.room.tombstone": min(max(150, levels.Default+1), matrix.MaxInteger)})
	if err != nil {
		return nil, err
	}
	return merge(content, map[string]any{"events": events})
}

// proposals is the room's first events after its create event, in the order
// of the specification: each is judged by those before it.
func (c *creation) proposals() []proposal {
	list := []proposal{
		c.state("m.room.member", string(c.req.Creator), c.member),
		c.state("m.room.power_levels", "", c.power),
	}
	given := map[string]bool{}
	for _, st := range c.req.InitialState {
		if st.StateKey == "" {
			given[st.Type] = true
		}
	}
	if c.alias != "" {
		list = append(list, c.simple("m.room.canonical_alias", "alias", string(c.alias)))
	}
	for _, st := range []struct{ typ, field, value string }{
		{"m.room.join_rules", "join_rule", c.preset.joinRule},
		{"m.room.history_visibility", "history_visibility", c.preset.visibility},
		{"m.room.guest_access", "guest_access", c.preset.guests},
	} {
		if !given[st.typ] {
			list = append(list, c.simple(st.typ, st.field, st.value))
		}
	}
	for _, st := range c.req.InitialState {
		if st.Type == "m.room.name" && c.req.Name != "" || st.Type == "m.room.topic" && c.req.Topic != "" {
			continue
		}
		list = append(list, c.state(st.Type, st.StateKey, st.Content))
	}
	if c.req.Name != "" {
		list = append(list, c.simple("m.room.name", "name", c.req.Name))
	}
	if c.req.Topic != "" {
		list = append(list, c.topic())
	}
	return append(list, c.invites...)
}

func (c *creation) state(typ, stateKey string, content json.RawMessage) proposal {
	return proposal{Sender: c.req.Creator, Type: typ, StateKey: &stateKey, Content: content, Timestamp: c.req.Timestamp}
}

func (c *creation) simple(typ, name, value string) proposal {
	content, err := json.Marshal(map[string]string{name: value})
	if err != nil {
		panic(err) // two strings are always JSON
	}
	return c.state(typ, "", content)
}

func (c *creation) topic() proposal {
	type text struct {
		Body string `json:"body"`
	}
	content, err := json.Marshal(map[string]any{
		"topic":   c.req.Topic,
		"m.topic": map[string]any{"m.text": []text{{c.req.Topic}}},
	})
	if err != nil {
		panic(err) // strings are always JSON
	}
	return c.state("m.room.topic", "", content)
}
