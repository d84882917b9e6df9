package bridge

import (
	"context"
	"fmt"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	selectKeys = database.SQL(`
		SELECT portal, content
		FROM channel_keys
		ORDER BY portal
		LIMIT 1000000`)
	upsertKey = database.SQL(`
		INSERT INTO channel_keys (portal, content)
		VALUES ($1, $2)
		ON CONFLICT (portal) DO UPDATE
		SET content = excluded.content`)
	deleteKey = database.SQL(`
		DELETE FROM channel_keys
		WHERE portal = $1`)
)

func (b *Bridge) loadKeys(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectKeys)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var portal int64
		var key string
		if err := rows.Scan(&portal, &key); err != nil {
			return err
		}
		if p := b.byID[portal]; p != nil {
			p.remoteKey = stored(key)
		}
	}
	return rows.Err()
}

// RemoteKey is what the network wants to know of who joins the channel; empty if nothing, or
// it is not known.
func (p *Portal) RemoteKey() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remoteKey
}

// SetRemoteKey remembers it.
func (p *Portal) SetRemoteKey(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.remoteKey == key:
		return
	case key == "":
		p.bridge.write(deleteKey, p.id)
	default:
		p.bridge.write(upsertKey, p.id, storable(key))
	}
	p.remoteKey = key
}

// An Inspector is a remote that may refuse a room that exists already.
type Inspector interface {
	Inspect(ctx context.Context, p *Portal, room matrix.RoomID) error
}

// Attached tells whether the portal's room existed before it was the portal's.
func (p *Portal) Attached() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room != "" && p.alias == ""
}

// Attach gives the portal a room that exists already, unless it has one. The bridge's own user
// has to be allowed to join it.
func (p *Portal) Attach(ctx context.Context, aliasOrID string) error {
	if p.Room() != "" {
		return nil
	}
	bot := p.bridge.client.Bot()
	var room matrix.RoomID
	err := client.Retry(ctx, p.bridge.noteFailing("join a room that exists"), func(ctx context.Context) (err error) {
		if err = bot.EnsureRegistered(ctx); err == nil {
			room, err = bot.JoinAlias(ctx, aliasOrID)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("join %s: %w", aliasOrID, err)
	}
	if other := p.bridge.FindRoom(room); other != nil && other != p {
		return matrix.RoomInUse("The room %s is that of %s already.", aliasOrID, other.Name())
	}
	if inspector, ok := p.bridge.remote.(Inspector); ok {
		if err := inspector.Inspect(ctx, p, room); err != nil {
			p.decline(ctx, room, err)
			return err
		}
	}
	members, err := bot.JoinedMembers(ctx, room)
	if err != nil {
		return fmt.Errorf("list who is in %s: %w", aliasOrID, err)
	}
	for user, name := range members {
		if _, ghost := p.bridge.remote.Ghost(user); !ghost && user != bot.ID {
			p.setPerson(user, name, true)
		}
	}
	return p.adopt(ctx, room)
}

// decline leaves a room that is not to be the portal's, and says why.
func (p *Portal) decline(ctx context.Context, room matrix.RoomID, why error) {
	reason := "This room cannot be bridged."
	if matrix.Code(why) != "" {
		reason = message(why)
	}
	if err := p.bridge.client.Bot().Leave(ctx, room, reason); err != nil && ctx.Err() == nil {
		p.bridge.log.Warn("a room was not left", "room", room, "err", err)
	}
}
