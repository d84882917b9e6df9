package rooms

import (
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// redactions applies the arrived event to what it redacts, and to itself what has redacted it before it came.
func (i *arriving) redactions() error {
	st := &i.steps[len(i.steps)-1]
	e := i.stored
	if e.Type == "m.room.redaction" && !e.IsState() && e.Redacts != "" {
		found, err := i.find([]matrix.EventID{e.Redacts})
		if err != nil {
			return err
		}
		target := found[e.Redacts]
		if target == nil {
			st.early = e.Redacts
			return nil
		}
		return i.redactBy(target, e)
	}
	redactions, err := i.early()
	for _, by := range redactions {
		if err != nil || e.RedactedBy != 0 {
			break
		}
		st.awaited = true
		var allowed bool
		if allowed, err = i.mayRedact(e, by); err == nil && allowed {
			if e.Event, err = e.Redact(); err == nil {
				e.RedactedBy = by.NID
				st.relation = nil
			}
		}
	}
	return err
}

// early is the redactions of the arrived event that came before it.
func (i *arriving) early() ([]*storage.Event, error) {
	var list []*storage.Event
	i.room.inFlight(func(e *storage.Event) bool {
		if e.Type == "m.room.redaction" && e.Redacts == i.Event.ID && e.Verdict == storage.Placed && e.NID != i.stored.NID {
			list = append(list, e)
		}
		return false
	})
	found, err := i.s.store.Events.EarlyRedactions(i.ctx, i.room.info.NID, []matrix.EventID{i.Event.ID})
	if err != nil {
		return nil, err
	}
	for _, nid := range found[i.Event.ID] {
		e, err := i.event(nid)
		if err != nil {
			return nil, err
		}
		list = append(list, e)
	}
	return list, nil
}

// redactBy applies a redaction to its target, if its sender may.
func (i *arriving) redactBy(target, by *storage.Event) error {
	if target.RedactedBy != 0 || target.Type == "m.room.create" {
		return nil
	}
	allowed, err := i.mayRedact(target, by)
	if err != nil || !allowed {
		return err
	}
	return i.strike(target, by)
}

// mayRedact reports whether a redaction counts: its sender has the power for it, or the server that the redacted
// event is of as well (Room Versions § Redactions from room version 3 on; before, the authorization rules see to it).
func (i *arriving) mayRedact(target, by *storage.Event) (bool, error) {
	if i.room.info.Version.SpecialCaseRedactionAuth || target.Sender.Server() == by.Sender.Server() {
		return true, nil
	}
	tree, err := i.tree(by.After())
	if err != nil {
		return false, err
	}
	v := &view{ctx: i.ctx, s: i.s, room: i.room, head: &head{tree: tree}}
	power := v.PowerLevels()
	return v.err == nil && power.User(by.Sender) >= power.Redact(), v.err
}
