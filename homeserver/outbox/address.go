package outbox

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

const (
	// pageEvents and pageBytes bound what is read of the stream at once, and pageEntries what is then written, if it is of more
	// than one event.
	pageEvents  = 500
	pageBytes   = 4 << 20
	pageEntries = 2000
	// persistEvery is after how many events that go nowhere the place is noted.
	persistEvery = 5000
	// maxTries is how often it is tried to address an event.
	maxTries = 10
)

// follow addresses what comes in the stream.
func (s *Service) follow(ctx context.Context) {
	for ctx.Err() == nil {
		changed := s.Stream.Changed()
		more, err := s.advance(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "events have to be addressed to other servers again", "err", err)
			wait(ctx, s.FirstPause)
			continue
		}
		if more {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	if s.unnoted > 0 {
		if err := s.note(context.WithoutCancel(ctx), nil, nil, s.cursor); err != nil {
			s.Log.WarnContext(ctx, "events will be addressed to other servers again", "err", err)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// advance addresses a page of events, and says whether there may be more.
func (s *Service) advance(ctx context.Context) (more bool, err error) {
	upTo := s.Stream.Position()
	if s.cursor >= upTo {
		return false, nil
	}
	events, more, err := s.Store.Events.Page(ctx, s.cursor, upTo, pageEvents, pageBytes)
	if err != nil {
		return false, err
	}
	if more {
		upTo = events[len(events)-1].Position
	}
	var addressed []storage.Addressed
	var noted []int64
	entries := 0
	for i, e := range events {
		_, is := s.store.Relayed(e.NID)
		if is {
			noted = append(noted, e.NID)
		}
		to, err := s.destinations(ctx, e)
		if err != nil && !s.hopeless(ctx, e, err) {
			return false, err
		}
		if len(to) == 0 {
			continue
		}
		addressed = append(addressed, storage.Addressed{Position: e.Position, RoomNID: e.RoomNID, EventNID: e.NID, To: to})
		if entries += len(to); entries >= pageEntries && i < len(events)-1 {
			more, upTo = true, e.Position
			break
		}
	}
	s.unnoted += len(events)
	if len(addressed)+len(noted) > 0 || s.unnoted >= persistEvery {
		if err := s.note(ctx, addressed, noted, upTo); err != nil {
			return false, err
		}
	}
	s.cursor = upTo
	s.done.Store(upTo)
	return more, nil
}

// hopeless reports whether an event cannot be addressed, by whatever is wrong with its room, and holds up all others.
func (s *Service) hopeless(ctx context.Context, e *storage.Event, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	if s.failing != e.NID {
		s.failing, s.tries = e.NID, 0
	}
	if s.tries++; s.tries < maxTries || s.Store.Ping(ctx) != nil {
		return false
	}
	s.Log.ErrorContext(ctx, "an event is not sent to other servers", "event", e.ID, "room", e.RoomID, "err", err)
	return true
}

// note stores what was addressed, and has it sent.
func (s *Service) note(ctx context.Context, addressed []storage.Addressed, noted []int64, position int64) error {
	err := s.Store.DB.Update(ctx, func(tx *database.Tx) error { return s.store.Add(ctx, tx, addressed, noted, position) })
	if err != nil {
		return err
	}
	s.unnoted = 0
	s.desk.inbox.added(addressed)
	return nil
}

// destinations is the servers that an event is sent to: those that have joined members before it, since who is removed by it
// has to hear of that.
func (s *Service) destinations(ctx context.Context, e *storage.Event) ([]matrix.ServerName, error) {
	if !s.sends(e) {
		return nil, nil
	}
	known, _ := s.others.Get(e.RoomNID)
	if known == nil || known.Root() != e.Root {
		var err error
		known, err = s.Rooms.Others(ctx, e.RoomNID, e.Root, known)
		if errors.Is(err, database.ErrNoRows) {
			return nil, nil // the room is no more
		}
		if err != nil {
			return nil, err
		}
		s.others.Put(e.RoomNID, known)
	}
	to := known.Servers()
	if e.Type == "m.room.member" && e.IsState() {
		// Nobody of another server comes in by an event of this one, but for those that it passes on. So those in the room before
		// are those after it, and whoever goes by it.
		gone, err := s.removed(ctx, e)
		if err != nil {
			return nil, err
		}
		if gone != "" && !known.Has(gone) {
			to = append(slices.Clip(to), gone)
		}
	}
	if slices.ContainsFunc(to, func(name matrix.ServerName) bool { return !s.serves(e, name) }) {
		to = slices.DeleteFunc(slices.Clone(to), func(name matrix.ServerName) bool { return !s.serves(e, name) })
	}
	return to, nil
}

// sends reports whether it is this server that tells others of an event.
func (s *Service) sends(e *storage.Event) bool {
	// What was imported is part of no history but this server's own: IDs of such events are no hashes.
	imported := e.Version.EventIDFormat != roomversion.EventIDInEvent && strings.IndexByte(string(e.ID), ':') >= 0
	if e.Backfilled() || e.Silent() || imported {
		return false
	}
	if sent, noted := s.store.Relayed(e.NID); noted {
		return sent
	}
	return e.Sender.Server() == s.ServerName
}

// serves reports whether a server is one that an event can be sent to: not to where it came from.
func (s *Service) serves(e *storage.Event, name matrix.ServerName) bool {
	if name == s.ServerName || name == e.Sender.Server() || !s.Client.Allowed(name) {
		return false
	}
	_, err := matrix.ParseServerName(string(name))
	return err == nil
}

// removed is the server of a user whose stay, invitation or knock ends with an event; empty if nobody's does.
func (s *Service) removed(ctx context.Context, e *storage.Event) (matrix.ServerName, error) {
	server := matrix.UserID(*e.StateKey).Server()
	if server == "" || server == s.ServerName || e.ReplacesNID == 0 || e.Membership() != "leave" && e.Membership() != "ban" {
		return "", nil
	}
	before, err := s.Store.Events.ByNID(ctx, e.ReplacesNID)
	if err != nil {
		return "", err
	}
	switch before.Membership() {
	case "join", "invite", "knock":
		return server, nil
	}
	return "", nil
}
