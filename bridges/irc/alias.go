package irc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	askWait        = 8 * time.Second  // for IRC to let the bot into a channel
	createWait     = 15 * time.Second // for the homeserver to create the room
	scrollbackWait = 5 * time.Second  // for what was said earlier to be sent
)

// QueryAlias implements bridge.Remote: the channel behind an alias gets a room if
// IRC lets the bot in.
func (s *Service) QueryAlias(ctx context.Context, alias matrix.RoomAlias) error {
	if alias.Server() != s.config.ServerName {
		return matrix.NotFound("The alias is another server's.")
	}
	for _, n := range s.all() {
		if channel, ok := n.mapped(alias); ok {
			_, err := n.open(ctx, channel, alias)
			return err
		}
	}
	for _, n := range s.all() {
		if channel, ok := n.templates.channel(alias.Localpart()); ok {
			_, err := n.open(ctx, channel, alias)
			return err
		}
	}
	return matrix.NotFound("No network of the bridge has such aliases.")
}

// flights lets those who want the same thing at the same time share one attempt.
type flights struct {
	mu    sync.Mutex
	under map[string]*flight
}

type flight struct {
	done chan struct{}
	err  error
}

// share runs fn, or waits for one that is running under the same name already.
func (f *flights) share(ctx context.Context, name string, fn func() error) error {
	f.mu.Lock()
	running := f.under[name]
	if running == nil {
		running = &flight{done: make(chan struct{})}
		if f.under == nil {
			f.under = map[string]*flight{}
		}
		f.under[name] = running
		go func() {
			running.err = fn()
			f.mu.Lock()
			delete(f.under, name)
			f.mu.Unlock()
			close(running.done)
		}()
	}
	f.mu.Unlock()
	select {
	case <-running.done:
		return running.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// open makes a channel's room exist and its alias lead there.
func (n *network) open(ctx context.Context, name string, alias matrix.RoomAlias) (*bridge.Portal, error) {
	return n.openWith(ctx, name, "", alias)
}

// openWith is open for a channel that may want a key.
func (n *network) openWith(ctx context.Context, name, key string, alias matrix.RoomAlias) (*bridge.Portal, error) {
	n.meets(ctx)
	if err := n.mayOpen(ctx, name, string(alias)); err != nil {
		return nil, err
	}
	leave, err := n.occupied.enter(ctx, n.fold(name))
	if err != nil {
		return nil, err
	}
	defer leave()
	err = n.flights.share(ctx, n.fold(name)+" "+key, func() error {
		// Whoever asked may leave; the others, and the room, must not suffer.
		leave, err := n.occupied.enter(n.ctx, n.fold(name))
		if err != nil {
			return err
		}
		defer leave()
		return n.openAlone(n.ctx, name, key)
	})
	if to, ok := errors.AsType[*forwarded](err); ok {
		return n.follow(ctx, name, to.to, alias)
	}
	if err != nil {
		return nil, err
	}
	p := n.service.bridge.Find(n.key(name))
	if p == nil || p.Room() == "" {
		return nil, fmt.Errorf("channel %q has no room after all", name)
	}
	if p.Plumbed() {
		return nil, n.elsewhere(ctx, p)
	}
	if alias == "" || alias == n.aliasOf(name) {
		return p, nil
	}
	return p, n.respelt(ctx, p, alias)
}

// meets waits until it is known which spellings the network takes for one, or until it is
// clear that nobody is there to say so.
func (n *network) meets(ctx context.Context) {
	select {
	case <-n.met:
		return
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	n.ready(ctx)
}

// aliasOf is the one alias that a room is created with.
func (n *network) aliasOf(name string) matrix.RoomAlias {
	return matrix.NewRoomAlias(n.templates.aliasLocalpart(n.fold(name)), n.service.config.ServerName)
}

func (n *network) openAlone(ctx context.Context, name, key string) error {
	if p := n.service.bridge.Find(n.key(name)); p != nil && p.Room() != "" {
		if p.Plumbed() {
			return nil // which openWith says
		}
		return p.CreateRoom(ctx, bridge.RoomSpec{Alias: n.aliasOf(name)})
	}
	if n.now().NoPortals && !n.listed(name) {
		return matrix.NotFound("Channels of %s have no rooms of their own here. A room that you look after can be linked with %s, if the channel's operators allow it.", n.now().Name, decode(name))
	}
	if _, err := matrix.ParseRoomAlias(string(n.aliasOf(name))); err != nil {
		return matrix.NotFound("%s is too long for an alias.", decode(name))
	}
	if err := n.mayAsk(ctx, name); err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	view, err := n.enterChannel(asking, name, key)
	if err != nil {
		return err
	}
	creating, cancel := context.WithTimeout(ctx, createWait)
	defer cancel()
	var state []*event.Event
	if view.rights.Invited { // from the beginning: nobody is to slip in
		state = append(state, &event.Event{Type: event.StateJoinRules, Content: event.Content{Raw: map[string]any{"join_rule": "invite"}}})
	}
	err = view.portal.CreateRoom(creating, bridge.RoomSpec{
		Alias: n.aliasOf(name), Name: decode(name), Topic: view.topic, State: state,
		RoomVersion: n.now().RoomVersion, Events: eventLevels(view.rights.Topic), Published: n.now().Published && !view.unlisted,
	})
	if err != nil {
		n.post(func() { n.abandon(name) })
		return fmt.Errorf("create the room of %s: %w", name, err)
	}
	view.portal.SetRights(view.rights, false)
	n.post(func() { n.followListing(n.channels[n.fold(name)]) }) // it may have become secret since
	patient, cancel := context.WithTimeout(ctx, scrollbackWait)
	defer cancel()
	if err := view.portal.Drained(patient); err != nil {
		n.log.Info("the room opens before all that was said earlier is in it", "channel", name)
	}
	return nil
}

// openingLimit is how often the bot goes into a channel because somebody asks what is behind an alias: without an account
// anybody may ask, and need not come.
var openingLimit = wire.Flood{Burst: 60, Interval: 20 * time.Second}

// mayAsk tells whether IRC is asked for one more channel. Those that the operator has named, and those in which the bot is
// already, are not counted.
func (n *network) mayAsk(ctx context.Context, name string) error {
	allowed := true
	n.ask(ctx, func() {
		if n.known(name) == nil && !n.listed(name) && !slices.ContainsFunc(n.now().Channels, func(one string) bool { return n.fold(one) == n.fold(name) }) {
			allowed = n.openings.take(time.Now())
		}
	})
	if !allowed {
		n.log.Warn("too many channels are asked for", "channel", name)
		return matrix.NewError(http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "Too many channels of %s are being opened. Try again in some minutes.", n.now().Name)
	}
	return nil
}

// A view is what the bot sees of a channel.
type view struct {
	portal *bridge.Portal
	topic  string
	rights bridge.Rights

	unlisted bool
}

// enterChannel gets the bot into a channel, and the channel's members and topic. A key that somebody has
// given counts more than the one that is known.
func (n *network) enterChannel(ctx context.Context, name, given string) (*view, error) {
	if !n.ready(ctx) {
		return nil, matrix.NewError(http.StatusBadGateway, "M_CONNECTION_FAILED",
			"The bridge is not connected to %s at the moment.", n.now().Name)
	}
	var conn *wire.Conn
	joined, valid := false, false
	key := ""
	n.ask(ctx, func() {
		if !n.bot.online {
			return
		}
		conn = n.bot.link.conn
		valid = conn.Support().ValidChannel(name)
		key = n.keyOf(n.fold(name))
		joined = n.known(name) != nil
		if valid {
			n.channel(name) // before the JOIN, so that nothing is missed
		}
	})
	if conn == nil {
		return nil, matrix.NewError(http.StatusBadGateway, "M_CONNECTION_FAILED", "The connection to %s was lost.", n.now().Name)
	}
	if !valid {
		return nil, matrix.NotFound("%s is not a channel that %s could have.", decode(name), n.now().Name)
	}
	if !joined {
		if given != "" {
			key = given
		}
		if err := conn.JoinChannel(ctx, name, key); err != nil {
			n.post(func() { n.abandon(name) })
			if refusal, ok := errors.AsType[*wire.JoinError](err); ok && refusal.Forward != "" && n.now().FollowForwards {
				return nil, &forwarded{refusal.Forward}
			}
			return nil, joinError(name, err)
		}
	}
	found := make(chan *view, 1)
	n.ask(ctx, func() { n.whenSynced(name, found) })
	select {
	case v := <-found:
		return v, nil
	case <-ctx.Done():
		return nil, joinError(name, ctx.Err())
	}
}

// ready waits until the bot is connected, as long as there is hope that it will soon be.
func (n *network) ready(ctx context.Context) bool {
	told := make(chan bool, 1)
	n.ask(ctx, func() { n.bot.whenUp(func(up bool) { told <- up }) })
	select {
	case up := <-told:
		return up
	case <-ctx.Done():
		return false
	}
}

// whenSynced shows a channel as soon as its members are known.
func (n *network) whenSynced(name string, found chan<- *view) {
	ch := n.channels[n.fold(name)]
	if ch == nil {
		return
	}
	look := func() {
		found <- &view{portal: ch.portal, topic: ch.topic, rights: n.rights(ch), unlisted: ch.unlisted()}
	}
	if ch.joined && ch.synced && ch.told {
		look()
	} else {
		ch.waiting = append(ch.waiting, look)
	}
}

// abandon leaves a channel that nobody wants after all.
func (n *network) abandon(name string) {
	ch := n.channels[n.fold(name)]
	if ch == nil || ch.wanted() {
		return
	}
	if ch.joined {
		n.bot.send(wire.NewMessage("PART", ch.name))
	}
	n.leave(ch)
	delete(n.channels, ch.key)
	if ch.portal != nil {
		n.service.bridge.Drop(ch.portal)
	}
}

// eventLevels says who may change what in a portal's room.
func eventLevels(topic int) map[string]int {
	return map[string]int{
		"m.room.avatar": 50, "m.room.canonical_alias": 50, "m.room.name": 50, "m.room.topic": topic,
		"m.room.encryption": 100, "m.room.history_visibility": 100, "m.room.power_levels": 100,
		"m.room.server_acl": 100, "m.room.tombstone": 100,
	}
}

// joinError is a refusal of IRC as the homeserver gets to see it.
func joinError(name string, err error) error {
	refusal, ok := errors.AsType[*wire.JoinError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return matrix.NewError(http.StatusGatewayTimeout, "M_CONNECTION_FAILED", "IRC did not answer in time whether %s can be joined.", decode(name))
	case !ok:
		return matrix.NewError(http.StatusBadGateway, "M_CONNECTION_FAILED", "The connection to IRC failed: %s.", err)
	case errors.Is(refusal.Reason, wire.ErrNoSuchChannel):
		return matrix.NotFound("%s", joinRefusal(name, err))
	}
	return matrix.Forbidden("%s", joinRefusal(name, err))
}

// joinRefusal tells people why they, or the bridge, cannot be in a channel.
func joinRefusal(name string, err error) string {
	refusal, ok := errors.AsType[*wire.JoinError](err)
	if !ok {
		return fmt.Sprintf("IRC did not let the user into %s: %s", decode(name), err)
	}
	text := fmt.Sprintf("IRC refused %s: %s", decode(name), refusal.Reason)
	if refusal.Forward != "" {
		text = fmt.Sprintf("IRC forwards %s to %s, which has a room of its own", decode(name), decode(refusal.Forward))
	}
	if refusal.Text != "" {
		text += fmt.Sprintf(" (%s: %s)", refusal.Code, plain(refusal.Text))
	}
	return text
}
