package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The statuses of a deletion, in order.
const (
	DeletionScheduled    = "scheduled"
	DeletionShuttingDown = "shutting_down"
	DeletionPurging      = "purging"
	DeletionComplete     = "complete"
	DeletionFailed       = "failed"
)

// A DeleteRequest is a room that is to go.
type DeleteRequest struct {
	By      matrix.UserID `json:"by"`
	Block   bool          `json:"block"`
	Purge   bool          `json:"purge"`
	NewUser matrix.UserID `json:"new_user,omitempty"` // makes a room to which the members are taken; empty: none
	NewName string        `json:"new_name,omitempty"`
	Message string        `json:"message,omitempty"` // said in that room
}

// A PurgeRequest is history that is to go: messages before a place in the room.
type PurgeRequest struct {
	Before int64 `json:"before"`
	Local  bool  `json:"local"` // those of local users too
}

// A Deletion is a room or its history on its way out.
type Deletion struct {
	ID     string
	Room   matrix.RoomID
	Kind   string // room or history
	Status string
	Detail DeletionDetail
}

// A DeletionDetail is what was asked for, and what was done.
type DeletionDetail struct {
	Room    *DeleteRequest     `json:"room,omitempty"`
	History *PurgeRequest      `json:"history,omitempty"`
	Kicked  []matrix.UserID    `json:"kicked,omitempty"`
	Failed  []matrix.UserID    `json:"failed,omitempty"`
	Aliases []matrix.RoomAlias `json:"aliases,omitempty"`
	NewRoom matrix.RoomID      `json:"new_room,omitempty"`
	Error   string             `json:"error,omitempty"`
}

// deletions works them off one after another.
type deletions struct {
	wake chan struct{}
	stop context.CancelFunc
	done chan struct{}

	mu      sync.Mutex
	waiting map[string]chan struct{} // closed when the deletion has ended
}

// keptDeletions is how long a status can be asked for.
const keptDeletions = 7 * 24 * time.Hour

func (s *Service) startDeletions(ctx context.Context) error {
	unfinished, err := s.store.Deletions.Unfinished(ctx)
	if err != nil {
		return err
	}
	for _, d := range unfinished {
		if d.Kind == "room" && d.Status == DeletionPurging {
			s.hide(ctx, d)
		}
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.deletions.stop, s.deletions.done = stop, make(chan struct{})
	s.deletions.wake <- struct{}{}
	go s.runDeletions(running)
	return nil
}

// hide makes a room unknown whose deletion has begun.
func (s *Service) hide(ctx context.Context, d storage.Deletion) {
	if info, err := s.store.Rooms.InfoOf(ctx, d.NID); err == nil {
		s.store.Rooms.Hide(info)
	}
}

// Stop ends what Start began. What is unfinished goes on at the next start.
func (s *Service) Stop() {
	if s.deletions.stop != nil {
		s.deletions.stop()
		<-s.deletions.done
	}
}

func (s *Service) runDeletions(ctx context.Context) {
	defer close(s.deletions.done)
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.deletions.wake:
		}
		list, err := s.store.Deletions.Unfinished(ctx)
		for _, d := range list {
			if ctx.Err() != nil {
				return
			}
			s.work(ctx, d)
		}
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "deletions of rooms not read", "err", err)
		}
	}
}

// Delete schedules the end of a room that is known here; another one that is
// under way is M_UNKNOWN. ended is closed when it is over.
func (s *Service) Delete(ctx context.Context, room matrix.RoomID, req DeleteRequest) (id string, ended <-chan struct{}, err error) {
	if req.Block {
		if err := s.Block(ctx, room, req.By, true); err != nil {
			return "", nil, err
		}
	}
	return s.schedule(ctx, room, "room", DeletionDetail{Room: &req})
}

// PurgeHistory schedules the end of old messages. State events stay.
func (s *Service) PurgeHistory(ctx context.Context, room matrix.RoomID, req PurgeRequest) (id string, err error) {
	id, _, err = s.schedule(ctx, room, "history", DeletionDetail{History: &req})
	return id, err
}

// Place is where an event stands in a room or, without one, where a time begins.
func (s *Service) Place(ctx context.Context, room matrix.RoomID, event matrix.EventID, ts *int64) (int64, error) {
	info, err := s.Info(ctx, room)
	if err != nil {
		return 0, err
	}
	if event == "" {
		place, err := s.store.Deletions.PlaceAt(ctx, info.NID, *ts)
		return place + 1, err // the newest of that time goes as well
	}
	e, err := s.store.Events.ByID(ctx, event)
	if errors.Is(err, database.ErrNoRows) || err == nil && e.RoomNID != info.NID {
		return 0, matrix.NotFound("Event %s is not known in that room.", event)
	}
	if err != nil {
		return 0, err
	}
	return e.Ordering, nil
}

func (s *Service) schedule(ctx context.Context, room matrix.RoomID, kind string, detail DeletionDetail) (string, <-chan struct{}, error) {
	info, err := s.Info(ctx, room)
	if err != nil {
		return "", nil, err
	}
	earlier, err := s.store.Deletions.OfRoom(ctx, room)
	if err != nil {
		return "", nil, err
	}
	for _, d := range earlier {
		if d.Status != DeletionComplete && d.Status != DeletionFailed {
			return "", nil, matrix.NewError(400, "M_UNKNOWN", "A deletion is in progress for this room already.")
		}
	}
	d := storage.Deletion{ID: matrix.RandomString(16), Room: room, NID: info.NID, Kind: kind, Status: DeletionScheduled}
	ended := make(chan struct{})
	s.deletions.mu.Lock()
	s.deletions.waiting[d.ID] = ended
	s.deletions.mu.Unlock()
	if err := s.saveDeletion(ctx, &d, detail); err != nil {
		return "", nil, err
	}
	select {
	case s.deletions.wake <- struct{}{}:
	default:
	}
	return d.ID, ended, nil
}

func (s *Service) saveDeletion(ctx context.Context, d *storage.Deletion, detail DeletionDetail) error {
	raw, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	now := s.Now()
	d.Detail, d.ChangedAt = string(raw), now.UnixMilli()
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.store.Deletions.Forget(ctx, tx, now.Add(-keptDeletions).UnixMilli()); err != nil {
			return err
		}
		return s.store.Deletions.Save(ctx, tx, *d)
	})
}

// Deletion is how far a deletion is, or M_NOT_FOUND.
func (s *Service) Deletion(ctx context.Context, id string) (*Deletion, error) {
	d, err := s.store.Deletions.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	if d == nil {
		return nil, matrix.NotFound("There is no such deletion.")
	}
	return newDeletion(*d)
}

// DeletionsOf is how far the deletions of a room are, oldest first.
func (s *Service) DeletionsOf(ctx context.Context, room matrix.RoomID) ([]*Deletion, error) {
	stored, err := s.store.Deletions.OfRoom(ctx, room)
	if err != nil {
		return nil, err
	}
	var list []*Deletion
	for _, d := range stored {
		deletion, err := newDeletion(d)
		if err != nil {
			return nil, err
		}
		list = append(list, deletion)
	}
	return list, nil
}

func newDeletion(d storage.Deletion) (*Deletion, error) {
	deletion := &Deletion{ID: d.ID, Room: d.Room, Kind: d.Kind, Status: d.Status}
	return deletion, json.Unmarshal([]byte(d.Detail), &deletion.Detail)
}

// work goes through all steps of a deletion that are left.
func (s *Service) work(ctx context.Context, d storage.Deletion) {
	var detail DeletionDetail
	err := json.Unmarshal([]byte(d.Detail), &detail)
	if err == nil {
		if d.Kind == "room" {
			err = s.deleteRoom(ctx, &d, &detail)
		} else {
			err = s.purge(ctx, &d, &detail)
		}
	}
	if ctx.Err() != nil {
		return // goes on at the next start
	}
	d.Status = DeletionComplete
	if err != nil {
		s.Log.WarnContext(ctx, "a deletion has failed", "room", d.Room, "kind", d.Kind, "err", err)
		d.Status, detail.Error = DeletionFailed, err.Error()
	}
	if err := s.saveDeletion(ctx, &d, detail); err != nil {
		s.Log.WarnContext(ctx, "the end of a deletion not written down", "room", d.Room, "err", err)
	}
	s.deletions.mu.Lock()
	defer s.deletions.mu.Unlock()
	if ended := s.deletions.waiting[d.ID]; ended != nil {
		close(ended)
		delete(s.deletions.waiting, d.ID)
	}
}

func (s *Service) purge(ctx context.Context, d *storage.Deletion, detail *DeletionDetail) error {
	d.Status = DeletionPurging
	if err := s.saveDeletion(ctx, d, *detail); err != nil {
		return err
	}
	head, err := s.store.Rooms.Head(ctx, d.NID)
	if err != nil {
		return err
	}
	// The newest event stays: the next one builds on it.
	before := min(detail.History.Before, head.LastPosition)
	_, err = s.store.Deletions.Purge(ctx, storage.Purge{NID: d.NID, Before: before, Local: detail.History.Local, Server: s.ServerName})
	return err
}

func (s *Service) deleteRoom(ctx context.Context, d *storage.Deletion, detail *DeletionDetail) error {
	info, err := s.store.Rooms.InfoOf(ctx, d.NID)
	if errors.Is(err, database.ErrNoRows) {
		return nil // the last attempt got as far as that
	}
	if err != nil {
		return err
	}
	if d.Status != DeletionPurging {
		d.Status = DeletionShuttingDown
		if err := s.saveDeletion(ctx, d, *detail); err != nil {
			return err
		}
		if err := s.shutDown(ctx, info, detail); err != nil {
			return err
		}
		if !detail.Room.Purge {
			return nil
		}
		d.Status = DeletionPurging
		if err := s.saveDeletion(ctx, d, *detail); err != nil {
			return err
		}
	}
	return s.remove(ctx, info)
}

// remove forgets a room.
func (s *Service) remove(ctx context.Context, info *storage.RoomInfo) error {
	s.store.Rooms.Hide(info)
	s.cache.expel(info.NID)
	if err := s.store.Deletions.Members(ctx, info); err != nil {
		return err
	}
	if s.Removed != nil {
		s.Removed(info.NID)
	}
	return s.store.Deletions.Room(ctx, info)
}

// expel takes a room out of memory. Whoever holds it finds that it is void.
func (c *cache) expel(nid int64) {
	c.mu.Lock()
	entry := c.rooms[nid]
	c.mu.Unlock()
	if entry == nil {
		return
	}
	<-entry.ready
	if entry.room == nil {
		return
	}
	entry.room.mu.Lock() // what a writer makes at this moment is queued
	entry.room.broken.Store(true)
	entry.room.mu.Unlock()
	c.drop(entry.room)
}
