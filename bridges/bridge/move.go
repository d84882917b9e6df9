package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	selectFormer = database.SQL(`
		SELECT room_id, portal, replacement, finished, since
		FROM former_rooms
		ORDER BY since DESC, room_id
		LIMIT 1000000`)
	insertFormer = database.SQL(`
		INSERT INTO former_rooms (room_id, portal, replacement, finished, since)
		VALUES ($1, $2, $3, FALSE, $4)
		ON CONFLICT (room_id) DO UPDATE
		SET portal = excluded.portal, replacement = excluded.replacement, finished = FALSE, since = excluded.since`)
	updateFormer = database.SQL(`
		UPDATE former_rooms
		SET finished = TRUE
		WHERE room_id = $1`)
	deleteFormer = database.SQL(`
		DELETE FROM former_rooms
		WHERE portal = $1`)
)

// A formerRoom is one that a portal had.
type formerRoom struct {
	room  matrix.RoomID
	until int64 // when it was replaced, Unix ms
}

// lookBack is in how many of these a message is looked for.
const lookBack = 10

// A left is a room that a portal had, of which something remains to be done.
type left struct {
	portal   *Portal
	room, to matrix.RoomID
}

func (b *Bridge) loadFormer(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectFormer)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l left
		var portal, since int64
		var finished bool
		if err := rows.Scan(&l.room, &portal, &l.to, &finished, &since); err != nil {
			return err
		}
		if l.portal = b.byID[portal]; l.portal == nil {
			continue
		}
		l.portal.former = append(l.portal.former, formerRoom{l.room, since})
		if !finished {
			b.unfinished = append(b.unfinished, l)
		}
	}
	return rows.Err()
}

// resumeUpgrades goes on with what an earlier process has begun. Tombstones that it has not worked off
// are known before anything else is.
func (b *Bridge) resumeUpgrades(ctx context.Context) error {
	if err := b.inbox.Left(ctx, b.heardUpgrade); err != nil {
		return err
	}
	for _, l := range b.unfinished {
		b.goRun(func() { l.portal.leaveBehind(ctx, l.room, l.to) })
	}
	b.unfinished = nil
	return nil
}

// Moving tells whether the portal's room is being replaced.
func (p *Portal) Moving() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moving
}

// Rooms are the portal's room and those that it had before, the newest first. The bridge is in all
// of them.
func (p *Portal) Rooms() []matrix.RoomID {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.room == "" {
		return nil
	}
	rooms := []matrix.RoomID{p.room}
	for _, one := range p.former {
		rooms = append(rooms, one.room)
	}
	return rooms
}

// A nextRoom is what there is to know of a room before a portal moves there.
type nextRoom struct {
	predecessor matrix.RoomID
	topic       string
	people      map[matrix.UserID]string
	power       bool // the bridge can do there what it has to
	known       bool // the bridge was there before
	missed      []json.RawMessage
}

func (p *Portal) readNext(ctx context.Context, room matrix.RoomID) (*nextRoom, error) {
	b, next := p.bridge, &nextRoom{people: map[matrix.UserID]string{}}
	var state []*event.Event
	err := client.Retry(ctx, b.noteFailing("read the state of a new room"), func(ctx context.Context) (err error) {
		state, err = b.reader(p).AllState(ctx, room)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the state of %s: %w", room, err)
	}
	creator, levels := false, json.RawMessage("{}")
	for _, e := range state {
		_ = e.Content.ParseRaw(e.Type) // what is broken says nothing
		user := matrix.UserID(e.GetStateKey())
		switch e.Type {
		case event.StateCreate:
			if before := e.Content.AsCreate().Predecessor; before != nil {
				next.predecessor = matrix.RoomID(before.RoomID)
			}
			creator = matrix.UserID(e.Sender) == b.client.Bot().ID
		case event.StatePowerLevels:
			levels = encode(e.Content.Raw)
		case event.StateTopic:
			next.topic = e.Content.AsTopic().Topic
		case event.StateMember:
			if member := e.Content.AsMember(); member.Membership == event.MembershipJoin && !b.IsGhost(user) && user != b.client.Bot().ID {
				next.people[user] = member.Displayname
			}
		}
	}
	next.power = creator || mayModerate(levels, b.client.Bot().ID)
	return next, nil
}

// mayModerate tells whether power levels let a user kick, and change them.
func mayModerate(raw json.RawMessage, user matrix.UserID) bool {
	var levels struct {
		Users   map[matrix.UserID]int `json:"users"`
		Default int                   `json:"users_default"`
		Kick    *int                  `json:"kick"`
		State   *int                  `json:"state_default"`
		Events  map[string]int        `json:"events"`
	}
	_ = json.Unmarshal(raw, &levels)
	or := func(level *int) int {
		if level == nil {
			return 50
		}
		return *level
	}
	has, named := levels.Users[user]
	if !named {
		has = levels.Default
	}
	change, named := levels.Events["m.room.power_levels"]
	if !named {
		change = or(levels.State)
	}
	return has >= or(levels.Kick) && has >= change
}

// move makes a room the portal's that replaces another. What waits in the outbox goes to the new
// one, whose virtual users the network names anew. Memory comes first: what is written from now on says
// the new room, and nothing is sent before it is saved. What was missed there is kept with that and not before:
// a process that finds it, and not the room, would take it for nobody's.
func (p *Portal) move(ctx context.Context, a *arrival, next *nextRoom, old, to matrix.RoomID) error {
	b := p.bridge
	now := millis(time.Now())
	row, err := p.enter(next, old, to, now)
	if err != nil {
		return err
	}
	people := make([][]any, 0, len(next.people))
	for _, user := range slices.Sorted(maps.Keys(next.people)) {
		people = append(people, []any{p.id, user, false, next.people[user]})
	}
	var missed []*client.Event
	var done func(*client.Event)
	commit := func(write func(*database.Tx) error) (err error) {
		missed, done, err = b.inbox.Take(ctx, next.missed, func(tx *database.Tx) error {
			return errors.Join(
				tx.Queue(ctx, upsertPortal, row...),
				tx.Queue(ctx, insertFormer, old, p.id, to, now),
				tx.Queue(ctx, deleteMembers, p.id),
				tx.Queue(ctx, deleteRights, p.id),
				tx.ExecMany(ctx, upsertMember, people),
				write(tx))
		})
		return err
	}
	if rehouser, ok := b.remote.(Rehouser); ok && p.Plumbed() {
		err = rehouser.Rehouse(ctx, p.Key(), old, to, commit)
	} else {
		err = commit(func(*database.Tx) error { return nil })
	}
	if err != nil {
		p.mu.Lock()
		p.room, p.former = old, p.former[1:]
		p.mu.Unlock()
		return fmt.Errorf("save that a room was replaced: %w", err)
	}
	b.precede(a, missed, done)
	b.mu.Lock()
	delete(b.byRoom, old)
	b.byRoom[to] = p
	b.mu.Unlock()
	if voice := p.voice(); voice.ID != "" {
		p.members.changed(voice.ID, true)
		b.attend(to, p)
	}
	if !next.power && !p.Plumbed() && !p.Direct() {
		p.announce(ctx, to, to, fmt.Sprintf("The bridge has followed to this room, and has no power here. Give %s the power level 100.", b.client.Bot().ID))
	}
	return nil
}

// enter has the portal know the new room, and returns its row.
func (p *Portal) enter(next *nextRoom, old, to matrix.RoomID, now int64) ([]any, error) {
	// Whoever is to be brought into a room is wanted in this one or in that one: members.next.
	p.members.mu.Lock()
	defer p.members.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return nil, errRetired
	}
	p.members.begin()
	p.room, p.people, p.topic = to, maps.Clone(next.people), next.topic
	p.former = append([]formerRoom{{old, now}}, p.former...)
	p.granted, p.listing.hidden = granted{}, false
	fresh := newGate()
	fresh.guarded, fresh.present, fresh.leaving = p.gate.guarded, p.gate.present, p.gate.leaving
	for user := range p.people {
		fresh.arrival++
		fresh.arrived[user] = fresh.arrival
	}
	close(p.gate.changed)
	p.gate = fresh
	return p.row(), nil
}

// arrived looks for a message in the rooms that were replaced, if an earlier process may have sent it there, and
// takes it out of the queue if it has. If it has not, neither has it sent any behind it.
func (p *Portal) arrived(ctx context.Context, e entry) (there bool, err error) {
	if !p.mayBeIn(e) {
		return false, nil
	}
	if _, err := p.pass(ctx, e); err != nil {
		return false, ctx.Err() // sendOne knows what is to be done
	}
	var former []matrix.RoomID
	p.mu.Lock()
	for _, one := range p.former[:min(len(p.former), lookBack)] {
		if e.Time <= one.until {
			former = append(former, one.room)
		}
	}
	p.mu.Unlock()
	if len(former) == 0 {
		return false, nil
	}
	for _, room := range former {
		id, err := p.find(ctx, room, e)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			p.bridge.log.Warn("what is in a room that was replaced is not known; something may be in the new one as well", "room", room, "err", err)
		}
		if id != "" {
			p.sent(e, id, nil)
			return true, nil
		}
	}
	p.mu.Lock()
	p.drain.inherited = 0
	p.mu.Unlock()
	return false, nil
}

// find is the event in a room that a message has become, or empty. Its time is the message's, to the millisecond. It is
// looked for and not sent again, although the homeserver would know it by its transaction ID: what it does not know, some virtual
// users may still say in a room that nobody reads any more.
func (p *Portal) find(ctx context.Context, room matrix.RoomID, e entry) (found matrix.EventID, err error) {
	b, sender := p.bridge, e.Sender
	if sender == "" {
		sender = b.client.Bot().ID
	}
	var list []*event.Event
	err = client.Retry(ctx, b.noteFailing("look for a message in a room that was replaced"), func(ctx context.Context) (err error) {
		list, err = b.reader(p).LatestOf(ctx, room, sender, e.Type, event.EventEncrypted.Type)
		return err
	})
	if err != nil {
		return "", err
	}
	var content struct {
		Body string `json:"body"`
	}
	if err := json.Unmarshal(e.Content, &content); err != nil {
		return "", err
	}
	for _, one := range list {
		body, _ := one.Content.Raw["body"].(string)
		id := matrix.EventID(one.ID)
		if one.Timestamp == e.Time && (one.Type.Type != e.Type || body == content.Body) && !p.drain.found[id] {
			found = id // the oldest
		}
	}
	if found != "" {
		if p.drain.found == nil {
			p.drain.found = map[matrix.EventID]bool{}
		}
		p.drain.found[found] = true
	}
	return found, nil
}

// mayBeIn tells whether a message may be in a room already without our knowing.
func (p *Portal) mayBeIn(e entry) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return e.Kind == kindMessage && e.seq <= p.drain.inherited
}

// begin forgets who is in the room: it is another one. It is called with mu held.
func (m *members) begin() {
	m.joined, m.wanted, m.order = map[matrix.UserID]bool{}, map[matrix.UserID]want{}, nil
}

// leaveBehind does what remains to be done about a room that was replaced: its aliases lead to the new
// one, the new one says what it is bridged to, and the virtual users leave the old one. The bridge's own user
// stays, for links to what was said there.
func (p *Portal) leaveBehind(ctx context.Context, old, to matrix.RoomID) {
	b := p.bridge
	if p.Direct() {
		b.write(updateFormer, old)
		return
	}
	err := errors.Join(p.moveAliases(ctx, old, to), p.leaveGhosts(ctx, old))
	p.describe()
	if ctx.Err() != nil {
		return // the rest after the restart
	}
	if err != nil {
		b.log.Warn("something of a room that was replaced remains as it was", "room", old, "err", err)
	}
	b.write(updateFormer, old)
}

// moveAliases has the old room's aliases lead to the new one, where nobody has seen to that yet.
func (p *Portal) moveAliases(ctx context.Context, old, to matrix.RoomID) error {
	b, bot := p.bridge, p.bridge.client.Bot()
	var aliases []matrix.RoomAlias
	err := client.Retry(ctx, b.noteFailing("list a room's aliases"), func(ctx context.Context) (err error) {
		aliases, err = bot.Aliases(ctx, old)
		return err
	})
	if err != nil {
		return fmt.Errorf("list the aliases: %w", err)
	}
	p.mu.Lock()
	own := p.alias
	p.mu.Unlock()
	for _, alias := range aliases {
		err := client.Retry(ctx, b.noteFailing("move an alias"), func(ctx context.Context) error {
			if err := bot.DeleteAlias(ctx, alias); err != nil && !client.Is(err, "M_NOT_FOUND") {
				return err
			}
			return p.ensureAlias(ctx, alias, to)
		})
		if err != nil && ctx.Err() == nil {
			b.log.Info("an alias still leads to a room that was replaced", "alias", alias, "err", err)
		}
	}
	if own == "" || !slices.Contains(aliases, own) {
		return nil
	}
	// Who could not upgrade the room by the homeserver's means has left out the main alias, too.
	_, err = bot.State(ctx, to, "m.room.canonical_alias", "")
	if client.Is(err, "M_NOT_FOUND") {
		return bot.SendState(ctx, to, "m.room.canonical_alias", "", map[string]string{"alias": string(own)}, time.Now())
	}
	return nil
}

// leaveGhosts takes the virtual users out of a room.
func (p *Portal) leaveGhosts(ctx context.Context, room matrix.RoomID) error {
	b := p.bridge
	var members map[matrix.UserID]string
	err := client.Retry(ctx, b.noteFailing("list who is in a room"), func(ctx context.Context) (err error) {
		members, err = b.client.Bot().JoinedMembers(ctx, room)
		return err
	})
	if err != nil {
		return fmt.Errorf("list the members: %w", err)
	}
	for user := range members {
		if !b.IsGhost(user) {
			continue
		}
		select {
		case b.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		err := client.Retry(ctx, b.noteFailing("leave a room"), func(ctx context.Context) error {
			return b.client.As(user).Leave(ctx, room, "This room was replaced.")
		})
		<-b.slots
		if err != nil && ctx.Err() == nil {
			b.log.Info("a virtual user did not leave a room", "room", room, "user", user, "err", err)
		}
	}
	return ctx.Err()
}
