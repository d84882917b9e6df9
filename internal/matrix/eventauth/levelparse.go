package eventauth

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// parseLevels reads the content of a power levels event. The error is the
// first value that the room version does not accept; the rest is given all
// the same.
func parseLevels(e *matrix.Event) (levels, error) {
	var l levels
	var first error
	note := func(err error) {
		if first == nil {
			first = err
		}
	}
	content := members(e.Content)
	for i, name := range levelNames {
		raw, ok := content[name]
		if !ok || isAbsent(raw, e.Version) {
			continue
		}
		value, err := parseLevel(raw, e.Version)
		if err != nil {
			note(matrix.Forbidden("The %s of m.room.power_levels is not an integer.", name))
			continue
		}
		l.named[i] = level{value, true}
	}
	for _, table := range []struct {
		name string
		into *map[string]int64
	}{{"events", &l.events}, {"notifications", &l.notifications}, {"users", &l.users}} {
		raw, ok := content[table.name]
		if !ok {
			continue
		}
		values, err := parseLevelTable(raw, e.Version)
		if err != nil && (table.into != &l.notifications || e.Version.LimitNotificationLevels) {
			note(matrix.Forbidden("The %s of m.room.power_levels must be an object of integers.", table.name))
		}
		*table.into = values
	}
	return l, first
}

// isAbsent takes null for nothing where the version does not ask for integers.
func isAbsent(raw json.RawMessage, v *roomversion.Version) bool {
	return !v.StrictPowerLevels && string(raw) == "null"
}

func parseLevelTable(raw json.RawMessage, v *roomversion.Version) (map[string]int64, error) {
	entries := members(raw)
	if entries == nil {
		return nil, errNotLevel
	}
	var first error
	table := make(map[string]int64, len(entries))
	for key, raw := range entries {
		value, err := parseLevel(raw, v)
		if err != nil {
			first = err
			continue
		}
		table[key] = value
	}
	return table, first
}

var errNotLevel = errors.New("not a power level")

// parseLevel reads one power level: an integer, and in older room versions
// also a string that is an integer or a float that is cut to one
// (Room Versions § m.room.power_levels events accept values as strings).
func parseLevel(raw json.RawMessage, v *roomversion.Version) (int64, error) {
	if n, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return clamp(n), nil
	}
	if v.StrictPowerLevels {
		return 0, errNotLevel
	}
	if s, ok := text(raw); ok {
		return parseLevelText(s)
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case err != nil || !v.FloatPowerLevels:
		return 0, errNotLevel
	case f >= maxLevel:
		return maxLevel, nil
	case f <= -maxLevel:
		return -maxLevel, nil
	}
	return int64(f), nil
}

// parseLevelText reads white space, a sign, digits, white space.
func parseLevelText(s string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, errNotLevel
	}
	return clamp(n), nil
}

// maxLevel keeps levels that are larger than any room needs comparable, and
// below that of creators.
const maxLevel = CreatorLevel - 1

func clamp(n int64) int64 { return max(-maxLevel, min(maxLevel, n)) }
