package bridge

import (
	"context"
	"errors"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/encryption"
	"trestle/internal/matrix"
)

// post sends a message, encrypted where the room is: for those who may read what is said in a
// portal now, or, where p is nil, for whoever is in the room and not ours.
func (b *Bridge) post(ctx context.Context, user *client.User, p *Portal, room matrix.RoomID, m client.Message) (matrix.EventID, error) {
	s, err := b.sealingOf(ctx, room, user)
	if err != nil {
		return "", err
	}
	// Reactions are never encrypted (Client-Server API § Encrypting reactions would hide them
	// from the server that counts them).
	if s.content == nil || m.Type == event.EventReaction.Type {
		return user.Send(ctx, room, m)
	}
	how := b.takesPart(ctx, p, s)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if how == EncryptionOff {
		return user.Send(ctx, room, m)
	}
	readers, err := b.readers(ctx, p, room, user)
	if err != nil {
		return "", err
	}
	as := user.ID
	if how == EncryptionBot && p != nil && !p.Direct() {
		as = b.client.Bot().ID
	}
	m.Content, err = b.encryption.Load().Seal(ctx, encryption.Message{
		As: as, Room: room, Settings: s.content, Type: m.Type, Content: encode(m.Content), Readers: readers,
	})
	if err != nil {
		return "", err
	}
	m.Type = event.EventEncrypted.Type
	return user.Send(ctx, room, m)
}

// NoticeNow has the bridge say something in the portal's room, which may just have been taken from
// it, that does not wait for what the channel has said. It is one attempt; the transaction names the
// notice.
func (p *Portal) NoticeNow(ctx context.Context, room matrix.RoomID, transaction, text string) error {
	b := p.bridge
	_, err := b.post(ctx, b.reader(p), p, room, client.Message{
		Type: "m.room.message", TransactionID: b.instance + "." + transaction,
		Content: map[string]string{"msgtype": "m.notice", "body": text},
	})
	return err
}

// readers is who gets the key to what is said in a room.
func (b *Bridge) readers(ctx context.Context, p *Portal, room matrix.RoomID, user *client.User) (readers []matrix.UserID, err error) {
	if p != nil {
		return p.audience(), nil
	}
	joined, err := user.JoinedMembers(ctx, room)
	for member := range joined {
		if _, ghost := b.remote.Ghost(member); !ghost && member != b.client.Bot().ID {
			readers = append(readers, member)
		}
	}
	return readers, err
}

// audience is who may read what is said in the channel now: those in the room who are in the
// channel, where it is guarded.
func (p *Portal) audience() (readers []matrix.UserID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for user := range p.people {
		if g := &p.gate; !g.guarded || g.present[user] || g.leaving[user] > 0 {
			readers = append(readers, user)
		}
	}
	return readers
}

// Event reads an event of the portal's room, or of one that was replaced, and what is in it if it is encrypted. One
// that was redacted comes without its content.
func (p *Portal) Event(ctx context.Context, eventID matrix.EventID) (*event.Event, error) {
	b, reader := p.bridge, p.bridge.reader(p)
	e, err := reader.Event(ctx, p.Room(), eventID)
	for _, room := range p.Rooms() {
		if !client.Is(err, "M_NOT_FOUND") && !client.Is(err, "M_FORBIDDEN") {
			break
		}
		e, err = reader.Event(ctx, room, eventID)
	}
	if err != nil || e.Type.Type != event.EventEncrypted.Type || b.encryption.Load() == nil || len(e.Content.Raw) == 0 {
		return e, err
	}
	plain, err := b.encryption.Load().Open(ctx, e, "")
	if _, unreadable := errors.AsType[*encryption.Unreadable](err); unreadable {
		return e, nil
	}
	return plain, err
}
