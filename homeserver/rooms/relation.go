package rooms

import (
	"context"
	"errors"
	"net/http"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// relationCheck is what a message has to pass because of what it relates to,
// or nil if there is nothing.
func (s *Service) relationCheck(ctx context.Context, info *storage.RoomInfo, req SendRequest) (func(*draft) error, error) {
	relation := (&matrix.Event{Type: req.Type, Content: req.Content}).Relation()
	if relation == nil {
		return nil, nil
	}
	switch relation.Type {
	case "m.thread":
		return nil, s.checkThread(ctx, info, relation)
	case "m.annotation":
		return func(d *draft) error { return d.checkAnnotation(req, relation) }, nil
	}
	return nil, nil
}

// checkThread refuses threads inside of threads (Client-Server API
// § Validation of m.thread relationships).
func (s *Service) checkThread(ctx context.Context, info *storage.RoomInfo, relation *matrix.Relation) error {
	root, err := s.store.Events.ByID(ctx, relation.Parent)
	if errors.Is(err, database.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if root.RoomNID != info.NID || root.Relation() != nil {
		return matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "Event %s cannot be the root of a thread in this room.", relation.Parent)
	}
	return nil
}

// checkAnnotation refuses the same reaction a second time (Client-Server API
// § Avoiding duplicate annotations).
func (d *draft) checkAnnotation(req SendRequest, relation *matrix.Relation) error {
	found := d.room.inFlight(func(e *storage.Event) bool {
		other := e.Relation()
		return e.Sender == req.Sender && e.Type == req.Type && other != nil && *other == *relation
	})
	if !found {
		typeNID, err := d.s.store.Types.NID(d.ctx, req.Type)
		if err != nil {
			return err
		}
		senderNID, err := d.s.store.Users.NID(d.ctx, string(req.Sender))
		if err != nil {
			return err
		}
		if found, err = d.s.store.Relations.Annotated(d.ctx, d.room.info.NID, relation, typeNID, senderNID); err != nil {
			return err
		}
	}
	if found {
		return matrix.NewError(http.StatusBadRequest, "M_DUPLICATE_ANNOTATION", "You have reacted to event %s with this already.", relation.Parent)
	}
	return nil
}

// inFlight reports whether one of the events that are queued is wanted.
func (r *room) inFlight(wanted func(*storage.Event) bool) bool {
	r.inflightMu.Lock()
	defer r.inflightMu.Unlock()
	for _, e := range r.inflight {
		if wanted(e) {
			return true
		}
	}
	return false
}
