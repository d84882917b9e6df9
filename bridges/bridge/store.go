package bridge

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	insertSetting = database.SQL(`
		INSERT INTO settings (name, value)
		VALUES ($1, $2)
		ON CONFLICT (name) DO NOTHING`)
	selectSetting = database.SQL(`
		SELECT value
		FROM settings
		WHERE name = $1`)
	selectPortals = database.SQL(`
		SELECT id, network, channel, name, alias, room_id, topic, wanted
		FROM portals
		ORDER BY id
		LIMIT 1000000`)
	upsertPortal = database.SQL(`
		INSERT INTO portals (id, network, channel, name, alias, room_id, topic, wanted)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (id) DO UPDATE
		SET name = excluded.name, alias = excluded.alias, room_id = excluded.room_id,
			topic = excluded.topic, wanted = excluded.wanted`)
	deletePortal = database.SQL(`
		DELETE FROM portals
		WHERE id = $1`)
	deleteEntries = database.SQL(`
		DELETE FROM outbox
		WHERE portal = $1`)
	deleteMembers = database.SQL(`
		DELETE FROM members
		WHERE portal = $1`)
	selectMembers = database.SQL(`
		SELECT portal, user_id, ghost, display_name
		FROM members
		ORDER BY portal, user_id
		LIMIT 10000000`)
	upsertMember = database.SQL(`
		INSERT INTO members (portal, user_id, ghost, display_name)
		VALUES ($1, $2, $3, $4)
		ON CONFLICT (portal, user_id) DO UPDATE
		SET display_name = excluded.display_name`)
	deleteMember = database.SQL(`
		DELETE FROM members
		WHERE portal = $1
		AND user_id = $2`)
	selectGhosts = database.SQL(`
		SELECT user_id, display_name
		FROM ghosts
		ORDER BY user_id
		LIMIT 10000000`)
	upsertGhost = database.SQL(`
		INSERT INTO ghosts (user_id, display_name)
		VALUES ($1, $2)
		ON CONFLICT (user_id) DO UPDATE
		SET display_name = excluded.display_name`)
	insertGhost = database.SQL(`
		INSERT INTO ghosts (user_id, display_name)
		VALUES ($1, '')
		ON CONFLICT (user_id) DO NOTHING`)
	selectManagement = database.SQL(`
		SELECT room_id, user_id
		FROM management_rooms
		ORDER BY room_id
		LIMIT 1000000`)
	upsertManagement = database.SQL(`
		INSERT INTO management_rooms (room_id, user_id)
		VALUES ($1, $2)
		ON CONFLICT (room_id) DO UPDATE
		SET user_id = excluded.user_id`)
	deleteManagement = database.SQL(`
		DELETE FROM management_rooms
		WHERE room_id = $1`)
)

// load reads into memory everything but the queue and the messages.
func (b *Bridge) load(ctx context.Context) error {
	return errors.Join(b.loadInstance(ctx), b.loadPortals(ctx), b.loadMembers(ctx),
		b.loadGhosts(ctx), b.loadManagement(ctx), b.loadQueued(ctx), b.loadRights(ctx),
		b.loadBans(ctx), b.loadKeys(ctx), b.loadSealings(ctx), b.loadUnlisted(ctx), b.loadInfo(ctx), b.loadFormer(ctx), b.loadInherited(ctx), b.loadUnvisited(ctx))
}

// loadInstance reads, or makes up, what tells this database from any other
// that this bridge may have had before: it goes into the transaction IDs, which
// the homeserver must never see twice for two events.
func (b *Bridge) loadInstance(ctx context.Context) (err error) {
	b.instance, err = b.setting(ctx, "instance", rand.Text()[:10])
	return err
}

// Secret is a key with a name, which nobody but this bridge knows. It is made up when it is
// first asked for, and stays.
func (b *Bridge) Secret(ctx context.Context, name string) ([]byte, error) {
	secret, err := b.setting(ctx, name, rand.Text()+rand.Text())
	return []byte(secret), err
}

// setting is a value of the table, which becomes fresh if there was none.
func (b *Bridge) setting(ctx context.Context, name, fresh string) (value string, err error) {
	err = b.db.Update(ctx, func(tx *database.Tx) error {
		if err := tx.Queue(ctx, insertSetting, name, fresh); err != nil {
			return err
		}
		return tx.QueryRow(ctx, selectSetting, name).Scan(&value)
	})
	if err != nil {
		return "", fmt.Errorf("read the setting %q: %w", name, err)
	}
	return value, nil
}

func (b *Bridge) loadPortals(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectPortals)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		p := newPortal(b)
		if err := rows.Scan(&p.id, &p.key.Network, &p.key.Channel, &p.name, &p.alias, &p.room, &p.topic, &p.wanted); err != nil {
			return err
		}
		p.key.Channel, p.name = stored(p.key.Channel), stored(p.name)
		p.guard()
		p.lodge()
		b.byKey[p.key] = p
		b.byID[p.id] = p
		if p.room != "" {
			b.byRoom[p.room] = p
		}
	}
	return rows.Err()
}

func (b *Bridge) loadMembers(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectMembers)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var portal int64
		var user matrix.UserID
		var ghost bool
		var name string
		if err := rows.Scan(&portal, &user, &ghost, &name); err != nil {
			return err
		}
		switch p := b.byID[portal]; {
		case p == nil:
		case ghost:
			p.members.load(user)
		default:
			p.people[user] = stored(name)
		}
	}
	return rows.Err()
}

func (b *Bridge) loadGhosts(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectGhosts)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var user matrix.UserID
		var name string
		if err := rows.Scan(&user, &name); err != nil {
			return err
		}
		b.ghostNames[user] = name
		b.client.Registered(user)
	}
	return rows.Err()
}

func (b *Bridge) loadManagement(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectManagement)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var room matrix.RoomID
		var user matrix.UserID
		if err := rows.Scan(&room, &user); err != nil {
			return err
		}
		b.management[room] = user
	}
	return rows.Err()
}

// write runs one statement without waiting for it. What is written so can be
// had again from the homeserver or the network if it should be lost.
func (b *Bridge) write(statement *database.Statement, args ...any) {
	b.db.Enqueue(func(tx *database.Tx) error {
		return tx.Queue(context.Background(), statement, args...)
	}, func(err error) {
		if err != nil && !errors.Is(err, database.ErrClosed) {
			b.log.Error("the bridge's database was not updated", "err", err)
		}
	})
}

// encode is for our own types, which always encode.
func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}

func millis(t time.Time) int64 { return t.UnixMilli() }
