package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The kinds of entries that moderate.
const (
	kindRights = "rights"
	kindBan    = "ban"
	kindUnban  = "unban"
	kindRedact = "redact"
)

var (
	selectBans = database.SQL(`
		SELECT portal, user_id, mask
		FROM bans
		ORDER BY portal, user_id
		LIMIT 10000000`)
	upsertBan = database.SQL(`
		INSERT INTO bans (portal, user_id, mask)
		VALUES ($1, $2, $3)
		ON CONFLICT (portal, user_id) DO UPDATE
		SET mask = excluded.mask`)
	deleteBan = database.SQL(`
		DELETE FROM bans
		WHERE portal = $1
		AND user_id = $2`)
	deleteBans = database.SQL(`
		DELETE FROM bans
		WHERE portal = $1`)
)

// A Ban is one that both sides have.
type Ban struct {
	User matrix.UserID
	Mask string // the network's name for whom it means
}

func (b *Bridge) loadBans(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectBans)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var portal int64
		var ban Ban
		if err := rows.Scan(&portal, &ban.User, &ban.Mask); err != nil {
			return err
		}
		if p := b.byID[portal]; p != nil {
			p.bans[ban.User] = stored(ban.Mask)
		}
	}
	return rows.Err()
}

// Bans are those that both sides have, as far as the bridge saw to it.
func (p *Portal) Bans() []Ban {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Ban, 0, len(p.bans))
	for user, mask := range p.bans {
		all = append(all, Ban{user, mask})
	}
	return all
}

// BanOf is the mask by which the network bans whom the room bans.
func (p *Portal) BanOf(user matrix.UserID) (mask string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mask, ok = p.bans[user]
	return mask, ok
}

// NoteBan remembers that the network bans by a mask whom the room bans; without a mask,
// that it does no longer.
func (p *Portal) NoteBan(user matrix.UserID, mask string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if mask == "" {
		delete(p.bans, user)
		p.bridge.write(deleteBan, p.id, user)
		return
	}
	p.bans[user] = mask
	p.bridge.write(upsertBan, p.id, user, storable(mask))
}

// Ban bans somebody from the room, behind what was said before.
func (p *Portal) Ban(user matrix.UserID, reason string) { p.moderate(kindBan, user, reason) }

// Unban lets somebody in again, if the room bans them.
func (p *Portal) Unban(user matrix.UserID) { p.moderate(kindUnban, user, "") }

func (p *Portal) moderate(kind string, user matrix.UserID, reason string) {
	if p.Room() != "" && !p.Plumbed() {
		p.enqueue(entry{Kind: kind, Target: user, Reason: reason, Time: millis(time.Now())}, nil)
	}
}

// Redact takes back a message, by the network's ID, as its author if that is a virtual user, else
// as the bridge's own user.
func (p *Portal) Redact(remoteID, reason string) {
	p.enqueue(entry{Kind: kindRedact, RemoteID: remoteID, Reason: reason, Time: millis(time.Now())}, nil)
}

// act sends an entry that moderates.
func (p *Portal) act(ctx context.Context, e entry) error {
	bot, room := p.bridge.client.Bot(), p.Room()
	switch e.Kind {
	case kindRights:
		return p.applyRights(ctx, e)
	case kindBan, kindUnban:
		// It may be done already: an entry comes again if the bridge was killed.
		banned, err := p.banned(ctx, e.Target)
		switch {
		case err != nil || banned == (e.Kind == kindBan):
			return err
		case banned:
			return bot.Unban(ctx, room, e.Target)
		}
		return bot.Ban(ctx, room, e.Target, e.Reason)
	case kindRedact:
		return p.redact(ctx, e)
	case kindUnreact:
		return p.unreact(ctx, e)
	}
	return fmt.Errorf("the queue has an entry of kind %q", e.Kind)
}

// banned tells whether the room bans somebody.
func (p *Portal) banned(ctx context.Context, user matrix.UserID) (bool, error) {
	raw, err := p.bridge.client.Bot().State(ctx, p.Room(), "m.room.member", string(user))
	if client.Is(err, "M_NOT_FOUND") {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read a membership: %w", err)
	}
	var is struct {
		Membership string `json:"membership"`
	}
	_ = json.Unmarshal(raw, &is)
	return is.Membership == "ban", nil
}

// redact finds the event and takes it back.
func (p *Portal) redact(ctx context.Context, e entry) error {
	// What this portal sent before is in the table when this is.
	if err := p.bridge.written(ctx); err != nil {
		return err
	}
	event, ok, err := p.EventOf(ctx, e.RemoteID)
	if err != nil || !ok {
		return err
	}
	sent, known, err := p.Message(ctx, event)
	if err != nil {
		return err
	}
	txn := fmt.Sprintf("%s.%d", p.bridge.instance, e.seq)
	_, ghost := p.bridge.remote.Ghost(sent.Sender)
	if known && ghost {
		err := p.bridge.client.As(sent.Sender).Redact(ctx, p.Room(), event, e.Reason, txn)
		if !client.Is(err, "M_FORBIDDEN") { // else it has left since
			return err
		}
	}
	moderator := p.bridge.client.Bot()
	if voice := p.voice(); voice.ID != "" { // there is none in a direct chat: what the person has said stays theirs
		if !known || !ghost {
			return nil
		}
		moderator = p.bridge.client.As(voice.ID)
	}
	return moderator.Redact(ctx, p.Room(), event, e.Reason, txn)
}

var (
	insertPart = database.SQL(`
		INSERT INTO message_parts (event_id, portal, remote_id, sent_at)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (event_id, remote_id) DO NOTHING`)
	selectParts = database.SQL(`
		SELECT remote_id
		FROM message_parts
		WHERE event_id = $1
		ORDER BY sent_at, remote_id
		LIMIT 1000`)
	selectPart = database.SQL(`
		SELECT event_id
		FROM message_parts
		WHERE portal = $1
		AND remote_id = $2
		ORDER BY sent_at DESC
		LIMIT 1`)
	deleteParts = database.SQL(`
		DELETE FROM message_parts
		WHERE sent_at < $1`)
)

// NoteParts remembers the network's IDs of a message that was cut into several, all but the one
// that is its own.
func (p *Portal) NoteParts(event matrix.EventID, remoteIDs []string, at time.Time) {
	for _, id := range remoteIDs {
		p.bridge.write(insertPart, event, p.id, id, millis(at))
	}
}

// RemoteIDs are the network's IDs of an event.
func (p *Portal) RemoteIDs(ctx context.Context, event matrix.EventID) ([]string, error) {
	sent, ok, err := p.Message(ctx, event)
	if err != nil || !ok || sent.RemoteID == "" {
		return nil, err
	}
	rows, err := p.bridge.db.Read().Query(ctx, selectParts, event)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := []string{sent.RemoteID}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		all = append(all, id)
	}
	return all, rows.Err()
}

// partOf finds the event of which a message is a part.
func (p *Portal) partOf(ctx context.Context, remoteID string) (matrix.EventID, bool, error) {
	var event matrix.EventID
	err := p.bridge.db.Read().QueryRow(ctx, selectPart, p.id, remoteID).Scan(&event)
	if errors.Is(err, database.ErrNoRows) {
		return "", false, nil
	}
	return event, err == nil, err
}
