package rooms

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"trestle/internal/matrix"
)

// integerLevels are the levels of an m.room.power_levels event, but for users
// and events, as every version takes them. Before version 10 levels could be
// texts and, long before, fractions. What is no level goes from the content:
// then the defaults hold.
func integerLevels(content map[string]json.RawMessage) map[string]any {
	levels := map[string]any{}
	for _, name := range []string{"ban", "kick", "redact", "invite", "events_default", "state_default", "users_default"} {
		if raw, given := content[name]; given {
			delete(content, name)
			if level, ok := integerLevel(raw); ok {
				levels[name] = level
			}
		}
	}
	if raw, given := content["notifications"]; given {
		levels["notifications"] = levelTable[string](raw)
	}
	return levels
}

// levelTable is an object of levels, without what is none.
func levelTable[K ~string](raw json.RawMessage) map[K]int64 {
	var given map[K]json.RawMessage
	_ = json.Unmarshal(raw, &given) // what is no object has no levels
	levels := map[K]int64{}
	for key, raw := range given {
		if level, ok := integerLevel(raw); ok {
			levels[key] = level
		}
	}
	return levels
}

func integerLevel(raw json.RawMessage) (int64, bool) {
	const most = 1<<53 - 1
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	level, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(level >= -most && level <= most) {
		return 0, false
	}
	return int64(level), true
}

// highestLevel is the level of somebody who may give all these, and is at least
// a creator's.
func highestLevel(levels map[string]any) int64 {
	highest := int64(100)
	for _, value := range levels {
		switch value := value.(type) {
		case int64:
			highest = max(highest, value)
		case map[string]int64:
			highest = slices.Max(append(slices.Collect(maps.Values(value)), highest))
		case map[matrix.UserID]int64:
			highest = slices.Max(append(slices.Collect(maps.Values(value)), highest))
		}
	}
	return highest
}
