package rooms

import (
	"context"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// knownEvents is those of some events that this server has.
func (s *Service) knownEvents(ctx context.Context, ids []matrix.EventID) (map[matrix.EventID]*storage.Event, error) {
	return s.store.Events.Known(ctx, ids)
}

// stateBefore is the state of a room after some of its events, before the next one, on that branch of its history.
// M_NOT_FOUND where that is not known.
func (s *Service) stateBefore(ctx context.Context, info *storage.RoomInfo, prev []matrix.EventID) (*Snapshot, error) {
	before, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	r, err := s.cache.acquire(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	defer s.cache.release(r)
	d := &draft{ctx: ctx, s: s, room: r} // that is never stored
	defer r.land(d)
	known, err := d.find(prev)
	if err != nil {
		return nil, err
	}
	events := make([]*storage.Event, len(prev))
	for i, id := range prev {
		if events[i] = known[id]; events[i] == nil || !events[i].StateKnown() {
			return nil, matrix.NotFound("The state after %s is not known here.", id)
		}
	}
	before.Position = 0
	before.tree, err = d.after(events)
	return before, err
}

// A standing is what an event of a room is to the servers in it.
type standing int

const (
	absent standing = iota // as good as not known
	passed                 // not told, but what it follows is
	beside                 // told to who asks for it or for what it authorizes, and no part of the history
	told
)

// standing: what an application service has imported is this server's own
// business. What came too late is told to those whose events come after it (Server-Server API § Soft failure).
func (s *Service) standing(info *storage.RoomInfo, e *storage.Event) standing {
	if e == nil || e.RoomNID != info.NID || Imported(info, e) {
		return absent
	}
	switch e.Verdict {
	case storage.Rejected:
		return passed
	case storage.Outlier:
		return beside
	}
	return told
}

// Imported reports whether an event is one that an application service has imported: other servers, for whom the IDs of
// events are hashes, would not know what to do with it.
func Imported(info *storage.RoomInfo, e *storage.Event) bool {
	return info.Version.EventIDFormat != roomversion.EventIDInEvent && strings.Contains(string(e.ID), ":")
}
