package rooms

import (
	"context"

	"trestle/homeserver/storage"
	"trestle/internal/lru"
)

// knownResidents bounds what is remembered of who is where, in servers of all rooms.
const knownResidents = 500_000

func newResidents() *lru.Cache[int64, *Others] {
	return lru.New[int64](knownResidents, func(o *Others) int { return 1 + len(o.servers) })
}

// residents is the other servers that are in a room now, and how many users of this one are.
func (s *Service) residents(ctx context.Context, info *storage.RoomInfo) (others *Others, here int64, err error) {
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, 0, err
	}
	others, _ = s.inhabited.Get(info.NID)
	if others == nil || others.Root() != now.Root() {
		if others, err = s.Others(ctx, info.NID, now.Root(), others); err != nil {
			return nil, 0, err
		}
		s.inhabited.Put(info.NID, others)
	}
	here = now.Summary.JoinedMembers
	for _, members := range others.members {
		here -= int64(members)
	}
	return others, here, nil
}

// inhabits reports whether somebody of this server is in a room, so that it knows the room as it is now.
func (s *Service) inhabits(ctx context.Context, info *storage.RoomInfo) (bool, error) {
	_, here, err := s.residents(ctx, info)
	return here > 0, err
}
