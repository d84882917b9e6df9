package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	insertInherited = database.SQL(`
		INSERT INTO inherited (portal)
		VALUES ($1)`)
	deleteInherited = database.SQL(`
		DELETE FROM inherited
		WHERE portal = $1`)
	selectInherited = database.SQL(`
		SELECT portal
		FROM inherited
		ORDER BY portal
		LIMIT 1000000`)
	insertManagement = database.SQL(`
		INSERT INTO management_rooms (room_id, user_id)
		VALUES ($1, $2)
		ON CONFLICT (room_id) DO NOTHING`)
)

// settleAtOnce is how many rooms the homeserver is asked about at the same time.
const settleAtOnce = 8

// An Inheritance is what another bridge leaves.
type Inheritance struct {
	Portals    []InheritedPortal
	Management map[matrix.RoomID]matrix.UserID // who talks to the bridge where
	Ghosts     []matrix.UserID                 // that exist
}

// An InheritedPortal is a channel, or a direct chat, and its room.
type InheritedPortal struct {
	Key   Key
	Name  string
	Alias matrix.RoomAlias
	Room  matrix.RoomID
}

// Inherited is what became of it.
type Inherited struct {
	Taken   []InheritedPortal
	There   int               // that this bridge had already
	Refused map[string]string // rooms, and why not
}

// Inherit puts what another bridge leaves into a database that no bridge uses now, as a part of a
// transaction. Repeated, it changes nothing.
func Inherit(ctx context.Context, tx *database.Tx, ids *database.IDs, in Inheritance) (Inherited, error) {
	result := Inherited{Refused: map[string]string{}}
	byKey, byRoom, err := portalsThere(ctx, tx)
	if err != nil {
		return result, err
	}
	for _, p := range in.Portals {
		room, exists := byKey[p.Key]
		other, used := byRoom[p.Room]
		switch {
		case exists && room == p.Room:
			result.There++
			continue
		case exists:
			result.Refused[string(p.Room)] = fmt.Sprintf("%s of %s has the room %s already", p.Name, p.Key.Network, room)
			continue
		case used:
			result.Refused[string(p.Room)] = fmt.Sprintf("it is the room of %s of %s already", other.Channel, other.Network)
			continue
		}
		id, err := ids.Next(ctx)
		if err != nil {
			return result, err
		}
		err = tx.Queue(ctx, upsertPortal, id, p.Key.Network, storable(p.Key.Channel), storable(p.Name), p.Alias, p.Room, "", false)
		if err == nil {
			err = tx.Queue(ctx, insertInherited, id)
		}
		if err != nil {
			return result, err
		}
		byKey[p.Key], byRoom[p.Room] = p.Room, p.Key
		result.Taken = append(result.Taken, p)
	}
	for room, user := range in.Management {
		if err := tx.Queue(ctx, insertManagement, room, user); err != nil {
			return result, err
		}
	}
	for _, ghost := range in.Ghosts {
		if err := tx.Queue(ctx, insertGhost, ghost); err != nil {
			return result, err
		}
	}
	return result, nil
}

// portalsThere are the portals that there are.
func portalsThere(ctx context.Context, tx *database.Tx) (byKey map[Key]matrix.RoomID, byRoom map[matrix.RoomID]Key, err error) {
	byKey, byRoom = map[Key]matrix.RoomID{}, map[matrix.RoomID]Key{}
	rows, err := tx.Query(ctx, selectPortals)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var key Key
		var name, alias, topic string
		var room matrix.RoomID
		var wanted bool
		if err := rows.Scan(&id, &key.Network, &key.Channel, &name, &alias, &room, &topic, &wanted); err != nil {
			return nil, nil, err
		}
		key.Channel = stored(key.Channel)
		byKey[key] = room
		if room != "" {
			byRoom[room] = key
		}
	}
	return byKey, byRoom, rows.Err()
}

// loadInherited reads which portals are not settled.
func (b *Bridge) loadInherited(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectInherited)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return err
		}
		b.unsettled = append(b.unsettled, id)
	}
	return rows.Err()
}

// Settle asks the homeserver who is in rooms that were another bridge's, for as long as that takes.
// Nothing may be sent to the network, or to these rooms, before it returns: not knowing who reads
// is no reason to take it that nobody does.
func (b *Bridge) Settle(ctx context.Context) {
	if len(b.unsettled) == 0 {
		return
	}
	b.log.Info("asking who is in rooms that were another bridge's", "rooms", len(b.unsettled))
	var all sync.WaitGroup
	turns := make(chan struct{}, settleAtOnce)
	for _, id := range b.unsettled {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			p := b.FindID(id)
			if p == nil {
				b.write(deleteInherited, id)
				return
			}
			err := p.settle(ctx)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				b.log.Error("a room cannot be used any more", "channel", p.Name(), "room", p.Room(), "err", err)
				p.abandon()
			default:
				b.write(deleteInherited, id)
			}
		})
	}
	all.Wait()
	b.unsettled = nil
}

var errNobody = errors.New("the person has left it")

// settle learns who is in the room.
func (p *Portal) settle(ctx context.Context) error {
	b, room := p.bridge, p.Room()
	us, person := b.client.Bot(), matrix.UserID("")
	if voice := p.voice(); voice.ID != "" {
		us = b.client.As(voice.ID)
	}
	var members map[matrix.UserID]string
	err := client.Retry(ctx, b.noteFailing("list who is in a room"), func(ctx context.Context) (err error) {
		if err = us.EnsureRegistered(ctx); err == nil {
			members, err = us.JoinedMembers(ctx, room)
		}
		return err
	})
	if err != nil {
		return err
	}
	for user, name := range members {
		if _, ghost := b.remote.Ghost(user); ghost {
			p.members.changed(user, true)
		} else if user != b.client.Bot().ID {
			p.setPerson(user, name, true)
			person = user
		}
	}
	if p.Direct() && person == "" {
		return errNobody
	}
	// The network's topic is most likely the room's: then it need not be set again.
	if raw, err := us.State(ctx, room, "m.room.topic", ""); err == nil {
		var content struct {
			Topic string `json:"topic"`
		}
		if json.Unmarshal(raw, &content) == nil {
			p.mu.Lock()
			p.topic = content.Topic
			b.write(upsertPortal, p.row()...)
			p.mu.Unlock()
		}
	}
	return nil
}

// abandon forgets a portal whose room is of no use.
func (p *Portal) abandon() {
	b, room := p.bridge, p.Room()
	b.mu.Lock()
	delete(b.byRoom, room)
	b.mu.Unlock()
	p.mu.Lock()
	p.room = ""
	p.mu.Unlock()
	b.Drop(p)
	b.write(deleteInherited, p.id)
}
