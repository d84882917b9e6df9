package irc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// A Consent is whose private messages Matrix users get.
type Consent string

// The rules of consent.
const (
	FromAll    Consent = "all"
	FromCommon Consent = "common" // of those in a channel with them
	FromNobody Consent = "none"
)

// directKey is the key of what a Matrix user and a nick, folded, say to each other. The
// space, which is in no nick, tells it from a channel.
func (n *network) directKey(nick string, user matrix.UserID) bridge.Key {
	return bridge.Key{Network: n.config.ID, Channel: n.fold(nick) + " " + string(user)}
}

// direct takes the key of a direct chat apart.
func direct(key bridge.Key) (nick string, user matrix.UserID, ok bool) {
	nick, rest, ok := strings.Cut(key.Channel, " ")
	return nick, matrix.UserID(rest), ok
}

// Voice implements bridge.Directs.
func (s *Service) Voice(key bridge.Key) (bridge.Ghost, bool) {
	nick, _, ok := direct(key)
	n := s.network(key.Network)
	if !ok || n == nil {
		return bridge.Ghost{}, false
	}
	return n.ghost(nick), true
}

// Invited implements bridge.Directs: whoever invites a virtual user into a room with nobody else
// wants to speak to that user.
func (s *Service) Invited(ctx context.Context, room matrix.RoomID, by matrix.UserID, ghost bridge.Ghost) {
	n, nick := s.whose(ghost.ID)
	if n == nil {
		return
	}
	var alone bool
	err := client.Retry(ctx, nil, func(ctx context.Context) (err error) {
		alone, err = s.bridge.Enter(ctx, room, ghost, n.config.ID)
		return err
	})
	if err != nil {
		n.log.Info("an invitation was not accepted", "room", room, "user", ghost.ID, "err", err)
		return
	}
	if !alone {
		reason := "IRC users can only be spoken to alone, or in the rooms of their channels."
		if err := s.bridge.Client().As(ghost.ID).Leave(ctx, room, reason); err != nil {
			n.log.Info("a virtual user did not leave a room", "room", room, "user", ghost.ID, "err", err)
		}
		return
	}
	if err := n.beginDirect(ctx, room, by, nick); err != nil {
		n.log.Error("a direct chat was not opened", "room", room, "err", err)
	}
}

// whose is the network of a virtual user, and its nick, folded.
func (s *Service) whose(ghost matrix.UserID) (*network, string) {
	for _, n := range s.all() {
		if nick, ok := n.templates.ghostNick(ghost.Localpart()); ok {
			return n, nick
		}
	}
	return nil, ""
}

// beginDirect makes a room that of a direct chat.
func (n *network) beginDirect(ctx context.Context, room matrix.RoomID, user matrix.UserID, nick string) error {
	p, err := n.service.bridge.Portal(ctx, n.directKey(nick, user), nick)
	if err != nil {
		return err
	}
	if err := p.Adopt(ctx, room, user); err != nil {
		return err
	}
	n.comeBack(ctx, user)
	n.ask(ctx, func() { n.reachable(user, p) })
	return nil
}

// reachable keeps a user's connection for as long as there is a direct chat.
func (n *network) reachable(user matrix.UserID, portal *bridge.Portal) {
	if n.away(user) {
		return
	}
	p := n.puppet(user)
	p.directs[portal] = true
	p.connectAsked()
}

// directEvent works off an event of a direct chat's room.
func (n *network) directEvent(ctx context.Context, p *bridge.Portal, e *client.Event, done func()) {
	_, user, _ := direct(p.Key())
	theirs := matrix.UserID(e.Sender) == user
	switch {
	case theirs && (e.Type == event.EventMessage || e.Type == event.EventSticker || kindOfPoll(e.Type.Type) != ""):
		n.comeBack(ctx, user)
		n.say(ctx, p, e, done)
		return
	case theirs && e.Type == event.EventReaction:
		n.react(ctx, p, e, done)
		return
	case theirs && e.Type == event.EventRedaction:
		n.redact(ctx, p, e, done)
		return
	}
	switch e.Type {
	case event.EventEncrypted:
		n.undelivered(p, e, e.Unreadable)
		n.service.bridge.Stored(done)
		return
	case event.StateMember:
		membership, who := e.Content.AsMember().Membership, matrix.UserID(e.GetStateKey())
		ghost, _ := n.service.Voice(p.Key())
		if (membership == event.MembershipLeave || membership == event.MembershipBan) && (who == user || who == ghost.ID) {
			n.ask(ctx, func() { n.endDirect(user, p) })
			p.Close(ctx, "")
		}
	}
	done()
}

// endDirect forgets a direct chat that was left.
func (n *network) endDirect(user matrix.UserID, portal *bridge.Portal) {
	p := n.puppet(user)
	delete(p.directs, portal)
	p.reap()
}

// whispered takes, on the loop, what somebody on IRC says to a puppet.
func (p *puppet) whispered(m *wire.Message) {
	n := p.net
	nick := m.Prefix.Nick
	if nick == "" || strings.Contains(nick, ".") || n.fold(nick) == n.fold(p.link.conn.Nick()) || n.bot.is(nick) || n.byNick[n.fold(nick)] != nil {
		return // servers; and Matrix users have better ways to each other
	}
	content, ok := n.content(&channel{net: n}, m)
	if !ok || n.barredOnIRC(m.Prefix) {
		return
	}
	portal := n.service.bridge.Find(n.directKey(nick, p.user))
	if portal == nil {
		if m.Command == "NOTICE" || !n.consents(p, nick) {
			n.log.Debug("a private message is not passed on", "user", p.user, "nick", nick)
			return
		}
		if !p.opens.take(time.Now()) {
			n.log.Warn("too many people begin to speak to a user; a private message is not passed on", "user", p.user, "nick", nick)
			return
		}
		var err error
		if portal, err = n.service.bridge.Portal(n.ctx, n.directKey(nick, p.user), nick); err != nil {
			n.log.Error("a private message has no portal", "user", p.user, "err", err)
			return
		}
	}
	portal.Say(bridge.Message{
		Sender: n.ghost(nick), Content: content, Time: m.Time, RemoteID: m.ID(), Excerpt: excerpt(content.Body), ReplyTo: replied(m),
	}, nil)
	if portal.Room() == "" && !p.opening[portal] {
		p.open(portal)
	}
}

// beckoned takes, on the loop, a reaction that somebody on IRC has sent a puppet alone.
func (p *puppet) beckoned(m *wire.Message) {
	n, nick := p.net, m.Prefix.Nick
	portal := n.service.bridge.Find(n.directKey(nick, p.user))
	if portal == nil || n.barredOnIRC(m.Prefix) {
		return
	}
	n.hearReaction(portal, nick, m)
}

// consents tells whether somebody may begin to speak to a user.
func (n *network) consents(p *puppet, nick string) bool {
	if !n.service.wants(p.user, featurePrivate) {
		return false
	}
	switch n.now().Direct {
	case FromAll:
		return true
	case FromCommon:
		u := n.users[n.fold(nick)]
		for channel := range p.wanted {
			if ch := n.channels[channel]; u != nil && ch != nil && ch.members[u] {
				return true
			}
		}
	}
	return false
}

// open invites the user to a direct chat that somebody on IRC has begun.
func (p *puppet) open(portal *bridge.Portal) {
	n := p.net
	p.opening[portal] = true
	n.goRun(func() {
		err := client.Retry(n.ctx, nil, func(ctx context.Context) error { return portal.OpenDirect(ctx, p.user) })
		n.post(func() {
			delete(p.opening, portal)
			if err != nil { // M_INVITE_BLOCKED, for instance
				n.log.Info("a direct chat was refused", "user", p.user, "err", err)
				n.service.bridge.Drop(portal)
				return
			}
			n.reachable(p.user, portal)
		})
	})
}

// followNick keeps direct chats with somebody who has another nick now.
func (n *network) followNick(before, after string) {
	for _, portal := range n.service.bridge.Portals() {
		key := portal.Key()
		nick, user, ok := direct(key)
		if !ok || key.Network != n.config.ID || nick != n.fold(before) || n.fold(before) == n.fold(after) {
			continue
		}
		if n.following[portal] != nil { // the bot and the user's own connection both see it
			continue
		}
		followed := make(chan struct{})
		n.following[portal] = followed
		n.goRun(func() {
			defer n.post(func() {
				delete(n.following, portal)
				close(followed)
			})
			err := portal.Follow(n.ctx, n.directKey(after, user), after)
			if err != nil && !errors.Is(err, context.Canceled) {
				n.log.Info("a direct chat does not follow a new nick", "user", user, "err", err)
				portal.Notice(fmt.Sprintf("%s is now known as %s.", decode(before), decode(after)))
			}
		})
	}
}

// readdress has what a direct chat says go to the nick that the other has now. While that is changing, it waits.
func (n *network) readdress(ctx context.Context, u *utterance) error {
	var followed chan struct{}
	for {
		if !n.ask(ctx, func() { followed = n.following[u.portal] }) {
			return context.Canceled
		}
		if followed == nil {
			u.channel, u.target = u.portal.Key().Channel, u.portal.Name()
			if u.message != nil {
				u.message.Params[0] = u.target
			}
			return nil
		}
		select {
		case <-followed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
