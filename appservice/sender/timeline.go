package sender

// A timeline says when the homeserver took changes in, of a reader who goes through
// them in order. An event tells when it was sent, and services choose that as they
// like (§ Timestamp massaging): one of years ago is no backlog of years.
type timeline struct{ latest int64 } // ms since 1970: not before then came what comes next

// reach says that everything up to a time has been gone through.
func (t *timeline) reach(ms int64) { t.latest = max(t.latest, ms) }

// mark puts the changes that have a time where they belong.
func (t *timeline) mark(changes []Change, now int64) {
	for i := range changes {
		switch c := &changes[i]; {
		case c.Time <= 0:
		case c.Time > now:
			c.Time = now
		default:
			t.reach(c.Time)
			c.Time = t.latest
		}
	}
}
