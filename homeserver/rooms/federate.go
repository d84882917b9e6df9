package rooms

import (
	"context"
	"encoding/json"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// knownLocal is of how many rooms it is remembered whether they are this server's alone: that never changes.
const knownLocal = 20_000

// Federated reports whether those of other servers may be in a room (m.federate of its creation).
func (s *Service) Federated(ctx context.Context, id matrix.RoomID) (bool, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return false, err
	}
	return s.federated(ctx, info.NID)
}

func (s *Service) federated(ctx context.Context, nid int64) (bool, error) {
	if local, ok := s.local.Get(nid); ok {
		return !local, nil
	}
	now, err := s.Head(ctx, nid)
	if err != nil {
		return false, err
	}
	create, err := now.Event(ctx, "m.room.create", "")
	if err != nil || create == nil {
		return false, err
	}
	var content map[string]json.RawMessage
	local := json.Unmarshal(create.Content, &content) == nil && string(content["m.federate"]) == "false"
	s.local.Put(nid, local)
	return !local, nil
}

// onlyFederated takes rooms out of a page of the directory that others are not told of.
func (s *Service) onlyFederated(ctx context.Context, listed []storage.Listing) ([]storage.Listing, error) {
	var failed error
	listed = slices.DeleteFunc(listed, func(room storage.Listing) bool {
		federated, err := s.federated(ctx, room.RoomNID)
		if err != nil {
			failed = err
		}
		return !federated
	})
	return listed, failed
}
