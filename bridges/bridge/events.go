package bridge

import (
	"context"
	"runtime/debug"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/internal/matrix"
)

// HandleEvent implements client.Handler: it sorts what the homeserver sends
// into portals, management rooms, and what does not concern us.
func (b *Bridge) HandleEvent(ctx context.Context, e *client.Event, done func()) {
	defer b.survive(e, done)
	bot := b.client.Bot().ID
	if e.Type == event.StateMember && e.StateKey != nil && matrix.UserID(*e.StateKey) == bot {
		b.botMembership(ctx, e)
		done()
		return
	}
	if watcher, ok := b.remote.(StateWatcher); ok && e.StateKey != nil {
		watcher.HandleState(ctx, e)
	}
	if !b.hold(ctx, e, done) {
		b.handle(ctx, e, done)
	}
}

// survive keeps an event that somebody made up to that end, or by accident, from ending the bridge, and what it runs in, now and
// at each start from then on. The log says what was wrong, and the room that it was.
func (b *Bridge) survive(e *client.Event, done func()) {
	cause := recover()
	if cause == nil {
		return
	}
	b.log.Error("panic while an event was worked off; it is left", "room", e.RoomID, "event", e.ID, "panic", cause, "stack", string(debug.Stack()))
	if p := b.FindRoom(matrix.RoomID(e.RoomID)); p != nil && e.StateKey == nil && !b.us(matrix.UserID(e.Sender)) {
		p.NoticeOn(matrix.EventID(e.ID), "left", "The bridge could not work this off: there is a mistake in it. Its log says more.")
	}
	b.Stored(done)
}

// idle tells whether an event is one of our own doing that is no news to us: what virtual users say, and that
// they come and go.
func (b *Bridge) idle(e client.Glance) bool {
	if e.StateKey != nil && (e.Type != event.StateMember.Type || *e.StateKey != string(e.Sender)) {
		return false
	}
	return b.IsGhost(e.Sender)
}

// handle works an event off whose room is known, or is none of ours.
func (b *Bridge) handle(ctx context.Context, e *client.Event, done func()) {
	defer b.survive(e, done)
	room, sender := matrix.RoomID(e.RoomID), matrix.UserID(e.Sender)
	_, fromGhost := b.remote.Ghost(sender)
	ours := fromGhost || sender == b.client.Bot().ID
	p := b.FindRoom(room)
	if p == nil && !ours && b.managed(room) == "" {
		p = b.recover(ctx, room)
	}
	if p == nil && replacement(e) != "" {
		b.release(nil, replacement(e)) // the portal has gone on already
	}
	b.noteEncrypted(p, e)
	if e.Type == event.EventEncrypted && !ours && (p != nil || b.managed(room) == sender) {
		if e = b.open(ctx, p, e); ctx.Err() != nil {
			return
		}
	}
	switch {
	case p != nil:
		b.portalEvent(ctx, p, e, ours, done)
	case !ours && b.invited(ctx, e):
		done()
	case !ours && b.command(ctx, nil, e, done):
	default:
		done()
	}
}

func (b *Bridge) portalEvent(ctx context.Context, p *Portal, e *client.Event, ours bool, done func()) {
	if e.Type == event.StateMember && e.StateKey != nil && p.Room() == matrix.RoomID(e.RoomID) {
		p.noteMembership(matrix.UserID(*e.StateKey), e)
	}
	if e.Type == event.StateTopic && !ours {
		p.noteTopic(e)
	}
	if e.StateKey != nil && !ours {
		p.noteInfo(e)
	}
	switch {
	case replacement(e) != "":
		b.heardUpgrade(e) // when it came, the room may not have been the portal's
		b.followLater(p, e, done)
	case ours:
		done()
	case b.command(ctx, p, e, done):
	default:
		b.remote.HandleEvent(ctx, p, e, done)
	}
}

// noteMembership keeps the tables of who is in the room.
func (p *Portal) noteMembership(user matrix.UserID, e *client.Event) {
	content := e.Content.AsMember()
	joined := content.Membership == event.MembershipJoin
	if _, ghost := p.bridge.remote.Ghost(user); ghost {
		// Our own joins and leaves are noted when they are answered; an event
		// about them may come late and be wrong by then.
		if user != matrix.UserID(e.Sender) {
			p.members.changed(user, joined)
		}
		return
	}
	if joined || !p.outdated(user, e) {
		p.setPerson(user, content.Displayname, joined)
	}
}

// noteTopic remembers a topic that a person set, so that the network's echo does
// not set it again.
func (p *Portal) noteTopic(e *client.Event) {
	topic := e.Content.AsTopic().Topic
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.topic != topic && !p.retired {
		p.topic = topic
		p.bridge.write(upsertPortal, p.row()...)
	}
}

// botMembership accepts invitations of the bridge's own user: a room with nobody else is then
// one in which the person who invited gives commands.
func (b *Bridge) botMembership(ctx context.Context, e *client.Event) {
	room, inviter := matrix.RoomID(e.RoomID), matrix.UserID(e.Sender)
	switch e.Content.AsMember().Membership {
	case event.MembershipInvite:
		if b.arriving(room) { // whoever moves the portal there accepts
			return
		}
		err := client.Retry(ctx, b.noteFailing("accept an invitation"), func(ctx context.Context) error {
			if err := b.client.Bot().EnsureRegistered(ctx); err != nil { // somebody was quicker than the start
				return err
			}
			return b.client.Bot().Join(ctx, room)
		})
		if err != nil {
			b.log.Warn("an invitation was not accepted", "room", room, "inviter", inviter, "err", err)
			return
		}
		members, err := b.client.Bot().JoinedMembers(ctx, room)
		if err == nil && len(members) > 2 { // people talk to each other here, and not to us
			b.reply(ctx, room, e, b.commands.introduction())
			return
		}
		b.setManaged(room, inviter)
		b.attend(room, nil)
		b.reply(ctx, room, e, b.commands.greeting())
	case event.MembershipLeave, event.MembershipBan:
		b.setManaged(room, "")
		if plumber, ok := b.remote.(Plumber); ok {
			plumber.Evicted(room)
		}
		b.forgetSealing(room)
	}
}

// managed is who commands us in a room; empty if it is no management room.
func (b *Bridge) managed(room matrix.RoomID) matrix.UserID {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.management[room]
}

func (b *Bridge) setManaged(room matrix.RoomID, user matrix.UserID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, known := b.management[room]
	switch {
	case user != "":
		b.management[room] = user
		b.write(upsertManagement, room, user)
	case known:
		delete(b.management, room)
		b.write(deleteManagement, room)
	}
}
