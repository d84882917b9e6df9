package irc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

// maxRoomsListed bounds an answer.
const maxRoomsListed = 200

// commandQuit disconnects a user and takes the user out of the channels' rooms: whoever is not on IRC is
// not to read it. It lasts, over restarts, until the user comes back.
func (s *Service) commandQuit(ctx context.Context, call *bridge.Call) (string, error) {
	from := s.all()
	if len(call.Args) > 0 {
		n := s.networkAt(call.Args[0])
		if n == nil {
			return "", matrix.NotFound("There is no network %.40q.", call.Args[0])
		}
		from = []*network{n}
	}
	lines := make([]string, len(from))
	for i, n := range from {
		left, err := n.sendAway(ctx, call.Sender)
		if err != nil {
			return "", err
		}
		lines[i] = fmt.Sprintf("You are not on %s any more", n.now().Name)
		if len(left) > 0 {
			lines[i] += ", and are taken out of the rooms of " + strings.Join(left, ", ")
		}
		lines[i] += ". Join a room, talk in a direct chat, or say “reconnect” to come back."
	}
	return strings.Join(lines, "\n"), nil
}

// sendAway ends all that keeps a user connected. The removals are safe before it is noted that
// the user is away: if we are killed in between, the command is worked off again.
func (n *network) sendAway(ctx context.Context, user matrix.UserID) (left []string, err error) {
	reason := "You have quit " + n.now().Name + ". Join again to come back."
	n.ask(ctx, func() {
		p := n.puppet(user)
		for _, portal := range n.service.bridge.Portals() {
			if _, in := portal.Person(user); !in || portal.Key().Network != n.config.ID || portal.Direct() {
				continue
			}
			p.forgets(portal.Key().Channel)
			if !portal.Plumbed() { // who is in rooms of others is the affair of those
				left = append(left, decode(portal.Name()))
				portal.Remove(user, reason)
			}
		}
		for channel := range p.wanted {
			p.expelled(channel, reason)
		}
		p.end()
	})
	stored := make(chan struct{})
	n.service.bridge.Stored(func() { close(stored) })
	select {
	case <-stored:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	slices.Sort(left)
	return left, n.service.choices.choose(ctx, choice{n.config.ID, user, awayChoice}, true)
}

// end disconnects a user until somebody wants a connection for them.
func (p *puppet) end() {
	clear(p.directs)
	if p.waiting != nil {
		p.waiting.Stop()
		p.waiting = nil
	}
	p.again = false
	if p.link != nil {
		p.link.quit("Quit")
	}
}

// away tells whether a user has quit.
func (n *network) away(user matrix.UserID) bool {
	return n.service.choices.of(choice{n.config.ID, user, awayChoice}, false)
}

// comeBack notes that a user who has quit wants to be there again. It does nothing for others.
func (n *network) comeBack(ctx context.Context, user matrix.UserID) {
	if !n.away(user) {
		return
	}
	if err := n.service.choices.forget(ctx, choice{n.config.ID, user, awayChoice}); err != nil {
		if !errors.Is(err, context.Canceled) {
			n.log.Error("a user who came back may be gone after a restart", "user", user, "err", err)
		}
		return
	}
	n.ask(ctx, func() {
		for _, portal := range n.service.bridge.Portals() {
			name, in := portal.Person(user)
			switch {
			case !in || portal.Key().Network != n.config.ID:
			case portal.Direct():
				n.reachable(user, portal)
			case !portal.Plumbed(): // there, their next word brings them
				n.personJoined(portal, user, name)
			}
		}
	})
}

// sameMember tells whether an event is about somebody who was in the room before: a new name or
// picture is not coming back.
func sameMember(e *client.Event) bool {
	before := e.Unsigned.PrevContent
	if before == nil {
		return false
	}
	return before.Raw["membership"] == string(event.MembershipJoin)
}

func (s *Service) commandListRooms(ctx context.Context, call *bridge.Call) (string, error) {
	if err := s.private(ctx, call); err != nil && (call.Portal == nil || !call.Portal.Direct()) {
		return "", err
	}
	asked := s.all()
	if len(call.Args) > 0 {
		n := s.networkAt(call.Args[0])
		if n == nil {
			return "", matrix.NotFound("There is no network %.40q.", call.Args[0])
		}
		asked = []*network{n}
	}
	var lines []string
	for _, n := range asked {
		lines = append(lines, n.roomsOf(ctx, call.Sender)...)
	}
	if len(lines) == 0 {
		return "You are in no room of a channel.", nil
	}
	if more := len(lines) - maxRoomsListed; more > 0 {
		lines = append(lines[:maxRoomsListed], fmt.Sprintf("… and %d more", more))
	}
	return strings.Join(lines, "\n"), nil
}

// roomsOf lists the rooms that a user is in, and none that the user is not.
func (n *network) roomsOf(ctx context.Context, user matrix.UserID) (lines []string) {
	in := map[string]bool{}
	n.ask(ctx, func() {
		if p := n.puppets[user]; p != nil {
			for channel := range p.wanted {
				in[channel] = p.speech.isIn(channel)
			}
		}
	})
	for _, p := range n.service.bridge.Portals() {
		key := p.Key()
		if _, here := p.People()[user]; key.Network != n.config.ID || !here {
			continue
		}
		where := string(n.aliasOf(p.Name()))
		switch {
		case p.Direct():
			where = "a direct chat"
		case !in[key.Channel]:
			where += ", not joined on IRC"
		}
		lines = append(lines, fmt.Sprintf("%s: %s – %s", n.config.ID, decode(p.Name()), where))
	}
	slices.Sort(lines)
	return lines
}
