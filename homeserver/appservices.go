package homeserver

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/appservice/sender"
	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
	"trestle/registration"
)

// connectSender makes what delivers to application services. What it is made
// of comes later is set then.
func (s *Server) connectSender(keys *storage.Encryption, position int64) (*eventStream, *keyCountSource) {
	s.asides = &asides{Notifier: s.notifier, registry: s.registry, store: s.store}
	s.asides.unsure(position)
	stream := &eventStream{store: s.store, notifier: s.notifier, server: s.cfg.ServerName, asides: s.asides, keys: keys, present: lru.New[place, matrix.UserID](rememberedPlaces, nil)}
	keyCounts := &keyCountSource{asides: s.asides, table: keys}
	s.sender = sender.New(sender.Options{
		Registry: s.registry, Store: storage.NewAppServices(s.db), Stream: stream, Rooms: stream, Logger: s.log,
		Ephemeral: receiptSource{s.asides, storage.NewReceipts(s.db)}, ToDevice: messageSource{s.asides, keys.ToDevice},
		Devices: deviceListSource{s.asides, keys.DeviceLists}, Keys: keyCounts, Serves: s.db.Leads,
	})
	s.asides.sender = s.sender
	s.metrics.MustRegister(s.sender.Collector())
	return stream, keyCounts
}

// eventStream is the room events as application services are sent them.
type eventStream struct {
	store    *storage.Store
	rooms    *rooms.Service
	notifier *notifier.Notifier
	server   matrix.ServerName
	asides   *asides
	keys     *storage.Encryption
	present  *lru.Cache[place, matrix.UserID] // somebody of a service who was in a room
}

// Head is the newest committed position.
func (s eventStream) Head(context.Context) (int64, error) { return s.notifier.Position(), nil }

// Count is how many events there are in a part of the stream, history included.
func (s eventStream) Count(ctx context.Context, after, upTo int64) (int64, error) {
	return s.store.Events.CountStream(ctx, after, upTo)
}

// Changes is the events in a part of the stream, without history that came
// later than its room: that is news to nobody.
func (s eventStream) Changes(ctx context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	page := func(after int64) ([]*storage.Event, bool, error) {
		return s.store.Events.Page(ctx, after, upTo, limit, sender.PageBytes)
	}
	at := func(e *storage.Event) int64 { return e.Position }
	return collect(after, limit, page, at, func(events []*storage.Event) ([]sender.Change, error) { return s.changes(ctx, events) })
}

// Moves is the memberships in a part of the stream, with what they mean for device lists.
func (s eventStream) Moves(ctx context.Context, after, upTo int64, limit int) ([]sender.Change, error) {
	page := func(after int64) ([]*storage.Event, bool, error) {
		return s.store.Events.Moves(ctx, after, upTo, limit, sender.PageBytes)
	}
	at := func(e *storage.Event) int64 { return e.Position }
	return collect(after, limit, page, at, func(events []*storage.Event) (changes []sender.Change, err error) {
		for _, e := range events {
			if e.Backfilled() {
				continue
			}
			moves, err := s.moves(ctx, e)
			if err != nil {
				return nil, err
			}
			c := moved(e)
			c.Size = len(e.Sender) + len(c.Target)
			changes = append(append(changes, c), moves...)
		}
		return changes, nil
	})
}

// moved is a membership, without its text.
func moved(e *storage.Event) sender.Change {
	return sender.Change{
		Position: e.Position, Kind: sender.Event, Room: e.RoomID, Sender: e.Sender, Time: e.OriginServerTS,
		Target: matrix.UserID(*e.StateKey), Membership: e.Membership(),
	}
}

func (s eventStream) changes(ctx context.Context, events []*storage.Event) ([]sender.Change, error) {
	changes := make([]sender.Change, 0, len(events))
	devices := s.asides.anyone(wantsDevices)
	for _, e := range events {
		if e.Backfilled() {
			continue
		}
		var err error
		body := clientEvent{event: e}
		if body.options, err = s.options(ctx, e); err != nil {
			return nil, err
		}
		c := sender.Change{
			Position: e.Position, Kind: sender.Event, Room: e.RoomID, Sender: e.Sender,
			Time: e.OriginServerTS, Size: body.size(), Body: body,
		}
		var moves []sender.Change
		if e.Type == "m.room.member" && e.IsState() {
			c.Target, c.Membership = matrix.UserID(*e.StateKey), e.Membership()
			if devices {
				if moves, err = s.moves(ctx, e); err != nil {
					return nil, err
				}
			}
		}
		changes = append(append(changes, c), moves...)
	}
	return changes, nil
}

// options is what a service sees of an event beside the event.
func (s eventStream) options(ctx context.Context, e *storage.Event) (matrix.ClientOptions, error) {
	o, err := s.rooms.ClientOptions(ctx, e, rooms.Reader{}, "")
	if err != nil || e.Type != "m.room.member" || e.Membership() != "invite" || matrix.UserID(*e.StateKey).Server() != s.server {
		return o, err
	}
	// Whoever is invited learns what to, as other clients do from /sync.
	stripped, err := s.rooms.Stripped(ctx, e)
	if err != nil {
		return o, err
	}
	raw, err := json.Marshal(stripped)
	o.Unsigned = map[string]json.RawMessage{"invite_room_state": raw}
	return o, err
}

// clientEvent writes an event when a transaction is frozen.
type clientEvent struct {
	event   *storage.Event
	options matrix.ClientOptions
}

// size is about how long it will be: what is shown with an event can be many times
// as long as the event, as in an invite to a room with a long name and topic.
func (b clientEvent) size() int {
	size := len(b.event.JSON()) + len(b.options.PrevContent) + len(b.options.RedactedBecause)
	for _, value := range b.options.Unsigned {
		size += len(value)
	}
	return size
}

func (b clientEvent) AppendJSON(dst []byte) []byte { return b.event.AppendClient(dst, b.options) }

// Room is who was in a room at a place in the stream.
func (s eventStream) Room(ctx context.Context, id matrix.RoomID, position int64) (sender.Room, error) {
	info, err := s.store.Rooms.Info(ctx, id)
	if errors.Is(err, database.ErrNoRows) {
		return sender.Room{}, nil
	}
	if err != nil {
		return sender.Room{}, err
	}
	var room sender.Room
	if room.Members, err = s.joinedAt(ctx, info, position); err != nil {
		return sender.Room{}, err
	}
	room.Aliases, err = s.rooms.LocalAliases(ctx, info.NID)
	return room, err
}

// joinedAt is this server's users who were in a room at a place in the stream. If
// nobody has come or gone since then, the table of members has them; otherwise they
// are found in the state of that time, event by event, which takes much longer.
func (s eventStream) joinedAt(ctx context.Context, info *storage.RoomInfo, position int64) (users []matrix.UserID, err error) {
	members, err := s.store.Members.OfRoom(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	// Asked for afterwards: who came or went in between has a later position.
	moved, err := s.store.Members.LastMove(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	if moved > position {
		return s.joinedBefore(ctx, info, position)
	}
	for _, m := range members {
		if m.Membership == "join" && m.User.Server() == s.server {
			users = append(users, m.User)
		}
	}
	return users, nil
}

func (s eventStream) joinedBefore(ctx context.Context, info *storage.RoomInfo, position int64) (users []matrix.UserID, err error) {
	state, err := s.rooms.Before(ctx, info, position)
	if err != nil {
		return nil, err
	}
	members, err := state.Events(ctx, func(key storage.StateKey) bool {
		return key.Type == "m.room.member" && matrix.UserID(key.Key).Server() == s.server
	})
	if err != nil {
		return nil, err
	}
	for _, e := range members {
		if e.Membership() == "join" {
			users = append(users, matrix.UserID(*e.StateKey))
		}
	}
	return users, nil
}

// directory asks application services for what the tables don't have.
type directory struct {
	registry *registration.Registry
	sender   *sender.Service
	store    *storage.Store
	accounts *accounts.Service
}

// QueryAlias asks the services that may know an alias.
func (d directory) QueryAlias(ctx context.Context, alias matrix.RoomAlias, asker string) (bool, error) {
	return d.sender.QueryAlias(ctx, alias, asker, func(ctx context.Context) (bool, error) {
		found, err := d.store.Aliases.Lookup(ctx, alias)
		return found != nil, err
	})
}

// QueryUser asks the services that may know a user who has no account yet.
// Nobody need answer: the user may come later.
func (d directory) QueryUser(ctx context.Context, user matrix.UserID, asker string) error {
	exists, err := d.accounts.Exists(ctx, user)
	if exists || err != nil {
		return err
	}
	_, err = d.sender.QueryUser(ctx, user, asker, func(ctx context.Context) (bool, error) { return d.accounts.Exists(ctx, user) })
	if matrix.Code(err) != "" {
		return nil
	}
	return err
}

// MayUseAlias is M_EXCLUSIVE for what belongs to others.
func (d directory) MayUseAlias(appservice string, alias matrix.RoomAlias) error {
	set := d.registry.Load()
	return set.CheckAlias(set.ByID(appservice), alias)
}

// AliasesChanged makes services decide anew whether a room concerns them.
func (d directory) AliasesChanged(room matrix.RoomID) { d.sender.AliasesChanged(room) }

// userSource makes users for accounts.
type userSource struct{ directory }

func (u userSource) QueryUser(ctx context.Context, user matrix.UserID) error {
	return u.directory.QueryUser(ctx, user, "")
}

// streamWaker tells the sender how far the stream is.
type streamWaker struct{ sender *sender.Service }

func (w streamWaker) RoomChanged(c rooms.Change) { w.sender.Wake(c.Event.Position) }
