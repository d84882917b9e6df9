package eventauth

import "trestle/internal/matrix"

// powerLevels are the rules for changing m.room.power_levels.
func (c *check) powerLevels() error {
	next, err := parseLevels(c.Event)
	if err != nil {
		return err
	}
	for user := range next.users {
		if _, err := matrix.ParseUserID(user); err != nil {
			return matrix.Forbidden("The users of m.room.power_levels name %.80q, which is not a user ID.", user)
		}
		if c.Version.PrivilegedCreators && c.levels.IsCreator(matrix.UserID(user)) {
			return matrix.Forbidden("%s is a creator of this room, and can't be given a power level.", user)
		}
	}
	if !c.levels.present {
		return nil
	}
	if err := c.changedNames(&next); err != nil {
		return err
	}
	if err := c.changedTable("events", c.levels.events, next.events); err != nil {
		return err
	}
	if c.Version.LimitNotificationLevels {
		if err := c.changedTable("notifications", c.levels.notifications, next.notifications); err != nil {
			return err
		}
	}
	return c.changedUsers(next.users)
}

// changedNames: nobody changes a level that is above his own, or to one above
// his own.
func (c *check) changedNames(next *levels) error {
	for i, name := range levelNames {
		if err := c.changed(name, c.levels.named[i], next.named[i]); err != nil {
			return err
		}
	}
	return nil
}

// changedTable is the same for the entries of events or notifications.
func (c *check) changedTable(table string, old, next map[string]int64) error {
	for key, value := range old {
		after, ok := next[key]
		if err := c.changed(table+" "+key, level{value, true}, level{after, ok}); err != nil {
			return err
		}
	}
	for key, value := range next {
		if _, ok := old[key]; ok {
			continue
		}
		if err := c.changed(table+" "+key, level{}, level{value, true}); err != nil {
			return err
		}
	}
	return nil
}

func (c *check) changed(name string, old, next level) error {
	if old == next {
		return nil
	}
	own := c.levels.User(c.Sender)
	if old.given && old.value > own {
		return matrix.Forbidden("%s has power level %d and can't change that for %s, which is %d.", c.Sender, own, name, old.value)
	}
	if next.given && next.value > own {
		return matrix.Forbidden("%s has power level %d and can't set that for %s to %d.", c.Sender, own, name, next.value)
	}
	return nil
}

// changedUsers: nobody touches the level of a user who has as much power as
// he, himself excepted, or gives more than he has.
func (c *check) changedUsers(next map[string]int64) error {
	own := c.levels.User(c.Sender)
	for user, old := range c.levels.users {
		after, kept := next[user]
		if kept && after == old || user == string(c.Sender) {
			continue
		}
		if old >= own {
			return matrix.Forbidden("%s has power level %d and can't change that of %s, which is %d.", c.Sender, own, user, old)
		}
	}
	for user, after := range next {
		if old, ok := c.levels.users[user]; ok && old == after {
			continue
		}
		if after > own {
			return matrix.Forbidden("%s has power level %d and can't give %s %d.", c.Sender, own, user, after)
		}
	}
	return nil
}
