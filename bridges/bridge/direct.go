package bridge

import (
	"context"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Directs may be implemented by a [Remote] whose users can be spoken to alone.
type Directs interface {
	// Voice is the virtual user at the other end of a direct chat; false for channels.
	Voice(key Key) (Ghost, bool)
	// Invited is called when a person has invited a virtual user into a room
	// that is no portal's.
	Invited(ctx context.Context, room matrix.RoomID, by matrix.UserID, ghost Ghost)
}

// A direct chat is a portal whose channel is one user of the network, as one Matrix
// user sees it. Its room has these two in it, and not the bridge's own user.

// invited passes an invitation of a virtual user on.
func (b *Bridge) invited(ctx context.Context, e *client.Event) bool {
	directs, ok := b.remote.(Directs)
	if !ok || e.Type != event.StateMember || e.StateKey == nil || e.Content.AsMember().Membership != event.MembershipInvite {
		return false
	}
	ghost, ok := b.remote.Ghost(matrix.UserID(*e.StateKey))
	if ok {
		directs.Invited(ctx, matrix.RoomID(e.RoomID), matrix.UserID(e.Sender), ghost)
	}
	return ok
}

// Direct tells whether the portal is a direct chat.
func (p *Portal) Direct() bool { return p.voice().ID != "" }

// voice is who speaks for the bridge in a direct chat: its own user is not there.
func (p *Portal) voice() Ghost {
	if directs, ok := p.bridge.remote.(Directs); ok {
		if ghost, direct := directs.Voice(p.Key()); direct {
			return ghost
		}
	}
	return Ghost{}
}

// Adopt makes a room, which the virtual user of the direct chat is in, the portal's.
func (p *Portal) Adopt(ctx context.Context, room matrix.RoomID, person matrix.UserID) error {
	if old := p.Room(); old != "" && old != room {
		p.bridge.mu.Lock()
		delete(p.bridge.byRoom, old)
		p.bridge.mu.Unlock()
	}
	p.setPerson(person, "", true)
	p.members.changed(p.voice().ID, true)
	return p.adopt(ctx, room)
}

// OpenDirect creates the room of a direct chat and invites the person.
func (p *Portal) OpenDirect(ctx context.Context, person matrix.UserID) error {
	b, ghost := p.bridge, p.voice()
	if err := b.ensureGhost(ctx, ghost); err != nil {
		return err
	}
	room, err := b.client.As(ghost.ID).CreateRoom(ctx, &mautrix.ReqCreateRoom{
		Preset: "trusted_private_chat", IsDirect: true, Invite: []id.UserID{id.UserID(person)},
	})
	if err != nil {
		return fmt.Errorf("create the room: %w", err)
	}
	return p.Adopt(ctx, room, person)
}

// Enter has a virtual user of a network accept an invitation, and tells whether it is alone there
// with the person. Where the bridge takes part in encrypted rooms, the person can encrypt for the
// virtual user from the first word on.
func (b *Bridge) Enter(ctx context.Context, room matrix.RoomID, ghost Ghost, network string) (alone bool, err error) {
	if err := b.ensureGhost(ctx, ghost); err != nil {
		return false, err
	}
	if err := b.encryptable(ctx, ghost.ID, network); err != nil {
		return false, err
	}
	user := b.client.As(ghost.ID)
	if err := user.Join(ctx, room); err != nil {
		return false, fmt.Errorf("join: %w", err)
	}
	members, err := user.JoinedMembers(ctx, room)
	return len(members) <= 2, err
}

// Close ends a direct chat: the next word, from either side, begins a new one.
func (p *Portal) Close(ctx context.Context, reason string) {
	b, rooms, room, ghost := p.bridge, p.Rooms(), p.Room(), p.voice()
	b.mu.Lock()
	delete(b.byRoom, room)
	b.mu.Unlock()
	p.mu.Lock()
	p.room = ""
	p.mu.Unlock()
	b.Drop(p)
	for _, room := range rooms { // also those that were replaced
		b.forgetSealing(room)
		if err := b.client.As(ghost.ID).Leave(ctx, room, reason); err != nil && ctx.Err() == nil {
			b.log.Info("a virtual user did not leave a direct chat", "room", room, "user", ghost.ID, "err", err)
		}
	}
}

// joinNext has one of us join the room that replaces the portal's.
func (p *Portal) joinNext(ctx context.Context, us *client.User, room matrix.RoomID) error {
	if p.Direct() {
		if err := p.bridge.encryptable(ctx, us.ID, p.Key().Network); err != nil {
			return err
		}
	}
	return us.Join(ctx, room)
}

// fits tells whether the portal may move into a room: a direct chat is with one person only.
func (p *Portal) fits(next *nextRoom) error {
	if !p.Direct() {
		return nil
	}
	for user := range next.people {
		if _, here := p.Person(user); !here {
			return matrix.Forbidden("%s is in the new room, too, and its users can only be spoken to alone.", user)
		}
	}
	return nil
}

// us tells whether a user is the bridge's own, or a virtual one.
func (b *Bridge) us(user matrix.UserID) bool { return user == b.client.Bot().ID || b.IsGhost(user) }

// Follow makes a direct chat that of another channel: the user on the other side has another
// name now. It fails if that has one already.
func (p *Portal) Follow(ctx context.Context, key Key, name string) error {
	b, before := p.bridge, p.voice()
	directs, _ := b.remote.(Directs)
	after, _ := directs.Voice(key)
	if b.Find(key) != nil {
		return errors.New("there is a chat with that name already")
	}
	room := p.Room()
	if after.ID != before.ID && room != "" {
		if err := b.ensureGhost(ctx, after); err != nil {
			return err
		}
		if err := b.encryptable(ctx, after.ID, key.Network); err != nil {
			return err
		}
		if err := b.client.As(before.ID).Invite(ctx, room, after.ID); err != nil {
			return fmt.Errorf("invite %s: %w", after.ID, err)
		}
		if err := b.client.As(after.ID).Join(ctx, room); err != nil {
			return fmt.Errorf("join as %s: %w", after.ID, err)
		}
	}
	p.setKey(key, name)
	p.members.changed(after.ID, true)
	err := b.db.Update(ctx, func(tx *database.Tx) error {
		return tx.Queue(ctx, renamePortal, p.id, storable(key.Channel), storable(name))
	})
	if err != nil || after.ID == before.ID || room == "" {
		return err
	}
	p.Leave(before, "is now known as "+after.Name)
	return nil
}

// Rename gives a channel another key: the network spells it otherwise now. It fails if another has that.
func (p *Portal) Rename(key Key) error {
	if p.bridge.Find(key) != nil {
		return errors.New("there is a channel with that name already")
	}
	p.setKey(key, p.Name())
	p.bridge.write(renamePortal, p.id, storable(key.Channel), storable(p.Name()))
	return nil
}

func (p *Portal) setKey(key Key, name string) {
	b := p.bridge
	p.mu.Lock()
	old := p.key
	p.key, p.name = key, name
	p.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byKey, old)
	b.byKey[key] = p
}

var renamePortal = database.SQL(`
	UPDATE portals
	SET channel = $2, name = $3
	WHERE id = $1`)

// Whisper has a virtual user say something in a room that is no portal's.
func (b *Bridge) Whisper(ctx context.Context, room matrix.RoomID, ghost matrix.UserID, transaction, text string) error {
	_, err := b.post(ctx, b.client.As(ghost), b.FindRoom(room), room, client.Message{
		Type: "m.room.message", TransactionID: b.instance + "." + transaction,
		Content: map[string]string{"msgtype": "m.notice", "body": text},
	})
	return err
}
