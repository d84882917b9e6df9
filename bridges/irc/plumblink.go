package irc

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Plumbed implements bridge.Plumber.
func (s *Service) Plumbed(key bridge.Key, room matrix.RoomID) bool {
	return len(s.plumbs.find(func(one plumb) bool {
		return one.Room == room && one.key() == key && one.active() && one.State != plumbAsked
	})) > 0
}

// Readable implements bridge.Plumber: a room that everybody can read must be one of which the channel's
// operator was told that. A room that has become so is left.
func (s *Service) Readable(key bridge.Key, room matrix.RoomID, visibility string) bool {
	one, ok := s.plumbs.ofRoom(room)
	if ok && one.lodged() && (one.World || visibility != "world_readable") {
		return true
	}
	if n := s.network(key.Network); n != nil && ok {
		s.work(func(ctx context.Context) {
			err := n.unlink(ctx, one, "Everybody can read this room now, and the operator who has allowed the link was not asked that. Ask again to have it linked.")
			n.logPlumb(one, err)
		})
	}
	return false
}

// Evicted implements bridge.Plumber: who takes the bridge out of a room ends its link.
func (s *Service) Evicted(room matrix.RoomID) {
	one, ok := s.plumbs.ofRoom(room)
	n := s.network(one.Network)
	if !ok || n == nil || one.State == plumbEnding {
		return
	}
	s.work(func(ctx context.Context) {
		n.logPlumb(one, n.unlink(ctx, one, "The bridge was taken out of the room."))
	})
}

// lodger works off what only rooms of others need, and tells whether an event is for IRC. What people
// there make of their room is theirs: nothing of it is done on IRC. Who speaks gets a connection, and who only
// reads has none.
func (n *network) lodger(ctx context.Context, p *bridge.Portal, e *client.Event) bool {
	if e.StateKey == nil {
		n.ask(ctx, func() {
			user := matrix.UserID(e.Sender)
			n.personJoined(p, user, p.DisplayName(user))
		})
		return true
	}
	switch e.Type {
	case event.StateHistoryVisibility:
		visibility, _ := e.Content.Raw["history_visibility"].(string)
		n.service.Readable(p.Key(), p.Room(), visibility)
	case event.StateMember:
		if membership := e.Content.AsMember().Membership; membership == event.MembershipLeave || membership == event.MembershipBan {
			n.ask(ctx, func() { n.personLeft(p, matrix.UserID(e.GetStateKey()), e.Content.AsMember().Reason) })
		}
	}
	return false
}

// install links a room with a channel after that was granted. It can be called again after it was interrupted
// anywhere. false: it cannot be done.
func (n *network) install(one plumb) bool {
	s, name := n.service, string(one.Name)
	var p *bridge.Portal
	err := client.Retry(n.ctx, nil, func(ctx context.Context) error {
		if old := s.bridge.Find(one.key()); old != nil && old.Room() != one.Room {
			if len(old.People()) > 0 {
				return matrix.RoomInUse("The channel has a room, in which there are people by now.")
			}
			if err := s.bridge.Abolish(ctx, old, "The channel has another room now."); err != nil {
				return err
			}
		}
		var err error
		if p, err = s.bridge.Plumb(ctx, one.key(), name, one.Room); err != nil {
			return err
		}
		n.ask(ctx, func() { n.lodge(one, p) })
		return s.bridge.Whisper(ctx, one.Room, s.bridge.Client().Bot().ID, "plumb."+one.ID+".linked",
			"This room is linked with "+decode(name)+" on "+n.now().Name+" now: "+one.grantedBy()+" has allowed it.")
	})
	if n.ctx.Err() != nil {
		return false // it is done after the restart
	}
	if err == nil {
		one, err = s.plumbs.move(n.ctx, one.ID, []string{plumbGranted, plumbLinked}, func(one *plumb) { one.State = plumbLinked }, nil)
	}
	if err != nil {
		n.logPlumb(one, err)
		n.undo(one, p)
		n.refuse(one, "", "The room could not be linked with "+decode(name)+".")
		return false
	}
	return true
}

// undo takes back what install has done for a link that was ended meanwhile.
func (n *network) undo(one plumb, p *bridge.Portal) {
	if p == nil {
		return
	}
	n.logPlumb(one, n.service.bridge.Retire(n.ctx, p))
	n.ask(n.ctx, func() { n.separated(one, p) })
	n.logPlumb(one, n.service.bridge.Vacate(n.ctx, one.Room, "The room is not linked any more."))
}

// lodge has a channel's people and words go to its new portal. It is called on the loop.
func (n *network) lodge(one plumb, p *bridge.Portal) {
	ch := n.channel(string(one.Name))
	ch.portal, ch.recall = p, nil
	if len(one.Key) > 0 {
		p.SetRemoteKey(string(one.Key))
	}
	switch {
	case !n.bot.online:
	case ch.joined:
		n.bot.send(wire.NewMessage("NAMES", ch.name)) // whose end brings the members into the room
	default:
		n.bot.join([]string{ch.name})
	}
}

// unlink ends a link, or the wish for one. When it returns without an error, nothing is passed on any
// more, whatever happens; that the bridge leaves the room comes later.
func (n *network) unlink(ctx context.Context, one plumb, reason string) error {
	s := n.service
	if one.State == plumbAsked {
		n.refuse(one, "", reason)
		return nil
	}
	p := s.bridge.Find(one.key())
	ended, err := s.plumbs.move(ctx, one.ID, []string{plumbGranted, plumbLinked}, func(one *plumb) { one.State, one.Reason = plumbEnding, reason },
		func(one plumb) error {
			store := func(tx *database.Tx) error { return one.store(ctx, tx) }
			if p == nil || p.Room() != one.Room {
				return s.db.Update(ctx, store)
			}
			return s.bridge.Retire(ctx, p, store)
		})
	if errors.Is(err, errMoved) {
		return matrix.NotFound("There is no such link.")
	}
	if err != nil {
		return err
	}
	n.ask(ctx, func() { n.separated(one, p) })
	s.work(func(ctx context.Context) { n.moveOut(ctx, ended) })
	return nil
}

// separated has the bot, and those who have spoken in the room, leave the channel. It is called on the loop.
func (n *network) separated(one plumb, p *bridge.Portal) {
	key := n.fold(string(one.Name))
	n.shut.Delete(key) // whatever it was, it was about that room
	for _, puppet := range n.puppets {
		if w := puppet.wanted[key]; w != nil && (w.portal == p || p == nil) {
			puppet.forgets(key)
			if puppet.link != nil && puppet.link.conn != nil {
				conn, line := puppet.link.conn, wire.NewMessage("PART", w.name, "The room and the channel were separated")
				n.sendLater(conn, line)
			}
		}
	}
	ch := n.channels[key]
	if ch == nil {
		return
	}
	ch.portal, ch.recall = nil, nil
	for _, name := range n.now().Channels {
		if n.fold(name) == key {
			n.want(name)
			if n.bot.online && !ch.joined {
				n.bot.join([]string{name})
			}
			return
		}
	}
	n.orphaned(ch)
}

// moveOut takes the bridge's users out of a room that is not linked any more.
func (n *network) moveOut(ctx context.Context, one plumb) {
	s := n.service
	err := client.Retry(ctx, nil, func(ctx context.Context) error {
		text := one.Reason + " What is said here does not reach " + decode(string(one.Name)) + " any more."
		err := s.bridge.Whisper(ctx, one.Room, s.bridge.Client().Bot().ID, "plumb."+one.ID+".ended", text)
		if client.Temporary(err) { // else the room does not want to hear of us, as if the bot was banned
			return err
		}
		return s.bridge.Vacate(ctx, one.Room, one.Reason)
	})
	if ctx.Err() != nil {
		return // it is done after the restart
	}
	if err != nil {
		n.log.Warn("the bridge has not left a room", "room", one.Room, "err", err)
	}
	if one.Tell != one.Room {
		s.notifyPlumber(one, one.Reason)
	}
	n.logPlumb(one, s.plumbs.drop(ctx, one.ID))
}

// resumePlumbs goes on where the bridge was stopped.
func (n *network) resumePlumbs() {
	for _, one := range n.service.plumbs.find(func(one plumb) bool { return one.Network == n.config.ID }) {
		switch one.State {
		case plumbAsked:
			n.goRun(func() { n.askAgain(one) })
		case plumbGranted:
			n.goRun(func() {
				if n.ready(n.ctx) {
					n.install(one)
				}
			})
		case plumbLinked:
			if n.service.bridge.FindRoom(one.Room) == nil { // the database is of another time
				n.goRun(func() { n.unlinkLost(one) })
			}
		case plumbEnding:
			n.service.work(func(ctx context.Context) {
				if p := n.service.bridge.Find(one.key()); p != nil && p.Room() == one.Room {
					n.logPlumb(one, n.service.bridge.Retire(ctx, p))
				}
				n.moveOut(ctx, one)
			})
		}
	}
}

func (n *network) unlinkLost(one plumb) {
	n.logPlumb(one, n.unlink(n.ctx, one, "The bridge has forgotten the room."))
}

// askAgain asks anew what was asked before the bridge was stopped: the codes of then are forgotten.
func (n *network) askAgain(one plumb) {
	ctx, cancel := context.WithDeadline(n.ctx, time.UnixMilli(one.Until))
	defer cancel()
	w := plumbWish{network: n, channel: string(one.Name), key: string(one.Key), operator: one.Nick}
	var operators []string
	_, err := n.enterChannel(ctx, w.channel, w.key)
	if err == nil {
		operators, err = n.pickOperators(ctx, w)
	}
	switch {
	case n.ctx.Err() != nil:
	case err != nil:
		n.log.Info("nobody can be asked again for a link", "channel", decode(w.channel), "err", err)
		n.endWish(one, plumbExpired, "", "No operator of "+decode(w.channel)+" can be asked at the moment: the room is not linked.")
	default:
		n.ask(n.ctx, func() { n.question(one, operators) })
		n.service.notice(one.Tell, "plumb."+one.ID+".again."+rand.Text(), "The bridge was restarted. I have asked once more whether "+decode(w.channel)+" may be linked.")
	}
}

// asking tells whether operators of a channel are being asked something. It is called on the loop.
func (n *network) asking(channel string) bool {
	for _, q := range n.questions {
		if q.channel == channel {
			return true
		}
	}
	return false
}

// listed tells whether the bridge's operator has said something about a channel: it is no
// stranger's then.
func (n *network) listed(channel string) bool {
	for _, m := range n.now().Mappings {
		if n.fold(m.Channel) == n.fold(channel) {
			return true
		}
	}
	return false
}

// elsewhere refuses to lead somebody into a room of others; where anybody may join, it says how that is
// called.
func (n *network) elsewhere(ctx context.Context, p *bridge.Portal) error {
	name := decode(p.Name())
	l, err := n.service.lodging(ctx, p.Room())
	if err == nil && l.joinRule == "public" && l.alias != "" {
		return matrix.Forbidden("%s is linked with the room %s: join that.", name, clip(l.alias, 255))
	}
	return matrix.Forbidden("%s is linked with a room of others. Ask there, or in the channel, how to get in.", name)
}
