package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"regexp"
	"slices"
	"sync"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// What is here is for the server's operator: that the caller is one is for the
// caller to know.

// What storage calls these is what operators get.
type (
	// A ListedRoom is a room as operators see it.
	ListedRoom = storage.ListedRoom
	// A RoomQuery asks for some of the rooms that are known here.
	RoomQuery = storage.RoomQuery
)

// blocks are the rooms that nobody here may join.
type blocks struct {
	mu    sync.RWMutex
	rooms map[matrix.RoomID]matrix.UserID
}

func (b *blocks) by(room matrix.RoomID) (matrix.UserID, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	by, blocked := b.rooms[room]
	return by, blocked
}

// Start reads what is kept about rooms in memory and goes on with deletions
// that the last stop has interrupted. Stop ends it.
func (s *Service) Start(ctx context.Context) error {
	blocked, err := s.store.Rooms.Blocked(ctx)
	if err != nil {
		return err
	}
	s.blocked.mu.Lock()
	s.blocked.rooms = blocked
	s.blocked.mu.Unlock()
	return s.startDeletions(ctx)
}

// Block keeps everybody here from joining a room, known or not, or no longer.
func (s *Service) Block(ctx context.Context, room matrix.RoomID, by matrix.UserID, blocked bool) error {
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() {
			s.blocked.mu.Lock()
			defer s.blocked.mu.Unlock()
			changed := maps.Clone(s.blocked.rooms)
			if changed == nil {
				changed = map[matrix.RoomID]matrix.UserID{}
			}
			if delete(changed, room); blocked {
				changed[room] = by
			}
			s.blocked.rooms = changed
		})
		return s.store.Rooms.Block(ctx, tx, room, by, blocked)
	})
}

// BlockedBy is who has blocked a room.
func (s *Service) BlockedBy(room matrix.RoomID) (matrix.UserID, bool) { return s.blocked.by(room) }

func (s *Service) refuseBlocked(room matrix.RoomID) error {
	if _, blocked := s.blocked.by(room); blocked {
		return matrix.Forbidden("This room is blocked on this server.")
	}
	return nil
}

// List is a page of rooms, and how many there are.
func (s *Service) List(ctx context.Context, q RoomQuery) ([]ListedRoom, int64, error) {
	return s.store.Rooms.List(ctx, q)
}

// Orders are what List orders by; empty is by name.
func Orders() []string { return storage.RoomOrders() }

// Described is one room as operators see it, or M_NOT_FOUND.
func (s *Service) Described(ctx context.Context, id matrix.RoomID) (*ListedRoom, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	listed, err := s.store.Rooms.Listed(ctx, info.NID)
	if err == nil && listed == nil {
		err = matrix.NotFound("Room %s is not known here.", id)
	}
	return listed, err
}

// A Gist is what a room's state says and lists of rooms do not.
type Gist struct {
	StateEvents int
	Federated   bool   // those of other servers may be in it
	Visibility  string // of its history
}

// Gist is that of the room of a number; M_NOT_FOUND if it is no more.
func (s *Service) Gist(ctx context.Context, nid int64) (*Gist, error) {
	now, err := s.Head(ctx, nid)
	if errors.Is(err, database.ErrNoRows) {
		return nil, matrix.NotFound("The room was removed.")
	}
	if err != nil {
		return nil, err
	}
	numbers, err := now.Numbers(ctx, nil)
	if err != nil {
		return nil, err
	}
	visibility, err := now.Event(ctx, "m.room.history_visibility", "")
	if err != nil {
		return nil, err
	}
	federated, err := s.federated(ctx, nid)
	if err != nil {
		return nil, err
	}
	return &Gist{StateEvents: len(numbers), Federated: federated, Visibility: visibilityOf(visibility)}, nil
}

// Members is who is joined to, invited to or knocking at a room.
func (s *Service) Members(ctx context.Context, id matrix.RoomID) ([]storage.Member, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.store.Members.OfRoom(ctx, info.NID)
}

// State is the current state of a room, whoever asks.
func (s *Service) State(ctx context.Context, id matrix.RoomID) ([]*storage.Event, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	return now.Events(ctx, nil)
}

// Stored is an event of a room as it is stored now, whoever asks; M_NOT_FOUND
// where it is not there.
func (s *Service) Stored(ctx context.Context, id matrix.RoomID, event matrix.EventID) (*storage.Event, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	e, err := s.store.Events.ByID(ctx, event)
	if errors.Is(err, database.ErrNoRows) || err == nil && e.RoomNID != info.NID {
		return nil, matrix.NotFound("Event %s is not there.", event)
	}
	return e, err
}

// maxPower is what an administrator of a room gets at most.
const maxPower = 100

// MakeAdmin has the most powerful local member of a room give a user as much
// power, and invites the user if need be.
func (s *Service) MakeAdmin(ctx context.Context, id matrix.RoomID, user matrix.UserID) error {
	info, err := s.Info(ctx, id)
	if err != nil {
		return err
	}
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return err
	}
	power, err := s.PowerLevels(ctx, info)
	if err != nil {
		return err
	}
	giver, err := s.mostPowerful(ctx, info, power)
	if err != nil {
		return err
	}
	if level := min(power.User(giver), maxPower); power.User(user) < level {
		if err := s.givePower(ctx, now, giver, user, level); err != nil {
			return err
		}
	}
	membership, err := now.Membership(ctx, user)
	if err != nil || membership == "join" || membership == "invite" {
		return err
	}
	return s.Invite(ctx, MemberRequest{Room: id, Sender: giver, Target: user})
}

// mostPowerful is the local member who can change the power levels.
func (s *Service) mostPowerful(ctx context.Context, info *storage.RoomInfo, power *eventauth.PowerLevels) (best matrix.UserID, err error) {
	members, err := s.store.Members.OfRoom(ctx, info.NID)
	if err != nil {
		return "", err
	}
	for _, m := range members {
		if m.Membership == "join" && s.Local(m.User) && (best == "" || power.User(m.User) > power.User(best)) {
			best = m.User
		}
	}
	if best == "" || power.User(best) < power.Event("m.room.power_levels", true) {
		return "", matrix.NewError(400, "M_UNKNOWN", "No user of this server may change the power levels of that room.")
	}
	return best, nil
}

func (s *Service) givePower(ctx context.Context, now *Snapshot, giver, user matrix.UserID, level int64) error {
	content := map[string]json.RawMessage{}
	e, err := now.Event(ctx, "m.room.power_levels", "")
	if err != nil {
		return err
	}
	if e != nil {
		if err := json.Unmarshal(e.Content, &content); err != nil {
			return err
		}
	}
	users := map[string]json.RawMessage{}
	if raw := content["users"]; raw != nil {
		if err := json.Unmarshal(raw, &users); err != nil {
			return err
		}
	}
	if users[string(user)], err = json.Marshal(level); err != nil {
		return err
	}
	if content["users"], err = json.Marshal(users); err != nil {
		return err
	}
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	_, err = s.Send(ctx, SendRequest{Room: now.Info().ID, Sender: giver, Type: "m.room.power_levels", StateKey: new(string), Content: raw})
	return err
}

// AdminJoin takes a local user into a room: where the room is not public, a
// member who may do so invites the user first.
func (s *Service) AdminJoin(ctx context.Context, idOrAlias string, user matrix.UserID) (matrix.RoomID, error) {
	id, err := s.Join(ctx, idOrAlias, MemberRequest{Sender: user})
	if matrix.Code(err) != "M_FORBIDDEN" {
		return id, err
	}
	info, findErr := s.findHere(ctx, idOrAlias, "")
	if findErr != nil {
		return "", findErr
	}
	members, findErr := s.store.Members.OfRoom(ctx, info.NID)
	if findErr != nil {
		return "", findErr
	}
	const attempts = 20
	for _, m := range members[:min(len(members), attempts)] {
		if m.Membership != "join" || !s.Local(m.User) {
			continue
		}
		if s.Invite(ctx, MemberRequest{Room: info.ID, Sender: m.User, Target: user}) == nil {
			return s.Join(ctx, idOrAlias, MemberRequest{Sender: user})
		}
	}
	return "", err
}

var mediaURI = regexp.MustCompile(`mxc://([^/"\\]{1,255})/([A-Za-z0-9_-]{1,255})`)

// maxMediaOfRoom bounds what is found in one room.
const maxMediaOfRoom = 100_000

// Media is the mxc:// URIs in a room's events, encrypted ones aside.
func (s *Service) Media(ctx context.Context, id matrix.RoomID) ([]string, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for after := int64(math.MinInt64); len(found) < maxMediaOfRoom; {
		events, err := s.store.Events.Forward(ctx, info.NID, after, math.MaxInt64, 500)
		if err != nil {
			return nil, err
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			for _, uri := range mediaURI.FindAll(e.Content, 100) {
				found[string(uri)] = true
			}
			after = e.Ordering
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// refuseNotice keeps users from refusing the invite into the room where the
// server tells them things (Client-Server API § Server Notices).
func (s *Service) refuseNotice(ctx context.Context, m *storage.Membership, user matrix.UserID) error {
	if s.NoticesUser == "" || m.Membership != "invite" || user == s.NoticesUser {
		return nil
	}
	e, err := s.store.Events.ByNID(ctx, m.EventNID)
	if errors.Is(err, database.ErrNoRows) {
		return nil
	}
	if err == nil && e.Sender == s.NoticesUser {
		err = matrix.NewError(403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM", "You cannot refuse the notices of this server.")
	}
	return err
}
