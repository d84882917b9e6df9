package syncer

import (
	"sync"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// lazyBudget bounds what is remembered of members that clients were sent, in members.
const lazyBudget = 500_000

type lazyKey struct {
	user   matrix.UserID
	device matrix.DeviceID
	room   int64
}

// lazyMembers is which member events of a room a device has. Forgetting it
// costs repeats, nothing else.
type lazyMembers struct {
	mu   sync.Mutex
	sent map[string]sentMember // by state key
}

// A sentMember is a member event that a device was sent, together with the
// token at a position: a device that shows this token has it, and one that
// comes again with an older one has not.
type sentMember struct {
	event    int64
	position int64
}

func (m *lazyMembers) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.sent)
}

// redundant takes out the member events that a device at since has, and
// remembers that it is sent the others with the token at now. initial forgets first.
func (s *Service) redundant(key lazyKey, events []*storage.Event, since, now int64, initial bool) []*storage.Event {
	m, ok := s.lazy.Get(key)
	if !ok || initial {
		m = &lazyMembers{sent: map[string]sentMember{}}
	}
	m.mu.Lock()
	kept := events[:0:0]
	for _, e := range events {
		if e.Type == "m.room.member" {
			if has := m.sent[*e.StateKey]; has.event == e.NID && has.position <= since {
				continue
			}
			m.sent[*e.StateKey] = sentMember{e.NID, now}
		}
		kept = append(kept, e)
	}
	m.mu.Unlock()
	s.lazy.Put(key, m)
	return kept
}
