package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Rights are what the network says about who may do what in a channel. They become the
// room's power levels and join rule; what else people have set there stays.
type Rights struct {
	Users   map[matrix.UserID]int `json:"users,omitempty"`   // those with power by the network
	Speak   int                   `json:"speak,omitempty"`   // the power that speaking takes
	Topic   int                   `json:"topic,omitempty"`   // and the topic
	Invited bool                  `json:"invited,omitempty"` // only who is invited may join
}

// rightsEntry is what the queue has of it.
type rightsEntry struct {
	Rights
	Enforce bool            `json:"enforce,omitempty"`
	Revoke  []matrix.UserID `json:"revoke,omitempty"`
}

var (
	selectRights = database.SQL(`
		SELECT portal, content
		FROM rights
		ORDER BY portal
		LIMIT 1000000`)
	upsertRights = database.SQL(`
		INSERT INTO rights (portal, content)
		VALUES ($1, $2)
		ON CONFLICT (portal) DO UPDATE
		SET content = excluded.content`)
	deleteRights = database.SQL(`
		DELETE FROM rights
		WHERE portal = $1`)
)

// A granted is what the room has of the network's rights.
type granted struct {
	queued  string // encoded, the last that were put into the queue
	applied Rights // that the room has
}

func (b *Bridge) loadRights(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectRights)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var portal int64
		var content []byte
		if err := rows.Scan(&portal, &content); err != nil {
			return err
		}
		p := b.byID[portal]
		if p == nil {
			continue
		}
		if err := json.Unmarshal(content, &p.granted.applied); err != nil {
			return fmt.Errorf("rights of a portal: %w", err)
		}
		p.granted.queued = string(encode(p.granted.applied))
	}
	return rows.Err()
}

// SetRights gives the room the network's rights, in one m.room.power_levels for all of them, if
// they are others than before. With enforce it looks in any case: somebody has changed the room,
// and the users of revoke have no power but that of r. Without a room it does nothing.
func (p *Portal) SetRights(r Rights, enforce bool, revoke ...matrix.UserID) {
	encoded := string(encode(r))
	p.mu.Lock()
	same := p.room == "" || p.plumbed || p.granted.queued == encoded && !enforce
	if !same {
		p.granted.queued = encoded
	}
	p.mu.Unlock()
	if same {
		return
	}
	p.enqueue(entry{Kind: kindRights, Content: encode(rightsEntry{r, enforce, revoke}), Time: millis(time.Now())}, nil)
}

// Rights are those of the network that the room has by now.
func (p *Portal) Rights() Rights {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.granted.applied
	r.Users = maps.Clone(r.Users)
	return r
}

// NoteRights notes what people have made of the rights in the room.
func (p *Portal) NoteRights(change func(*Rights)) {
	r := p.Rights()
	if r.Users == nil {
		r.Users = map[matrix.UserID]int{}
	}
	change(&r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.granted.applied = r
}

// applyRights changes what differs in the room.
func (p *Portal) applyRights(ctx context.Context, e entry) error {
	var want rightsEntry
	if err := json.Unmarshal(e.Content, &want); err != nil {
		return err
	}
	p.mu.Lock()
	had := p.granted.applied
	p.mu.Unlock()
	at := time.UnixMilli(e.Time)
	levels := p.applyLevels(ctx, had, want, at)
	rule := p.applyJoinRule(ctx, had, want, at)
	err := errors.Join(levels, rule)
	if client.Temporary(levels) || client.Temporary(rule) {
		return err
	}
	// What the homeserver refused for good would be refused each time.
	p.mu.Lock()
	p.granted.applied = want.Rights
	p.mu.Unlock()
	p.bridge.write(upsertRights, p.id, encode(want.Rights))
	return err
}

func (p *Portal) applyLevels(ctx context.Context, had Rights, want rightsEntry, at time.Time) error {
	bot := p.bridge.client.Bot()
	raw, err := bot.State(ctx, p.Room(), "m.room.power_levels", "")
	if err != nil && !client.Is(err, "M_NOT_FOUND") {
		return fmt.Errorf("read the power levels: %w", err)
	}
	next, changed := mergeLevels(raw, bot.ID, had, want)
	if !changed {
		return nil
	}
	return bot.SendState(ctx, p.Room(), "m.room.power_levels", "", next, at)
}

// mergeLevels puts rights into power levels. Nobody gets as much power as the bot's: that could
// not be taken back. Those who have as much, or were given power by people, are left alone.
func mergeLevels(raw json.RawMessage, bot matrix.UserID, had Rights, want rightsEntry) (next map[string]json.RawMessage, changed bool) {
	next = map[string]json.RawMessage{}
	_ = json.Unmarshal(raw, &next) // what is broken is made anew
	users, events := map[matrix.UserID]int{}, map[string]int{}
	_ = json.Unmarshal(next["users"], &users)
	_ = json.Unmarshal(next["events"], &events)
	limit, named := users[bot]
	if !named { // the creator of a room whose creators are above all
		limit = 101
	}
	before := maps.Clone(users)
	for user, level := range want.Users {
		if users[user] < limit && user != bot {
			users[user] = min(level, limit-1)
		}
	}
	for _, user := range slices.AppendSeq(slices.Clone(want.Revoke), maps.Keys(had.Users)) {
		if _, still := want.Users[user]; !still && user != bot && users[user] < limit {
			delete(users, user)
		}
	}
	if !maps.Equal(before, users) {
		next["users"], changed = encode(users), true
	}
	if topic, set := events["m.room.topic"]; (had.Topic != want.Topic || want.Enforce || !set) && (topic != want.Topic || !set) && want.Topic < limit {
		events["m.room.topic"] = want.Topic
		next["events"], changed = encode(events), true
	}
	var speak int
	_ = json.Unmarshal(next["events_default"], &speak)
	if (had.Speak != want.Speak || want.Enforce) && speak != want.Speak && want.Speak < limit {
		next["events_default"], changed = encode(want.Speak), true
	}
	return next, changed
}

func (p *Portal) applyJoinRule(ctx context.Context, had Rights, want rightsEntry, at time.Time) error {
	if had.Invited == want.Invited && !want.Enforce {
		return nil
	}
	bot := p.bridge.client.Bot()
	raw, err := bot.State(ctx, p.Room(), "m.room.join_rules", "")
	if err != nil && !client.Is(err, "M_NOT_FOUND") {
		return fmt.Errorf("read the join rule: %w", err)
	}
	var is struct {
		JoinRule string `json:"join_rule"`
	}
	_ = json.Unmarshal(raw, &is)
	rule := "public"
	if want.Invited {
		rule = "invite"
	}
	// A rule that is neither is the room's own affair.
	if is.JoinRule == rule || is.JoinRule != "" && is.JoinRule != "public" && is.JoinRule != "invite" {
		return nil
	}
	return bot.SendState(ctx, p.Room(), "m.room.join_rules", "", map[string]string{"join_rule": rule}, at)
}

// lift gives a virtual user the power to speak. The network has shown what it said: it is to
// be in the room, though the user may have no right to say more.
func (p *Portal) lift(ctx context.Context, user matrix.UserID) error {
	p.mu.Lock()
	had := p.granted.applied
	want := rightsEntry{Rights: had}
	want.Users = maps.Clone(had.Users)
	if want.Users == nil {
		want.Users = map[matrix.UserID]int{}
	}
	if want.Speak <= want.Users[user] {
		p.mu.Unlock()
		return fmt.Errorf("%s has the power to speak", user)
	}
	want.Users[user] = want.Speak
	p.granted.applied, p.granted.queued = want.Rights, "" // the next change takes it back
	p.mu.Unlock()
	return p.applyLevels(ctx, had, want, time.Now())
}
