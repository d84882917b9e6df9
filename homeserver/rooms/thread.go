package rooms

import (
	"context"
	"errors"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// threadHops bounds how many relations are followed to find an event's thread
// (Client-Server API § Threaded read receipts).
const threadHops = 3

// Thread is the root of the thread that an event is in, or empty for the main
// timeline of its room.
func (s *Service) Thread(ctx context.Context, e *storage.Event) (matrix.EventID, error) {
	root, err := s.climb(ctx, e, "")
	if err != nil || root == nil {
		return "", err
	}
	return root.Parent, nil
}

// Belongs reports whether an event is in a thread, or relates to its root by
// way of any relations: clients mark a thread as read up to such an event, too.
func (s *Service) Belongs(ctx context.Context, e *storage.Event, root matrix.EventID) (bool, error) {
	if e.ID == root {
		return true, nil
	}
	found, err := s.climb(ctx, e, root)
	return found != nil && found.Parent == root, err
}

// climb follows relations up to the first that says of what thread the event
// is, or whose parent is the one that is looked for; nil if there is none.
func (s *Service) climb(ctx context.Context, e *storage.Event, to matrix.EventID) (*matrix.Relation, error) {
	for range threadHops {
		relation := e.Relation()
		if relation == nil || relation.Type == "m.thread" || relation.Parent == to {
			return relation, nil
		}
		parent, err := s.store.Events.ByID(ctx, relation.Parent)
		if errors.Is(err, database.ErrNoRows) || err == nil && parent.RoomNID != e.RoomNID {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		e = parent
	}
	return nil, nil
}
