package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A RoomSpec says how a portal's room is made.
type RoomSpec struct {
	Alias       matrix.RoomAlias
	Name        string
	Topic       string
	RoomVersion string // empty: the homeserver's default
	Events      map[string]int
	State       []*event.Event // further initial state
	Published   bool           // in the directory of public rooms
}

// CreateRoom gives the portal a room, unless it has one; then it only makes sure that the alias
// leads there. That the room is being created is written down first: if we are
// killed in between, the room is found again by its alias.
func (p *Portal) CreateRoom(ctx context.Context, spec RoomSpec) error {
	if room := p.Room(); room != "" {
		return p.ensureAlias(ctx, spec.Alias, room)
	}
	p.mu.Lock()
	p.alias, p.topic, p.unvisited = spec.Alias, spec.Topic, millis(time.Now())
	row, since := p.row(), p.unvisited
	p.mu.Unlock()
	err := p.bridge.db.Update(ctx, func(tx *database.Tx) error {
		return errors.Join(tx.Queue(ctx, upsertPortal, row...), tx.Queue(ctx, insertUnvisited, p.id, since))
	})
	if err != nil {
		return fmt.Errorf("note that a room is being created: %w", err)
	}
	room, err := p.create(ctx, spec)
	if err != nil {
		return err
	}
	return p.adopt(ctx, room)
}

// create makes the room, or finds the one that an earlier attempt has made.
func (p *Portal) create(ctx context.Context, spec RoomSpec) (matrix.RoomID, error) {
	bot := p.bridge.client.Bot()
	if err := bot.EnsureRegistered(ctx); err != nil {
		return "", fmt.Errorf("register the bridge's own user: %w", err)
	}
	visibility := "private"
	if spec.Published {
		visibility = "public"
	}
	state := append(slices.Clone(spec.State), p.firstInfo()...)
	if _, ok := p.bridge.remote.(Guards); ok {
		state = append(state, &event.Event{
			Type:    event.StateHistoryVisibility,
			Content: event.Content{Raw: map[string]any{"history_visibility": p.gate.historyVisibility()}},
		})
	}
	room, err := bot.CreateRoom(ctx, &mautrix.ReqCreateRoom{
		Preset:        "public_chat",
		Visibility:    visibility,
		RoomAliasName: spec.Alias.Localpart(),
		Name:          spec.Name,
		Topic:         spec.Topic,
		RoomVersion:   id.RoomVersion(spec.RoomVersion),
		InitialState:  state,
		// No entry for the bot: it has created the room, and from room version
		// 12 on the creator must not be named.
		PowerLevelOverride: powerLevels(spec.Events),
	})
	if err == nil || !client.Is(err, "M_ROOM_IN_USE") {
		return room, err
	}
	// An earlier attempt got that far, though we never heard of it.
	room, err = bot.Resolve(ctx, spec.Alias)
	if err != nil {
		return "", fmt.Errorf("find the room that has the alias: %w", err)
	}
	if !p.ours(ctx, room) {
		return "", matrix.RoomInUse("The alias belongs to a room that is not the bridge's.")
	}
	return room, nil
}

func powerLevels(events map[string]int) *event.PowerLevelsEventContent {
	if len(events) == 0 {
		return nil
	}
	return &event.PowerLevelsEventContent{Events: events}
}

// ours tells whether the bridge's own user has the power of a room's creator.
func (p *Portal) ours(ctx context.Context, room matrix.RoomID) bool {
	bot := p.bridge.client.Bot()
	_, err := bot.State(ctx, room, "m.room.member", string(bot.ID))
	return err == nil
}

// adopt makes a room the portal's and begins to send what waits for it.
func (p *Portal) adopt(ctx context.Context, room matrix.RoomID) error {
	b := p.bridge
	p.mu.Lock()
	if p.retired {
		p.mu.Unlock()
		return errRetired
	}
	p.room = room
	row := p.row()
	p.mu.Unlock()
	b.forgetSealing(room) // what was known of it when it was not ours may be old
	b.mu.Lock()
	b.byRoom[room] = p
	b.mu.Unlock()
	err := b.db.Update(ctx, func(tx *database.Tx) error {
		return tx.Queue(ctx, upsertPortal, row...)
	})
	if err != nil {
		return fmt.Errorf("save the portal: %w", err)
	}
	b.log.Info("a channel has a room now", "network", p.key.Network, "channel", p.key.Channel, "room", room)
	b.attend(room, p)
	p.wake()
	p.members.wake()
	p.describe()
	return nil
}

// ensureAlias lets one more spelling of the channel lead to the room.
func (p *Portal) ensureAlias(ctx context.Context, alias matrix.RoomAlias, room matrix.RoomID) error {
	bot := p.bridge.client.Bot()
	err := bot.CreateAlias(ctx, alias, room)
	if err == nil {
		return nil
	}
	if there, resolveErr := bot.Resolve(ctx, alias); resolveErr == nil && there == room {
		return nil
	}
	return fmt.Errorf("add an alias: %w", err)
}

// recover finds the portal of a room that we created but were killed before we
// knew its ID.
func (b *Bridge) recover(ctx context.Context, room matrix.RoomID) *Portal {
	for _, p := range b.Portals() {
		p.mu.Lock()
		alias, unfinished := p.alias, p.room == "" && p.alias != ""
		p.mu.Unlock()
		if !unfinished {
			continue
		}
		var found matrix.RoomID
		err := client.Retry(ctx, b.noteFailing("look for a room"), func(ctx context.Context) (err error) {
			found, err = b.client.Bot().Resolve(ctx, alias)
			return err
		})
		if err != nil || found != room || !p.ours(ctx, room) {
			continue
		}
		if err := p.adopt(ctx, room); err != nil && !errors.Is(err, context.Canceled) {
			b.log.Error("a room was found again but not saved", "room", room, "err", err)
		}
		return p
	}
	return nil
}

// Drained waits until all that is in the queue now has been sent, so that the
// room has its scrollback before anybody comes in.
func (p *Portal) Drained(ctx context.Context) error {
	p.mu.Lock()
	left := 0
	for _, n := range p.queued {
		left += n
	}
	w := &waiter{left: left, done: make(chan struct{})}
	if left > 0 {
		p.waiters = append(p.waiters, w)
	} else {
		close(w.done)
	}
	p.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A waiter waits until so many more entries have left the queue.
type waiter struct {
	left int
	done chan struct{}
}
