package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/internal/matrix"
)

const (
	arriveAgain = 30 * time.Second // before a room is tried again that does not let us in
	maxCaughtUp = 500              // events that people sent to the new room before we were there
	clockSlack  = 5 * time.Minute  // by which clocks of homeservers may differ; the room is new anyway
	maxHeld     = 1000             // events of a new room that wait in memory
)

// A Mover is a [Remote] that has to know when a portal's room was replaced.
type Mover interface {
	// Moved is called when the portal is in its new room. before are the people of the old one.
	Moved(p *Portal, before map[matrix.UserID]string)
}

// An arrival is a portal's way into the room that replaces its own. Events of that room wait for
// the end of it, or nobody would know whose they are.
type arrival struct {
	portals []*Portal     // that are on it; with the bridge's mutex
	held    []held        // with the bridge's mutex
	owned   bool          // the same: whoever moves the portal settles it
	ended   chan struct{} // closed when there are no more
	invited chan struct{} // capacity 1: there is hope
}

// A held is an event that waits, and what to call when it has been worked off.
type held struct {
	event *client.Event
	done  func()
}

// replacement is the room that a tombstone names (Client-Server API § Room Upgrades); empty if
// the event is none.
func replacement(e *client.Event) matrix.RoomID {
	if e.Type != event.StateTombstone || e.StateKey == nil || *e.StateKey != "" {
		return ""
	}
	room := matrix.RoomID(e.Content.AsTombstone().ReplacementRoom)
	if len(room) < 2 || len(room) > 255 || room[0] != '!' || room == matrix.RoomID(e.RoomID) {
		return ""
	}
	return room
}

// heardUpgrade is told of each event before the homeserver hears that it was taken: from a tombstone
// on, nothing is sent to the old room, and what comes from the new one waits.
func (b *Bridge) heardUpgrade(e *client.Event) {
	room := matrix.RoomID(e.RoomID)
	if e.Type == event.StateMember && e.Content.AsMember().Membership == event.MembershipInvite && b.us(matrix.UserID(e.GetStateKey())) {
		b.mu.Lock()
		if a := b.arrivals[room]; a != nil {
			select {
			case a.invited <- struct{}{}:
			default:
			}
		}
		b.mu.Unlock()
	}
	to := replacement(e)
	if to == "" {
		return
	}
	if p := b.FindRoom(room); p != nil {
		b.expect(p, to)
	}
}

// expect notes that a portal may be on its way into a room.
func (b *Bridge) expect(p *Portal, room matrix.RoomID) *arrival {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	a := b.arrivals[room]
	if a == nil && b.byRoom[room] == nil {
		a = &arrival{ended: make(chan struct{}), invited: make(chan struct{}, 1)}
		b.arrivals[room] = a
	}
	if a != nil {
		p.moving = true
		if !slices.Contains(a.portals, p) {
			a.portals = append(a.portals, p)
		}
	}
	return a
}

// release settles an arrival that is nobody's: what waits has its order, which two would not keep.
func (b *Bridge) release(p *Portal, room matrix.RoomID) {
	b.mu.Lock()
	a := b.arrivals[room]
	owned := a != nil && a.owned
	b.mu.Unlock()
	if !owned {
		b.settle(p, room)
	}
}

// settle ends an arrival, one way or the other, and works off what has waited for that.
func (b *Bridge) settle(p *Portal, room matrix.RoomID) {
	var stay []*Portal
	if p != nil {
		stay = append(stay, p)
	}
	for b.ctx.Err() == nil {
		b.mu.Lock()
		a := b.arrivals[room]
		if a == nil || len(a.held) == 0 {
			delete(b.arrivals, room)
			if a != nil {
				close(a.ended)
				stay = append(stay, a.portals...)
			}
			b.mu.Unlock()
			break
		}
		waiting := a.held
		a.held = nil
		b.mu.Unlock()
		for _, w := range waiting {
			if b.ctx.Err() == nil { // else it is left for the next process
				b.handle(b.ctx, w.event, w.done)
			}
		}
	}
	for _, p := range stay {
		p.stay()
	}
}

// stay has the portal go on, unless it is on its way into yet another room.
func (p *Portal) stay() {
	b := p.bridge
	p.mu.Lock()
	b.mu.Lock()
	p.moving = false
	for _, a := range b.arrivals {
		p.moving = p.moving || slices.Contains(a.portals, p)
	}
	b.mu.Unlock()
	p.mu.Unlock()
	p.moved()
	p.wake()
}

func (b *Bridge) arriving(room matrix.RoomID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.arrivals[room] != nil
}

// hold keeps an event of a room of which it is not known whether it is to be a portal's; false if
// that is known.
func (b *Bridge) hold(ctx context.Context, e *client.Event, done func()) bool {
	b.mu.Lock()
	a := b.arrivals[matrix.RoomID(e.RoomID)]
	if a == nil {
		b.mu.Unlock()
		return false
	}
	if len(a.held) < maxHeld {
		a.held = append(a.held, held{e, done})
		b.mu.Unlock()
		return true
	}
	b.mu.Unlock()
	select {
	case <-a.ended:
		return false
	case <-ctx.Done():
		return true // it is left for the next process
	}
}

// followLater works a tombstone off while the room's other events go on.
func (b *Bridge) followLater(p *Portal, e *client.Event, done func()) {
	b.goRun(func() {
		p.follow(b.ctx, matrix.RoomID(e.RoomID))
		b.release(p, replacement(e)) // the room's state may name another
		if b.ctx.Err() == nil {
			done()
		}
	})
}

// replaced is called when a room has refused an event. It follows a tombstone, if there is one that
// has not been worked off, and tells whether the portal is in another room now.
func (p *Portal) replaced(ctx context.Context, room matrix.RoomID) bool {
	return p.follow(ctx, room)
}

// follow moves the portal from a room to the one that replaces it, and tells whether it is in another
// room now. It lasts as long as it takes.
func (p *Portal) follow(ctx context.Context, old matrix.RoomID) bool {
	p.upgrading.Lock()
	defer p.upgrading.Unlock()
	b := p.bridge
	if p.Room() != old {
		return true
	}
	to, at, err := p.tombstone(ctx, old)
	if err != nil && ctx.Err() == nil {
		b.log.Warn("a room's tombstone could not be read", "room", old, "err", err)
	}
	if err != nil || to == "" || to == p.unfollowed || slices.Contains(p.Rooms(), to) {
		return false
	}
	a := b.expect(p, to)
	if a == nil {
		return false // another portal's
	}
	b.mu.Lock()
	a.owned = true
	b.mu.Unlock()
	defer b.settle(p, to)
	before := p.People()
	next, err := p.arrive(ctx, a, old, to)
	if err == nil {
		next.missed = p.missed(ctx, to, at)
		err = p.move(ctx, a, next, old, to)
	}
	if err != nil {
		p.unfollow(ctx, next, old, to, err)
		return false
	}
	b.log.Info("a channel's room was replaced", "network", p.Key().Network, "channel", p.Key().Channel, "room", old, "replacement", to)
	if mover, ok := b.remote.(Mover); ok {
		mover.Moved(p, before)
	}
	b.goRun(func() { p.leaveBehind(b.ctx, old, to) })
	return true
}

// tombstone is what the room's state says, and since when. What is in the state was sent by
// somebody who was allowed to: anybody can send an event that looks like one.
func (p *Portal) tombstone(ctx context.Context, room matrix.RoomID) (to matrix.RoomID, at time.Time, err error) {
	us, failing := p.bridge.reader(p), p.bridge.noteFailing("read a tombstone")
	err = client.Retry(ctx, failing, func(ctx context.Context) error {
		_, err := us.State(ctx, room, event.StateTombstone.Type, "")
		return err
	})
	if client.Is(err, "M_NOT_FOUND") {
		return "", at, nil
	}
	if err != nil {
		return "", at, err
	}
	var state []*event.Event
	err = client.Retry(ctx, failing, func(ctx context.Context) (err error) {
		state, err = us.AllState(ctx, room)
		return err
	})
	for _, e := range state {
		e.RoomID = id.RoomID(room)
		_ = e.Content.ParseRaw(e.Type) // what is broken names no room
		if replacement(&client.Event{Event: e}) != "" {
			to, at = replacement(&client.Event{Event: e}), time.UnixMilli(e.Timestamp)
		}
	}
	return to, at, err
}

// arrive joins the new room, however long that takes, and reads its state.
func (p *Portal) arrive(ctx context.Context, a *arrival, old, to matrix.RoomID) (*nextRoom, error) {
	b, us, said := p.bridge, p.bridge.reader(p), false
	_, err := us.State(ctx, to, "m.room.member", string(us.ID))
	known := err == nil
	for {
		err := client.Retry(ctx, b.noteFailing("join the room that replaces another"), func(ctx context.Context) error {
			us = b.reader(p) // in a direct chat, the other may have another name by now
			return p.joinNext(ctx, us, to)
		})
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !said {
			said = true
			b.log.Warn("the room that replaces another does not let the bridge in", "room", old, "replacement", to, "err", err)
			p.announce(ctx, old, to, fmt.Sprintf("This room was replaced, and the bridge may not join the new one. Invite %s there: until then, nothing is bridged.", us.ID))
		}
		timer := time.NewTimer(arriveAgain)
		select {
		case <-a.invited:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	next, err := p.readNext(ctx, to)
	if err != nil {
		return nil, err
	}
	next.known = known
	if next.predecessor != old {
		return next, matrix.Forbidden("The room %s does not say that it replaces this one.", to)
	}
	return next, p.fits(next)
}

// unfollow stays in the old room.
func (p *Portal) unfollow(ctx context.Context, next *nextRoom, old, to matrix.RoomID, why error) {
	if ctx.Err() != nil {
		return // it is followed after the restart
	}
	p.unfollowed = to
	p.bridge.log.Warn("a room's replacement is not followed", "room", old, "replacement", to, "err", why)
	text := "The bridge does not follow to the new room."
	if matrix.Code(why) != "" {
		text += " " + message(why)
	}
	p.announce(ctx, old, to, text)
	if next == nil || next.known || p.bridge.FindRoom(to) != nil {
		return
	}
	if err := p.bridge.reader(p).Leave(ctx, to, "This is not the room that it should be."); err != nil && ctx.Err() == nil {
		p.bridge.log.Info("a room was not left", "room", to, "err", err)
	}
}

// announce says something about an upgrade in a room, once.
func (p *Portal) announce(ctx context.Context, room, to matrix.RoomID, text string) {
	b := p.bridge
	_, err := b.post(ctx, b.reader(p), b.FindRoom(room), room, client.Message{
		Type: "m.room.message", Content: map[string]string{"msgtype": "m.notice", "body": text},
		TransactionID: fmt.Sprintf("%s.upgrade.%s.%x", b.instance, to, len(text)),
	})
	if err != nil && ctx.Err() == nil {
		b.log.Info("nobody was told of a room's replacement", "room", room, "err", err)
	}
}

// missed is what people said in the new room before the bridge was there, and that it was replaced itself, if it was.
func (p *Portal) missed(ctx context.Context, room matrix.RoomID, since time.Time) (events []json.RawMessage) {
	b := p.bridge
	err := client.Retry(ctx, b.noteFailing("read what was said in a new room"), func(ctx context.Context) (err error) {
		events, err = b.reader(p).Missed(ctx, room, since.Add(-clockSlack), maxCaughtUp)
		return err
	})
	if err != nil && ctx.Err() == nil {
		b.log.Error("what was said in a room before the bridge came is lost to the channel", "room", room, "err", err)
	}
	return events
}

// precede puts events before those that the homeserver has sent by itself.
func (b *Bridge) precede(a *arrival, events []*client.Event, done func(*client.Event)) {
	first := make([]held, len(events))
	for i, e := range events {
		first[i] = held{e, func() { done(e) }}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a.held = append(first, a.held...)
}
