package ephemeral

import (
	"context"
	"encoding/json"
	"errors"

	"trestle/homeserver/accounts"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The types of receipts. The last one is the marker of what was read fully,
// which is kept in the account.
const (
	Read        = "m.read"
	ReadPrivate = "m.read.private"
	FullyRead   = "m.fully_read"
)

// MainThread is the thread of the events that are in no thread.
const MainThread = "main"

// A Mark says that somebody has read up to an event.
type Mark struct {
	Type   string
	Event  matrix.EventID
	Thread string // an event's ID or [MainThread]; empty: the whole room
}

// Mark stores how far a user, who must be in the room, has read. Marks that
// are not ahead of what is stored do not matter. M_NOT_FOUND if the room has
// no such event, M_INVALID_PARAM if it is not in the thread.
func (s *Service) Mark(ctx context.Context, user matrix.UserID, room matrix.RoomID, marks []Mark) error {
	nid, err := s.inRoom(ctx, room, user)
	if err != nil {
		return err
	}
	p := progress{user: user, room: room, nid: nid}
	for _, m := range marks {
		e, err := s.marked(ctx, room, nid, m)
		if err != nil {
			return err
		}
		if err := s.advance(ctx, &p, m, e); err != nil {
			return err
		}
	}
	s.Active(user)
	if len(p.receipts) == 0 && p.fullyRead == "" {
		return nil
	}
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.writeFullyRead(ctx, tx, &p); err != nil {
			return err
		}
		return s.moveReceipts(ctx, tx, &p)
	})
}

// progress is what a user has newly read in a room.
type progress struct {
	user      matrix.UserID
	room      matrix.RoomID
	nid       int64
	receipts  []storage.Receipt
	fullyRead matrix.EventID // empty: as before
}

// advance adds a mark to the progress if it is ahead of what is stored.
func (s *Service) advance(ctx context.Context, p *progress, m Mark, e *storage.Event) error {
	if m.Type == FullyRead {
		behind, err := s.hasRead(ctx, p.user, p.room, e)
		if err == nil && !behind {
			p.fullyRead = m.Event
		}
		return err
	}
	at, found, err := s.options.Receipts.Ordering(ctx, p.nid, p.user, m.Type, m.Thread)
	if err != nil || found && at >= e.Ordering {
		return err
	}
	p.receipts = append(p.receipts, storage.Receipt{
		RoomNID: p.nid, User: p.user, Type: m.Type, Thread: m.Thread, Event: m.Event, Ordering: e.Ordering, TS: s.options.Now().UnixMilli(),
	})
	return nil
}

// marked is the event of a mark, if everything about that is right.
func (s *Service) marked(ctx context.Context, room matrix.RoomID, nid int64, m Mark) (*storage.Event, error) {
	switch m.Type {
	case Read, ReadPrivate:
	case FullyRead:
		if m.Thread != "" {
			return nil, matrix.InvalidParam("%s has no threads.", FullyRead)
		}
	default:
		return nil, matrix.InvalidParam("A receipt is %s, %s or %s.", Read, ReadPrivate, FullyRead)
	}
	e, err := s.store.Events.ByID(ctx, m.Event)
	if errors.Is(err, database.ErrNoRows) || err == nil && e.RoomNID != nid {
		return nil, matrix.NotFound("There is no event %s in room %s.", m.Event, room)
	}
	if err != nil || m.Thread == "" || m.Thread == string(m.Event) {
		return e, err
	}
	right, err := s.inThread(ctx, e, m.Thread)
	if err != nil {
		return nil, err
	}
	if !right {
		return nil, matrix.InvalidParam("Event %s is not in the thread %s.", m.Event, m.Thread)
	}
	return e, nil
}

func (s *Service) inThread(ctx context.Context, e *storage.Event, thread string) (bool, error) {
	if thread == MainThread {
		root, err := s.options.Rooms.Thread(ctx, e)
		return root == "", err
	}
	return s.options.Rooms.Belongs(ctx, e, matrix.EventID(thread))
}

// fullyReadContent is the content of m.fully_read.
type fullyReadContent struct {
	EventID matrix.EventID `json:"event_id"`
}

// hasRead reports whether a user's m.fully_read is at an event or behind it.
func (s *Service) hasRead(ctx context.Context, user matrix.UserID, room matrix.RoomID, e *storage.Event) (bool, error) {
	raw, err := s.options.AccountData.AccountData(ctx, user, room, FullyRead)
	if matrix.Code(err) == "M_NOT_FOUND" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var content fullyReadContent
	if json.Unmarshal(raw, &content) != nil {
		return false, nil
	}
	at, err := s.store.Events.ByID(ctx, content.EventID)
	if errors.Is(err, database.ErrNoRows) {
		return false, nil
	}
	return err == nil && at.RoomNID == e.RoomNID && at.Ordering >= e.Ordering, err
}

func (s *Service) writeFullyRead(ctx context.Context, tx *database.Tx, p *progress) error {
	if p.fullyRead == "" {
		return nil
	}
	content, err := json.Marshal(fullyReadContent{p.fullyRead})
	if err != nil {
		return err
	}
	return s.options.AccountData.WriteAccountData(ctx, tx, p.user, accounts.Datum{RoomID: p.room, Type: FullyRead, Content: content})
}

func (s *Service) moveReceipts(ctx context.Context, tx *database.Tx, p *progress) error {
	if len(p.receipts) == 0 {
		return nil
	}
	position, err := tx.Position(ctx)
	if err != nil {
		return err
	}
	var moved []storage.Receipt
	for _, r := range p.receipts {
		r.Position = position
		ahead, err := s.options.Receipts.Move(ctx, tx, r)
		if err != nil {
			return err
		}
		if ahead {
			moved = append(moved, r)
		}
	}
	tx.OnCommit(func() {
		s.recent.add(p.nid, position, moved)
		s.options.Notifier.ReceiptsChanged(p.nid, position)
	})
	return nil
}
