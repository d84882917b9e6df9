package sliding

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A kind is how much a user sees of a room.
type kind int

const (
	joined   kind = iota + 1
	stripped      // invited, or knocking
	left          // was in it
	gone          // was never in it, and is not invited any more
)

// An entry is a room in the list of all of a user's rooms.
type entry struct {
	info     *storage.RoomInfo
	at       notifier.Room
	standing storage.Standing
	last     int64 // by which rooms are ordered: when something happened that the user sees
	kind     kind
	left     *storage.Event // that took the user out of the room
}

// A rule is a list or a subscription.
type rule struct {
	list   string        // empty for a subscription
	room   matrix.RoomID // of a subscription
	config *config
}

// order lists the user's rooms by their last activity.
func (a *answer) order() error {
	nids := make([]int64, 0, len(a.snap.Rooms))
	for nid, at := range a.snap.Rooms {
		if !at.Forgotten {
			nids = append(nids, nid)
		}
	}
	standings, err := a.board.Standings(a.ctx, nids)
	if err != nil {
		return err
	}
	if err := a.loadDepartures(nids); err != nil {
		return err
	}
	entries := make([]entry, len(nids))
	for i, nid := range nids {
		e := &entries[i]
		e.at, e.standing = a.snap.Rooms[nid], standings[nid]
		listed, err := a.place(e)
		if err != nil {
			return err
		}
		if !listed {
			continue
		}
		if e.info, err = a.sync.Store.Rooms.InfoOf(a.ctx, nid); err != nil {
			return err
		}
		a.entries = append(a.entries, e)
	}
	slices.SortFunc(a.entries, func(x, y *entry) int {
		return cmp.Or(cmp.Compare(y.last, x.last), cmp.Compare(y.at.NID, x.at.NID))
	})
	return nil
}

// place decides whether and where a room is in the list of all rooms. Of the
// rooms that the user is not in any more, those are listed from which it was
// taken by others, and those that this connection has shown.
func (a *answer) place(e *entry) (listed bool, err error) {
	e.last = e.at.Position
	switch e.at.Membership {
	case "join":
		e.kind, e.last = joined, e.standing.Last
		return true, nil
	case "invite", "knock":
		e.kind = stripped
		e.standing = seenFromOutside(e.standing, e.at.Stripped)
		return e.at.Membership == "knock" || !a.inviteUnwanted(e.at), nil
	}
	d, err := a.departure(e.at)
	if err != nil {
		return false, err
	}
	e.kind, e.left = left, d.event
	was := a.conn.base.rooms[e.at.NID]
	if d.event == nil || was != nil && (was.kind == stripped || was.kind == gone) {
		e.kind = gone
	}
	return was != nil || d.event != nil && d.taken, nil
}

func (a *answer) inviteUnwanted(at notifier.Room) bool {
	if a.unwanted.Size() == 0 && !a.unwanted.RefusesAll() {
		return false
	}
	e, err := a.sync.Store.Events.ByNID(a.ctx, at.EventNID)
	return err == nil && a.unwanted.Invite(e.Sender) != accounts.Welcome
}

// seenFromOutside is what stripped state says of a room that this server is not in.
func seenFromOutside(s storage.Standing, raw []byte) storage.Standing {
	var events []struct {
		Type    string `json:"type"`
		Content struct {
			Type string `json:"type"`
		} `json:"content"`
	}
	if len(raw) == 0 || json.Unmarshal(raw, &events) != nil {
		return s
	}
	for _, e := range events {
		switch e.Type {
		case "m.room.create":
			s.Type = e.Content.Type
		case "m.room.encryption":
			s.Encrypted = true
		}
	}
	return s
}

// loadDepartures reads the member events of left rooms at once.
func (a *answer) loadDepartures(nids []int64) error {
	var missing []int64
	for _, nid := range nids {
		at := a.snap.Rooms[nid]
		if at.Membership == "leave" || at.Membership == "ban" {
			if _, ok := a.departures.Get(at.EventNID); !ok {
				missing = append(missing, at.EventNID)
			}
		}
	}
	if len(missing) < 2 {
		return nil
	}
	_, err := a.sync.Store.Events.ByNIDs(a.ctx, missing)
	return err
}

// departure is how the user came out of a room.
func (a *answer) departure(at notifier.Room) (departure, error) {
	if d, ok := a.departures.Get(at.EventNID); ok {
		return d, nil
	}
	newest, err := a.sync.Store.Events.ByNID(a.ctx, at.EventNID)
	if err != nil {
		return departure{}, err
	}
	event, err := a.sync.Rooms.Departure(a.ctx, at.EventNID)
	if err != nil {
		return departure{}, err
	}
	d := departure{event, newest.Sender != a.req.User}
	a.departures.Put(at.EventNID, d)
	return d, nil
}

// choose finds the rooms that lists and subscriptions want.
func (a *answer) choose() error {
	for _, name := range slices.Sorted(maps.Keys(a.req.lists)) {
		l := a.req.lists[name]
		number := len(a.rules)
		a.rules = append(a.rules, rule{list: name, config: l.config})
		count := 0
		alone := []int{number}
		for _, e := range a.entries {
			ok, err := a.allows(&l.filters, e)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			if l.contains(count) {
				a.match(e.at.NID, alone)
			}
			count++
		}
		a.resp.Lists[name] = List{count}
	}
	if len(a.req.subscriptions) > 0 {
		a.subscribe()
	}
	return nil
}

func (a *answer) match(nid int64, alone []int) {
	if others := a.matches[nid]; others != nil {
		a.matches[nid] = append(slices.Clip(others), alone...)
	} else {
		a.matches[nid] = alone
	}
}

// subscribe matches subscriptions: to listed rooms, and to those that the user
// has left, which are in no list.
func (a *answer) subscribe() {
	listed := make(map[matrix.RoomID]*entry, len(a.entries))
	for _, e := range a.entries {
		listed[e.info.ID] = e
	}
	for _, id := range slices.Sorted(maps.Keys(a.req.subscriptions)) {
		number := len(a.rules)
		a.rules = append(a.rules, rule{room: id, config: a.req.subscriptions[id]})
		e := listed[id]
		if e == nil {
			if e = a.leftRoom(id); e == nil {
				continue // not known, or not for this user to see
			}
			a.entries = append(a.entries, e)
		}
		a.match(e.at.NID, []int{number})
	}
}

// leftRoom is the entry of a room that the user was in, or nil.
func (a *answer) leftRoom(id matrix.RoomID) *entry {
	info, err := a.sync.Store.Rooms.Info(a.ctx, id)
	if err != nil {
		return nil
	}
	at, ok := a.snap.Rooms[info.NID]
	if !ok || at.Forgotten || at.Membership != "leave" && at.Membership != "ban" {
		return nil
	}
	d, err := a.departure(at)
	if err != nil || d.event == nil {
		return nil
	}
	return &entry{info: info, at: at, last: at.Position, kind: left, left: d.event}
}

// config is what the rules that want a room ask of it together.
func (a *answer) config(rules []int) *config {
	if len(rules) == 1 {
		return a.rules[rules[0]].config
	}
	key := make([]byte, len(rules))
	for i, r := range rules {
		key[i] = byte(r) // there are at most 200
	}
	c := a.configs[string(key)]
	if c == nil {
		all := make([]*config, len(rules))
		for i, r := range rules {
			all[i] = a.rules[r].config
		}
		c = combined(all)
		a.configs[string(key)] = c
	}
	return c
}

// lists is the names of the lists among rules.
func (a *answer) lists(rules []int) (names []string) {
	for _, r := range rules {
		if name := a.rules[r].list; name != "" {
			names = append(names, name)
		}
	}
	return names
}
