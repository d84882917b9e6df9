package irc

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"trestle/appservice/client"
	"trestle/bridges/irc/names"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// plumbLimit is how often one Matrix user may wish for something.
var plumbLimit = wire.Flood{Burst: plumbBurst, Interval: plumbPace}

// maxOperators is how many are asked if nobody in particular is to be.
const maxOperators = 3

// A plumbWish is what somebody wants to be linked.
type plumbWish struct {
	by       matrix.UserID
	room     string        // ID, or an alias
	tell     matrix.RoomID // where by hears what becomes of it; empty: in the room
	network  *network
	channel  string
	key      string
	operator string // nick; empty: any
}

// plumb has operators of a channel asked whether a room may be linked with it.
func (s *Service) plumb(ctx context.Context, w plumbWish) (plumb, error) {
	n := w.network
	if n.now().NoPlumbing {
		return plumb{}, matrix.Forbidden("Rooms cannot be linked with channels of %s.", n.now().Name)
	}
	if !s.plumbs.take(w.by) {
		return plumb{}, matrix.LimitExceeded(plumbPace)
	}
	if w.operator != "" && !names.ValidNick(w.operator) {
		return plumb{}, matrix.NewError(400, codeNoOperator, "IRC has no such nicks.")
	}
	room, err := s.enterRoom(ctx, w.room)
	if err != nil {
		return plumb{}, err
	}
	l, err := s.lodging(ctx, room)
	if err != nil {
		return plumb{}, err
	}
	if err := l.moderates(w.by, n); err != nil {
		return plumb{}, err
	}
	if err := l.fits(s.bridge.Client().Bot().ID, n.ghost("nobody"), s.bridge.Encrypts(ctx, n.config.ID)); err != nil {
		return plumb{}, err
	}
	if err := l.free(ctx, n, w.channel); err != nil {
		return plumb{}, err
	}
	if other := s.bridge.FindRoom(room); other != nil {
		return plumb{}, matrix.NewError(409, codeLinkedAlready, "The room is that of %s already.", decode(other.Name()))
	}
	if w.tell == "" {
		w.tell = room
	}
	return n.wishFor(ctx, w, l)
}

// enterRoom has the bridge's own user join a room that it may join.
func (s *Service) enterRoom(ctx context.Context, aliasOrID string) (room matrix.RoomID, err error) {
	bot := s.bridge.Client().Bot()
	ctx, cancel := context.WithTimeout(ctx, plumbWait)
	defer cancel()
	err = client.Retry(ctx, nil, func(ctx context.Context) (err error) {
		if err = bot.EnsureRegistered(ctx); err == nil {
			room, err = bot.JoinAlias(ctx, aliasOrID)
		}
		return err
	})
	switch {
	case err == nil:
		return room, nil
	case client.Temporary(err), ctx.Err() != nil:
		return "", fmt.Errorf("join a room: %w", err)
	}
	return "", matrix.Forbidden("I cannot join the room. Invite %s there first.", bot.ID)
}

// wishFor looks at the channel, and asks.
func (n *network) wishFor(ctx context.Context, w plumbWish, l *lodging) (plumb, error) {
	asking, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	if _, err := n.enterChannel(asking, w.channel, w.key); err != nil {
		return plumb{}, unknownChannel(err)
	}
	leave := func(err error) (plumb, error) {
		n.post(func() { n.abandon(w.channel) })
		return plumb{}, err
	}
	if p := n.service.bridge.Find(n.key(w.channel)); p != nil && p.Room() != "" && (p.Plumbed() || len(p.People()) > 0 || n.mappedRoom(w.channel)) {
		return leave(matrix.NewError(409, codeLinkedAlready, "%s has a room already, in which there are people.", decode(w.channel)))
	}
	if n.refusedLately(w.channel) {
		return leave(matrix.NewError(403, "M_FORBIDDEN", "An operator of %s has refused a short time ago.", decode(w.channel)))
	}
	asks := false
	n.ask(ctx, func() { asks = n.asks.take(time.Now()) })
	if !asks {
		return leave(matrix.LimitExceeded(askPace.Interval))
	}
	operators, err := n.pickOperators(ctx, w)
	if err != nil {
		return leave(err)
	}
	one := plumb{
		ID: rand.Text(), State: plumbAsked, Network: n.config.ID, Channel: []byte(n.fold(w.channel)), Name: []byte(w.channel), Key: []byte(w.key),
		Room: l.id, AskedBy: w.by, Tell: w.tell, Nick: w.operator, World: l.visibility == "world_readable",
		Until: time.Now().Add(n.now().PlumbWait).UnixMilli(), Since: time.Now().UnixMilli(),
		Members: len(l.joined), Title: l.title, Open: l.joinRule == "public",
	}
	if err := n.service.plumbs.add(ctx, one); err != nil {
		return leave(err)
	}
	n.ask(ctx, func() { n.question(one, operators) })
	return one, nil
}

// unknownChannel gives the refusal of a channel that is not there the code that clients expect.
func unknownChannel(err error) error {
	if known, ok := errors.AsType[*matrix.Error](err); ok && known.Code == "M_NOT_FOUND" {
		return matrix.NewError(404, codeUnknownChannel, "%s", known.Message)
	}
	return err
}

// mappedRoom tells whether the operator of the bridge has given a channel its room.
func (n *network) mappedRoom(channel string) bool {
	return slices.ContainsFunc(n.now().Mappings, func(m Mapping) bool { return m.Room != "" && n.fold(m.Channel) == n.fold(channel) })
}

func (n *network) refusedLately(channel string) bool {
	key := n.key(channel)
	return len(n.service.plumbs.find(func(one plumb) bool {
		return one.key() == key && one.State == plumbRefused && one.Granted != "" && one.Until > time.Now().UnixMilli()
	})) > 0
}

// pickOperators are those whom to ask: the one that is wanted, or some of those who are there.
func (n *network) pickOperators(ctx context.Context, w plumbWish) (picked []string, err error) {
	all := n.operatorsOf(ctx, w.channel)
	if w.operator == "" {
		if len(all) == 0 {
			return nil, matrix.NewError(400, codeNoOperator, "No operator of %s is there at the moment.", decode(w.channel))
		}
		return all[:min(len(all), maxOperators)], nil
	}
	for _, nick := range all {
		if n.fold(nick) == n.fold(w.operator) {
			return []string{nick}, nil
		}
	}
	return nil, matrix.NewError(400, codeNoOperator, "%s is no operator of %s.", decode(w.operator), decode(w.channel))
}

// operatorsOf are the nicks of those who may decide for a channel in which the bot is.
func (n *network) operatorsOf(ctx context.Context, channel string) (nicks []string) {
	n.ask(ctx, func() {
		ch := n.known(channel)
		if ch == nil {
			return
		}
		for u := range ch.members {
			if u.puppet == nil && !u.bot && !u.barred && n.operates(ch.status[u]) {
				nicks = append(nicks, u.nick)
			}
		}
	})
	slices.Sort(nicks)
	return nicks
}

// notifyPlumber tells who has asked for a link what has become of it.
func (s *Service) notifyPlumber(one plumb, text string) {
	s.notice(one.Tell, "plumb."+one.ID+"."+one.State, text)
}

// notice says something in a room that need not be a portal's, once for each name.
func (s *Service) notice(room matrix.RoomID, name, text string) {
	s.work(func(ctx context.Context) {
		err := client.Retry(ctx, nil, func(ctx context.Context) error {
			return s.bridge.Whisper(ctx, room, s.bridge.Client().Bot().ID, name, text)
		})
		if err != nil && ctx.Err() == nil {
			s.log.Info("nobody was told of a link", "room", room, "err", err)
		}
	})
}

// work runs something that lasts no longer than the bridge.
func (s *Service) work(fn func(context.Context)) { s.bridge.Go(func() { fn(s.ctx) }) }
