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

// A Plumber may be implemented by a [Remote] that puts channels into rooms of others. Such a
// room is not the bridge's: its members, power levels, topic and history are what its own people make of them, and
// the bridge only speaks there.
type Plumber interface {
	// Plumbed tells whether a channel's room is another's. It is asked when portals are loaded.
	Plumbed(key Key, room matrix.RoomID) bool
	// Readable tells whether the channel may be told in such a room, given who can read its
	// history. It is asked before the first event is sent.
	Readable(key Key, room matrix.RoomID, visibility string) bool
	// Evicted is called when the bridge's own user is no longer in a room.
	Evicted(room matrix.RoomID)
}

// A Rehouser is a [Plumber] that keeps which room of others a channel has.
type Rehouser interface {
	// Rehouse is called when such a room is replaced. commit commits the move of the portal, and what write
	// writes, together; it is not called if the channel is not to follow.
	Rehouse(ctx context.Context, key Key, old, to matrix.RoomID, commit func(write func(*database.Tx) error) error) error
}

// errRetired ends what was under way for a portal that is no more.
var errRetired = errors.New("the channel and the room were separated")

// Plumbed tells whether the portal's room is another's.
func (p *Portal) Plumbed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plumbed
}

// DisplayName is how somebody is called in the room; empty if they are not there.
func (p *Portal) DisplayName(user matrix.UserID) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.people[user]
}

// lodge is called for a portal that has got a room.
func (p *Portal) lodge() {
	plumber, ok := p.bridge.remote.(Plumber)
	p.plumbed = ok && p.room != "" && plumber.Plumbed(p.key, p.room)
	if p.plumbed {
		p.gate.guarded = false // who is there may read: that is what was consented to
	}
}

// Plumb gives a channel a room of others, in which the bridge's own user is already. The portal
// that the channel had is retired, so that nothing which was said before gets into the room.
func (b *Bridge) Plumb(ctx context.Context, key Key, name string, room matrix.RoomID) (*Portal, error) {
	if other := b.FindRoom(room); other != nil {
		if other.Key() == key && other.Plumbed() {
			return other, nil
		}
		return nil, matrix.RoomInUse("The room is that of %s already.", other.Name())
	}
	if old := b.Find(key); old != nil {
		if err := b.Retire(ctx, old); err != nil {
			return nil, err
		}
	}
	p, err := b.Portal(ctx, key, name)
	if err != nil {
		return nil, err
	}
	members, err := b.client.Bot().JoinedMembers(ctx, room)
	if err != nil {
		return nil, fmt.Errorf("list who is in %s: %w", room, err)
	}
	p.mu.Lock()
	p.plumbed, p.gate.guarded = true, false
	p.mu.Unlock()
	for user, name := range members {
		if !b.IsGhost(user) && user != b.client.Bot().ID {
			p.setPerson(user, name, true)
		}
	}
	b.setManaged(room, "")
	return p, p.adopt(ctx, room)
}

// Retire separates a channel from its room: from now on nothing that is said on either side
// gets to the other. What also writes is committed with that. Who was brought into the room is still
// there; see [Bridge.Vacate].
func (b *Bridge) Retire(ctx context.Context, p *Portal, also ...func(*database.Tx) error) error {
	p.mu.Lock()
	room := p.room
	p.retired, p.room = true, ""
	clear(p.queued)
	for _, w := range p.waiters {
		close(w.done)
	}
	p.waiters = nil
	p.mu.Unlock()
	b.mu.Lock()
	if b.byID[p.id] == p {
		delete(b.byID, p.id)
		delete(b.byKey, p.key)
		if room != "" && b.byRoom[room] == p {
			delete(b.byRoom, room)
		}
	}
	b.mu.Unlock()
	p.moved()
	err := b.db.Update(ctx, func(tx *database.Tx) error {
		for _, statement := range []*database.Statement{deleteEntries, deleteMembers, deleteRights, deleteBans, deleteKey, deletePortal, deleteUnlisted, deleteInfo, deleteCreator, deleteFormer, deleteUnvisited} {
			if err := tx.Queue(ctx, statement, p.id); err != nil {
				return err
			}
		}
		for _, write := range also {
			if err := write(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget a portal: %w", err)
	}
	p.forgetInfo(ctx)
	return nil
}

// Vacate takes the virtual users, and then the bridge's own, out of a room that is no portal's
// any more.
func (b *Bridge) Vacate(ctx context.Context, room matrix.RoomID, reason string) error {
	bot := b.client.Bot()
	members, err := bot.JoinedMembers(ctx, room)
	if client.Is(err, "M_FORBIDDEN") || client.Is(err, "M_NOT_FOUND") {
		return nil // it is out already, and cannot know who else is there
	}
	if err != nil {
		return fmt.Errorf("list who is in %s: %w", room, err)
	}
	var leaving sync.WaitGroup
	var mu sync.Mutex
	for user := range members {
		if !b.IsGhost(user) {
			continue
		}
		select {
		case b.slots <- struct{}{}:
		case <-ctx.Done():
			leaving.Wait()
			return ctx.Err()
		}
		leaving.Go(func() {
			defer func() { <-b.slots }()
			leaveErr := client.Retry(ctx, b.noteFailing("leave a room"), func(ctx context.Context) error {
				return b.client.As(user).Leave(ctx, room, reason)
			})
			mu.Lock()
			defer mu.Unlock()
			if client.Temporary(leaveErr) || ctx.Err() != nil {
				err = errors.Join(err, leaveErr)
			}
		})
	}
	leaving.Wait()
	if err != nil {
		return err
	}
	return bot.Leave(ctx, room, reason)
}

// Go runs something that Run waits for, which ends with the context of New; not at all once the bridge stops.
func (b *Bridge) Go(fn func()) { b.goRun(fn) }

// readable makes sure, before anything is sent into a room of others, that it is still as open as was
// consented to.
func (p *Portal) readable(ctx context.Context) error {
	plumber, _ := p.bridge.remote.(Plumber)
	var visibility string
	err := client.Retry(ctx, p.bridge.noteFailing("ask who may read a room"), func(ctx context.Context) (err error) {
		visibility, err = p.bridge.Visibility(ctx, p.Room())
		return err
	})
	if err == nil && !plumber.Readable(p.Key(), p.Room(), visibility) {
		err = errRetired
	}
	return err
}

// Visibility is a room's m.room.history_visibility.
func (b *Bridge) Visibility(ctx context.Context, room matrix.RoomID) (string, error) {
	raw, err := b.client.Bot().State(ctx, room, "m.room.history_visibility", "")
	if client.Is(err, "M_NOT_FOUND") {
		return "shared", nil // Client-Server API § Room History Visibility
	}
	var is struct {
		Visibility string `json:"history_visibility"`
	}
	if err == nil {
		_ = json.Unmarshal(raw, &is)
	}
	return is.Visibility, err
}

// isRetired tells whether the portal is no more.
func (p *Portal) isRetired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.retired
}
