package bridge

import (
	"context"
	"fmt"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	selectUnvisited = database.SQL(`
		SELECT portal, since
		FROM unvisited
		ORDER BY portal
		LIMIT 1000000`)
	insertUnvisited = database.SQL(`
		INSERT INTO unvisited (portal, since)
		VALUES ($1, $2)
		ON CONFLICT (portal) DO NOTHING`)
	deleteUnvisited = database.SQL(`
		DELETE FROM unvisited
		WHERE portal = $1`)
	selectGivenUp = database.SQL(`
		SELECT room_id
		FROM given_up
		ORDER BY room_id
		LIMIT 1000000`)
	insertGivenUp = database.SQL(`
		INSERT INTO given_up (room_id)
		VALUES ($1)
		ON CONFLICT (room_id) DO NOTHING`)
	deleteGivenUp = database.SQL(`
		DELETE FROM given_up
		WHERE room_id = $1`)
)

// givenUp is why people are removed who have come in just when a room was given up.
const givenUp = "This room has just been given up, since nobody was in it. Join it once more by its alias."

func (b *Bridge) loadUnvisited(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectUnvisited)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var portal, since int64
		if err := rows.Scan(&portal, &since); err != nil {
			return err
		}
		if p := b.byID[portal]; p != nil {
			p.unvisited = since
		}
	}
	return rows.Err()
}

// Unvisited is since when the portal has a room that was made for somebody, if nobody has come.
func (p *Portal) Unvisited() (since time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.UnixMilli(p.unvisited), p.unvisited != 0 && p.room != "" && !p.plumbed && !p.retired && len(p.people) == 0
}

// visit notes that somebody has been in the room, by which it is one for good. It is called with mu held.
func (p *Portal) visit() {
	if p.unvisited != 0 {
		p.unvisited = 0
		p.bridge.write(deleteUnvisited, p.id)
	}
}

// GiveUpUnvisited gives up a room in which no Matrix user has ever been, and tells whether it has: who is invited, or asks to
// be, is waited for.
func (b *Bridge) GiveUpUnvisited(ctx context.Context, p *Portal) (bool, error) {
	room := p.Room()
	if _, still := p.Unvisited(); !still {
		return false, nil
	}
	state, err := b.client.Bot().AllState(ctx, room)
	if err != nil && !outOf(err) {
		return false, fmt.Errorf("read the state of %s: %w", room, err)
	}
	for _, e := range state {
		user := matrix.UserID(e.GetStateKey())
		if e.Type.Type != event.StateMember.Type || b.IsGhost(user) || user == b.client.Bot().ID {
			continue
		}
		_ = e.Content.ParseRaw(event.StateMember)
		switch e.Content.AsMember().Membership {
		case event.MembershipJoin, event.MembershipInvite, event.MembershipKnock:
			return false, nil
		} // else they have declined: whoever was in the room we have heard of
	}
	return true, b.Abolish(ctx, p, "Nobody has come.")
}

// outOf tells whether a room is none of ours any more.
func outOf(err error) bool { return client.Is(err, "M_FORBIDDEN") || client.Is(err, "M_NOT_FOUND") }

// Abolish gives up a room that the bridge has made, and its aliases. It can be called again if it fails; once the portal is
// retired it goes on by itself, also after a restart.
func (b *Bridge) Abolish(ctx context.Context, p *Portal, reason string) error {
	room := p.Room()
	if room == "" || p.Plumbed() {
		return nil
	}
	bot := b.client.Bot()
	aliases, err := bot.Aliases(ctx, room)
	if outOf(err) {
		p.mu.Lock()
		aliases, err = []matrix.RoomAlias{p.alias}, nil
		p.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("list a room's aliases: %w", err)
	}
	for _, alias := range aliases {
		if alias == "" {
			continue
		}
		if err := bot.DeleteAlias(ctx, alias); err != nil && !outOf(err) {
			return fmt.Errorf("delete the alias %s: %w", alias, err)
		}
	}
	if err := b.Retire(ctx, p, func(tx *database.Tx) error { return tx.Queue(ctx, insertGivenUp, room) }); err != nil {
		return err
	}
	b.goRun(func() { b.leaveGivenUp(b.ctx, room, reason) })
	return nil
}

// leaveGivenUp has everybody of the bridge leave a room that it has made. Nobody else comes in any more, and who has come in
// meanwhile is told what to do.
func (b *Bridge) leaveGivenUp(ctx context.Context, room matrix.RoomID, reason string) {
	bot := b.client.Bot()
	err := client.Retry(ctx, b.noteFailing("give up a room"), func(ctx context.Context) error {
		err := bot.SendState(ctx, room, "m.room.join_rules", "", map[string]string{"join_rule": "invite"}, time.Now())
		if client.Temporary(err) {
			return err
		}
		members, err := bot.JoinedMembers(ctx, room)
		if client.Temporary(err) {
			return err
		}
		for user := range members {
			if b.IsGhost(user) || user == bot.ID {
				continue
			}
			if err := bot.Kick(ctx, room, user, givenUp); client.Temporary(err) {
				return err
			}
		}
		return b.Vacate(ctx, room, reason)
	})
	switch {
	case ctx.Err() != nil: // it is done after the restart
	case err != nil && !outOf(err):
		b.log.Warn("a room that was given up has not been left", "room", room, "err", err)
		fallthrough
	default:
		b.write(deleteGivenUp, room)
	}
}

// resumeGivenUp goes on where an earlier process was stopped.
func (b *Bridge) resumeGivenUp(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectGivenUp)
	if err != nil {
		return err
	}
	defer rows.Close()
	var rooms []matrix.RoomID
	for rows.Next() {
		var room matrix.RoomID
		if err := rows.Scan(&room); err != nil {
			return err
		}
		rooms = append(rooms, room)
	}
	b.goRun(func() {
		for _, room := range rooms {
			b.leaveGivenUp(ctx, room, "Nobody is here.")
		}
	})
	return rows.Err()
}
