package sliding

import (
	"encoding/json"

	"trestle/homeserver/syncer"
)

// sent is what a connection has sent of a room. It is replaced, never changed.
type sent struct {
	seen   syncer.Token // what happened until then is sent, unless the room is in the window
	kind   kind
	config *config
	have   int   // of the newest events
	root   int64 // of the state
	facts  facts
	// members is the member events that were sent, where they are loaded lazily.
	members map[string]int64
}

// facts is the parts of a room that are sent when they are not what they were.
type facts struct {
	membership, name, avatar, heroes string
	joined, invited, bump            int64
	notifications, highlights        int64
	direct                           bool
}

// since is until when the client knows what happened in a room.
func (a *answer) since(nid int64, was *sent) syncer.Token {
	switch {
	case was == nil:
		return syncer.Token{}
	case a.conn.base.window[nid]:
		return a.conn.base.token
	}
	return was.seen
}

// rooms puts those into the answer that are looked at and of which something is new.
func (a *answer) rooms() error {
	base := &a.conn.base
	if err := a.readAhead(); err != nil {
		return err
	}
	for _, e := range a.entries {
		nid := e.at.NID
		rules := a.matches[nid]
		if rules == nil {
			continue
		}
		a.next.window[nid] = true
		config, was := a.config(rules), base.rooms[nid]
		direct, err := a.isDirect(e)
		if err != nil {
			return err
		}
		if !a.mayHaveNews(e, was, config, direct) {
			continue
		}
		if err := a.room(e, was, config, direct); err != nil {
			return err
		}
		if room := a.resp.Rooms[e.info.ID]; room != nil {
			a.news = true
			room.Lists = a.lists(rules)
			if a.req.Proposed {
				room.propose()
			}
		}
	}
	// Rooms that are not looked at any more are known as they were.
	for nid := range base.window {
		if was := base.rooms[nid]; was != nil && !a.next.window[nid] {
			now := *was
			now.seen = base.token
			a.next.rooms[nid] = &now
		}
	}
	return nil
}

// readAhead reads at once of the rooms that are sent for the first time. There
// may be thousands of them; of the first hundreds it is worth it most.
func (a *answer) readAhead() error {
	const most = 300
	var nids []int64
	limit := 0
	for _, e := range a.entries {
		rules := a.matches[e.at.NID]
		if was := a.conn.base.rooms[e.at.NID]; rules == nil || e.kind != joined || was != nil && was.kind == joined || len(nids) == most {
			continue
		}
		nids = append(nids, e.at.NID)
		limit = max(limit, a.config(rules).limit)
	}
	var err error
	a.ahead, err = a.sync.ReadAhead(a.ctx, nids, a.snap.Position, limit, a.req.User, true)
	return err
}

// isDirect reports whether a room is a direct chat.
func (a *answer) isDirect(e *entry) (bool, error) {
	direct, err := a.direct()
	return direct[e.info.ID], err
}

// mayHaveNews decides cheaply, for the thousands of rooms in which nothing happens.
func (a *answer) mayHaveNews(e *entry, was *sent, c *config, direct bool) bool {
	if was == nil || was.kind != e.kind || was.facts.direct != direct {
		return true
	}
	since := a.since(e.at.NID, was)
	if e.kind != joined {
		return e.at.Position > since.Position
	}
	if was.have < c.limit || was.config.print != c.print {
		return true
	}
	if a.conn.base.window[e.at.NID] {
		return a.active[e.at.NID]
	}
	activity := a.snap.Room(e.at.NID)
	return activity.Last > since.Position || activity.Receipts > since.Position || activity.Counts > since.Serial
}

func (a *answer) room(e *entry, was *sent, c *config, direct bool) error {
	switch e.kind {
	case stripped, gone:
		return a.outside(e, was, c, direct)
	}
	b := &roomBuild{answer: a, e: e, was: was, config: c, since: a.since(e.at.NID, was)}
	b.fresh = was == nil || was.kind == stripped || was.kind == gone || was.kind == left && e.kind == joined
	return b.run(direct)
}

// outside sends a room in which the user is not: what it is invited to, knocks
// at, or has refused.
func (a *answer) outside(e *entry, was *sent, c *config, direct bool) error {
	since := a.since(e.at.NID, was)
	now := &sent{seen: a.next.token, kind: e.kind, config: c, facts: facts{membership: e.at.Membership, bump: e.at.Position, direct: direct}}
	a.next.rooms[e.at.NID] = now
	isNew := was == nil || was.kind != e.kind || e.at.Position > since.Position
	room := &Room{Initial: isNew && e.kind == stripped, Membership: e.at.Membership}
	room.setFacts(was.known(), &now.facts, room.Initial)
	if !isNew {
		if was.facts.direct != direct {
			a.resp.Rooms[e.info.ID] = room
		}
		return nil
	}
	var err error
	if e.kind == stripped {
		room.Stripped, err = a.sync.Stripped(a.ctx, e.info, e.at)
	} else {
		err = a.refusal(room, e)
	}
	if err == nil {
		a.resp.Rooms[e.info.ID] = room
	}
	return err
}

// refusal shows how an invite ended: by the user's own member event alone.
func (a *answer) refusal(room *Room, e *entry) error {
	member, err := a.sync.Store.Events.ByNID(a.ctx, e.at.EventNID)
	if err != nil {
		return err
	}
	events, err := a.render([]syncer.Seen{{Event: member, Membership: e.at.Membership}})
	if err != nil {
		return err
	}
	room.Timeline, room.State = events, events
	room.Stripped = []json.RawMessage{member.StrippedState()}
	live := 1
	room.NumLive = &live
	return nil
}

// known is the facts that were sent, if any.
func (s *sent) known() *facts {
	if s == nil {
		return nil
	}
	return &s.facts
}

// setFacts puts in what is not as it was, or all if the room is initial, and
// reports whether that is something.
func (r *Room) setFacts(was, now *facts, initial bool) (changed bool) {
	if was == nil || initial {
		was = new(facts)
		initial = true
	}
	if initial || was.membership != now.membership {
		r.Membership, changed = now.membership, true
	}
	text := func(into *json.RawMessage, was, now string) {
		if was == now {
			return
		}
		changed = true
		*into = json.RawMessage("null")
		if now != "" {
			raw, err := json.Marshal(now)
			if err != nil {
				panic(err) // a text always marshals
			}
			*into = raw
		}
	}
	text(&r.Name, was.name, now.name)
	text(&r.Avatar, was.avatar, now.avatar)
	if was.direct != now.direct {
		r.IsDM, changed = &now.direct, true
	}
	number := func(into **int64, was, now *int64) {
		if initial || *was != *now {
			*into, changed = now, true
		}
	}
	number(&r.BumpStamp, &was.bump, &now.bump)
	return changed
}
