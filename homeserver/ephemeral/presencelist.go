package ephemeral

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"trestle/homeserver/notifier"
	"trestle/internal/matrix"
)

// A Status is a user's presence as others see it.
type Status struct {
	Presence        string  `json:"presence"`
	LastActiveAgo   *int64  `json:"last_active_ago,omitempty"` // ms
	CurrentlyActive *bool   `json:"currently_active,omitempty"`
	StatusMessage   *string `json:"status_msg,omitempty"`
}

func (p *person) state(now time.Time, idleAfter time.Duration) Status {
	f := p.look(now, idleAfter)
	s := Status{Presence: f.state}
	if f.state == Online {
		s.CurrentlyActive = &f.active
	}
	if !p.lastActive.IsZero() {
		ago := max(0, now.Sub(p.lastActive).Milliseconds())
		s.LastActiveAgo = &ago
	}
	if f.status != "" {
		s.StatusMessage = &f.status
	}
	return s
}

// Presence is a user's presence. M_FORBIDDEN for readers who share no room
// with the user and whom the user has not allowed to see it.
func (s *Service) Presence(ctx context.Context, reader, user matrix.UserID) (*Status, error) {
	if reader != user {
		nids, err := s.store.Users.Lookup(ctx, []string{string(reader)})
		if err != nil {
			return nil, err
		}
		sharing, err := s.options.DeviceLists.Sharing(ctx, nids[string(reader)], []matrix.UserID{user})
		if err != nil {
			return nil, err
		}
		if len(sharing) == 0 {
			if allowed, err := s.options.AccountData.MayObserve(ctx, reader, user); err != nil {
				return nil, err
			} else if !allowed {
				return nil, matrix.Forbidden("You share no room with %s.", user)
			}
		}
	}
	now := s.options.Now()
	status := Status{Presence: Offline}
	locked(&s.people.mu, func() {
		if p := s.people.known[user]; p != nil {
			status = p.state(now, s.people.idleAfter)
		}
	})
	return &status, nil
}

// presenceEvent is m.presence as /sync shows it.
type presenceEvent struct {
	Type    string        `json:"type"`
	Sender  matrix.UserID `json:"sender"`
	Content Status        `json:"content"`
}

// PresenceSince is the m.presence events for a reader of those who have
// changed after a serial, or of everybody who is there if the reader has met
// people since, or the serial is 0. If there are too many, those whose change
// is oldest are left out.
func (s *Service) PresenceSince(ctx context.Context, reader matrix.UserID, since int64) ([]json.RawMessage, error) {
	snapshot, err := s.options.Notifier.User(ctx, reader)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	for _, e := range s.presenceSince(reader, since, snapshot.Rooms) {
		raw, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		list = append(list, raw)
	}
	return list, nil
}

func (s *Service) presenceSince(reader matrix.UserID, since int64, rooms map[int64]notifier.Room) (events []presenceEvent) {
	now := s.options.Now()
	s.people.mu.Lock()
	defer s.people.mu.Unlock()
	var users []matrix.UserID
	if own := s.people.known[reader]; since == 0 || own != nil && own.meeting > since {
		users = s.people.present()
	} else {
		users = s.people.toldSince(since)
	}
	for _, user := range users {
		p := s.people.known[user]
		shared := user == reader || slices.ContainsFunc(p.rooms, func(nid int64) bool { return rooms[nid].Membership == "join" })
		if shared && len(events) < maxPeople {
			events = append(events, presenceEvent{Type: "m.presence", Sender: user, Content: p.state(now, s.people.idleAfter)})
		}
	}
	return events
}
