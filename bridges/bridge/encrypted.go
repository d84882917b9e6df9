package bridge

import (
	"context"
	"encoding/json"
	"errors"

	"maunium.net/go/mautrix/event"

	"trestle/appservice"
	"trestle/appservice/client"
	"trestle/bridges/encryption"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Encryption is how a bridge takes part in encrypted rooms.
type Encryption string

// The ways to take part.
const (
	EncryptionOff   Encryption = "off"   // it says so in the room
	EncryptionBot   Encryption = "bot"   // its own user's device encrypts for everybody, but in direct chats
	EncryptionUsers Encryption = "users" // each virtual user who speaks has a device
)

// Encrypts may be implemented by a [Remote] that has a word in how its networks' rooms are
// taken part in, if [Options] have an encryption service.
type Encrypts interface {
	Encryption(network string) Encryption
}

// encryptedNotice is said in rooms that the bridge takes no part in.
const encryptedNotice = "This room is encrypted, and this bridge takes no part in that: what people say here it cannot read, " +
	"so nothing of it reaches the other side; what comes from there is not encrypted. To be bridged, talk in a room without encryption."

// TakePart has the bridge take part in encrypted rooms from now on, if it does not yet. Run has been called.
func (b *Bridge) TakePart(service *encryption.Service) {
	if b.encryption.CompareAndSwap(nil, service) {
		b.goRun(func() { service.Run(b.ctx) })
	}
}

// AttendAll is for when the remote's [Encryption] of networks has changed: it sees to what follows in the rooms that
// are encrypted.
func (b *Bridge) AttendAll() {
	b.mu.Lock()
	var sealed []matrix.RoomID
	for room, s := range b.sealings {
		if s.content != nil {
			sealed = append(sealed, room)
		}
	}
	b.mu.Unlock()
	for _, room := range sealed {
		if p := b.FindRoom(room); p != nil || b.managed(room) != "" {
			b.attend(room, p)
		}
	}
}

// keep keeps what is for our devices.
func (b *Bridge) keep(ctx context.Context, txn *appservice.Transaction) (write func(context.Context, *database.Tx) error, done func(), err error) {
	if service := b.encryption.Load(); service != nil {
		return service.Keep(ctx, txn)
	}
	return func(context.Context, *database.Tx) error { return nil }, func() {}, nil
}

// A sealing is what is known of a room's encryption.
type sealing struct {
	content json.RawMessage // of m.room.encryption; nil: the room is not encrypted
	told    bool            // that the bridge cannot read it, or somebody is about to
}

var (
	selectSealings = database.SQL(`
		SELECT room_id, content, told
		FROM room_encryption
		ORDER BY room_id
		LIMIT 10000000`)
	upsertSealing = database.SQL(`
		INSERT INTO room_encryption (room_id, content, told)
		VALUES ($1, $2, $3)
		ON CONFLICT (room_id) DO UPDATE
		SET content = excluded.content, told = excluded.told`)
	deleteSealing = database.SQL(`
		DELETE FROM room_encryption
		WHERE room_id = $1`)
)

func (b *Bridge) loadSealings(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectSealings)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var room matrix.RoomID
		var content []byte
		var s sealing
		if err := rows.Scan(&room, &content, &s.told); err != nil {
			return err
		}
		s.content = content
		b.sealings[room] = s
	}
	return rows.Err()
}

// noteEncryption takes in that a room of ours is encrypted, which it stays whatever is said later.
func (b *Bridge) noteEncryption(e *client.Event) {
	room := matrix.RoomID(e.RoomID)
	if e.Type != event.StateEncryption || e.GetStateKey() != "" || b.FindRoom(room) == nil && b.managed(room) == "" {
		return
	}
	content := json.RawMessage(e.Content.VeryRaw)
	if len(content) == 0 {
		content = json.RawMessage("{}")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.sealings[room]; s.content == nil {
		b.setSealing(room, sealing{content, false})
	}
}

// noteEncrypted takes the event that encrypts a room.
func (b *Bridge) noteEncrypted(p *Portal, e *client.Event) {
	room := matrix.RoomID(e.RoomID)
	if e.Type == event.StateEncryption && (p != nil || b.managed(room) != "") {
		b.noteEncryption(e)
		b.attend(room, p)
	}
}

// setSealing is called with mu held.
func (b *Bridge) setSealing(room matrix.RoomID, s sealing) {
	b.sealings[room] = s
	b.write(upsertSealing, room, []byte(s.content), s.told)
}

// forgetSealing is for rooms that are ours no longer.
func (b *Bridge) forgetSealing(room matrix.RoomID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, known := b.sealings[room]; known {
		delete(b.sealings, room)
		b.write(deleteSealing, room)
	}
}

// sealingOf is what is known of a room's encryption; what is not, one of its members asks.
func (b *Bridge) sealingOf(ctx context.Context, room matrix.RoomID, member *client.User) (sealing, error) {
	b.mu.Lock()
	s, known := b.sealings[room]
	b.mu.Unlock()
	if known {
		return s, nil
	}
	content, err := member.State(ctx, room, event.StateEncryption.Type, "")
	if err != nil && !client.Is(err, "M_NOT_FOUND") {
		return sealing{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, known := b.sealings[room]; known {
		return s, nil
	}
	s = sealing{content: content}
	b.setSealing(room, s)
	return s, nil
}

// takesPart is how we take part in a room of a portal, or, if p is nil, in one where people talk
// to the bridge.
func (b *Bridge) takesPart(ctx context.Context, p *Portal, s sealing) Encryption {
	var settings struct {
		Algorithm string `json:"algorithm"`
	}
	service := b.encryption.Load()
	if service == nil || json.Unmarshal(s.content, &settings) != nil || settings.Algorithm != encryption.Algorithm {
		return EncryptionOff
	}
	how := EncryptionUsers
	if remote, ok := b.remote.(Encrypts); ok && p != nil {
		how = remote.Encryption(p.Key().Network)
	}
	if how != EncryptionOff && service.Working(ctx) != nil {
		return EncryptionOff
	}
	return how
}

// Encrypts tells whether we can take part in encrypted rooms of a network.
func (b *Bridge) Encrypts(ctx context.Context, network string) bool {
	service := b.encryption.Load()
	if service == nil {
		return false
	}
	remote, ok := b.remote.(Encrypts)
	return (!ok || remote.Encryption(network) != EncryptionOff) && service.Working(ctx) == nil
}

// encryptable gives a virtual user who is about to be in a direct chat a device, if the network's
// chats may be encrypted.
func (b *Bridge) encryptable(ctx context.Context, ghost matrix.UserID, network string) error {
	if !b.Encrypts(ctx, network) {
		return ctx.Err()
	}
	return b.encryption.Load().Ready(ctx, ghost)
}

// reader is who of us reads in a room.
func (b *Bridge) reader(p *Portal) *client.User {
	if p != nil && p.Direct() {
		return b.client.As(p.voice().ID)
	}
	return b.client.Bot()
}

// attend looks whether a room is encrypted that we have come into, and sees to what follows: that
// people can encrypt for us, or that they are told that they need not.
func (b *Bridge) attend(room matrix.RoomID, p *Portal) {
	b.goRun(func() {
		ctx, us := b.ctx, b.reader(p)
		var s sealing
		err := client.Retry(ctx, b.noteFailing("look whether a room is encrypted"), func(ctx context.Context) (err error) {
			s, err = b.sealingOf(ctx, room, us)
			return err
		})
		if err != nil || s.content == nil {
			return
		}
		if b.takesPart(ctx, p, s) == EncryptionOff {
			b.tellEncrypted(ctx, room, us)
			return
		}
		err = client.Retry(ctx, b.noteFailing("make a device"), func(ctx context.Context) error { return b.encryption.Load().Ready(ctx, us.ID) })
		if err != nil && ctx.Err() == nil {
			b.log.Warn("the bridge cannot read a room that is encrypted", "room", room, "err", err)
		}
	})
}

// tellEncrypted says in a room, once, that we cannot read it. It is not held back by what waits
// for the room: it says nothing of anybody.
func (b *Bridge) tellEncrypted(ctx context.Context, room matrix.RoomID, us *client.User) {
	b.mu.Lock()
	s := b.sealings[room]
	told := s.told
	b.sealings[room] = sealing{s.content, true}
	b.mu.Unlock()
	if told {
		return
	}
	err := client.Retry(ctx, b.noteFailing("say that a room is encrypted"), func(ctx context.Context) error {
		_, err := us.Send(ctx, room, client.Message{
			Type: "m.room.message", TransactionID: b.instance + ".encrypted." + string(room),
			Content: map[string]any{"msgtype": "m.notice", "body": encryptedNotice, "m.mentions": struct{}{}},
		})
		return err
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.setSealing(room, sealing{s.content, true})
		return
	}
	b.sealings[room] = s // the next event tries again
	if ctx.Err() == nil {
		b.log.Warn("nobody was told that a room is encrypted", "room", room, "err", err)
	}
}

// open decrypts what a person has sent. What cannot be read says why not. If ctx has ended, nobody
// knows.
func (b *Bridge) open(ctx context.Context, p *Portal, e *client.Event) *client.Event {
	room := matrix.RoomID(e.RoomID)
	b.mu.Lock()
	s, known := b.sealings[room]
	b.mu.Unlock()
	if !known || s.content == nil { // then the state event is about to come
		s.content = json.RawMessage(`{"algorithm":"` + encryption.Algorithm + `"}`)
	}
	if b.takesPart(ctx, p, s) == EncryptionOff {
		b.attend(room, p)
		e.Unreadable = "The bridge takes no part in encrypted rooms."
		return e
	}
	plain, err := b.encryption.Load().Open(ctx, e.Event, b.reader(p).ID)
	if why, ok := errors.AsType[*encryption.Unreadable](err); ok {
		e.Unreadable = why.Why
		return e
	}
	if err != nil {
		e.Unreadable = "The bridge cannot read it."
		return e
	}
	return encryption.Opened(e, plain)
}
