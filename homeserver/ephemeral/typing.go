package ephemeral

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"time"

	"trestle/internal/matrix"
)

const (
	usualTyping = 30 * time.Second
	maxTyping   = 2 * time.Minute
	// maxTypists bounds who is shown to type in a room at one time.
	maxTypists = 50
	// noDeadline is how long to wait when there is nothing to wait for.
	noDeadline = time.Hour
)

// typists is who types where, and until when.
type typists struct {
	mu    sync.Mutex
	rooms map[int64]map[matrix.UserID]time.Time
}

// StartTyping shows a user, who must be in the room, as typing for a while:
// two minutes at most, and half a minute if the time is zero.
func (s *Service) StartTyping(ctx context.Context, room matrix.RoomID, user matrix.UserID, timeout time.Duration) error {
	nid, err := s.inRoom(ctx, room, user)
	if err != nil {
		return err
	}
	if timeout <= 0 {
		timeout = usualTyping
	}
	until := s.options.Now().Add(min(timeout, maxTyping))
	if s.typists.start(nid, user, until) {
		s.options.Notifier.TypingChanged(nid)
	}
	s.poke()
	s.Active(user)
	return nil
}

// start reports whether the user did not type before.
func (t *typists) start(nid int64, user matrix.UserID, until time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	users := t.rooms[nid]
	_, typed := users[user]
	if !typed && len(users) >= maxTypists {
		return false
	}
	if users == nil {
		users = map[matrix.UserID]time.Time{}
		t.rooms[nid] = users
	}
	users[user] = until
	return !typed
}

// StopTyping ends what StartTyping began.
func (s *Service) StopTyping(ctx context.Context, room matrix.RoomID, user matrix.UserID) error {
	nid, err := s.inRoom(ctx, room, user)
	if err == nil {
		s.leave(nid, user)
	}
	return err
}

func (s *Service) leave(nid int64, user matrix.UserID) {
	if s.typists.stop(nid, user) {
		s.options.Notifier.TypingChanged(nid)
	}
}

// stop reports whether the user has typed.
func (t *typists) stop(nid int64, user matrix.UserID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	users := t.rooms[nid]
	_, typed := users[user]
	delete(users, user)
	if len(users) == 0 {
		delete(t.rooms, nid)
	}
	return typed
}

// stopTypists ends the typing whose time is over, and returns how long that of
// the next one still lasts.
func (s *Service) stopTypists(now time.Time) time.Duration {
	changed, next := s.typists.expire(now)
	for _, nid := range changed {
		s.options.Notifier.TypingChanged(nid)
	}
	return next
}

func (t *typists) expire(now time.Time) (changed []int64, next time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next = noDeadline
	for nid, users := range t.rooms {
		before := len(users)
		for user, until := range users {
			if !until.After(now) {
				delete(users, user)
				continue
			}
			next = min(next, until.Sub(now))
		}
		if len(users) < before {
			changed = append(changed, nid)
		}
		if len(users) == 0 {
			delete(t.rooms, nid)
		}
	}
	return changed, next
}

// typingEvent is m.typing as /sync shows it.
type typingEvent struct {
	Type    string        `json:"type"`
	Content typingContent `json:"content"`
	RoomID  matrix.RoomID `json:"room_id,omitempty"` // not in /sync
}

type typingContent struct {
	UserIDs []matrix.UserID `json:"user_ids"`
}

// Typing is the m.typing event of a room, also if nobody types.
func (s *Service) Typing(ctx context.Context, room matrix.RoomID) (json.RawMessage, error) {
	info, err := s.store.Rooms.Info(ctx, room)
	if err != nil {
		return nil, err
	}
	return json.Marshal(typingEvent{Type: "m.typing", Content: typingContent{s.typists.in(info.NID)}})
}

// in is who types in a room, by ID.
func (t *typists) in(nid int64) []matrix.UserID {
	t.mu.Lock()
	defer t.mu.Unlock()
	users := slices.AppendSeq([]matrix.UserID{}, maps.Keys(t.rooms[nid]))
	slices.Sort(users)
	return users
}
