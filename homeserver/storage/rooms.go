package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// Rooms holds what is known of a room beside its events.
type Rooms struct {
	db   *database.DB
	ids  *database.IDs
	byID *lru.Cache[matrix.RoomID, *RoomInfo]
	info *lru.Cache[int64, *RoomInfo]

	mu     sync.RWMutex
	hidden map[matrix.RoomID]bool // on their way out
}

// A RoomInfo is what never changes about a room.
type RoomInfo struct {
	NID     int64
	ID      matrix.RoomID
	Version *roomversion.Version
}

// A RoomHead is where a room stands: what its next event builds on.
type RoomHead struct {
	Root         int64 // of the current state
	Extremities  []matrix.EventID
	Depth        int64
	LastPosition int64
	Bump         int64 // position of the newest event that counts as activity; 0 leaves it as it was
}

// A Summary is what directories and previews show of a room.
type Summary struct {
	RoomID         matrix.RoomID
	Version        string
	Creator        matrix.UserID
	Type           string
	Name           string
	Topic          string
	AvatarURL      string
	CanonicalAlias string
	JoinRule       string
	WorldReadable  bool
	GuestsCanJoin  bool
	Encryption     string
	JoinedMembers  int64
	InvitedMembers int64
}

// A StoredRoom is what is stored of a room beside its state and events.
type StoredRoom struct {
	RoomHead
	Summary
}

var (
	selectRoomByID = database.SQL(`
		SELECT room_nid, room_id, version
		FROM rooms
		WHERE room_id = $1`)
	selectRoomByNID = database.SQL(`
		SELECT room_nid, room_id, version
		FROM rooms
		WHERE room_nid = $1`)
	selectRoomHead = database.SQL(`
		SELECT state_root, extremities, depth, last_position
		FROM rooms
		WHERE room_nid = $1`)
	insertRoom = database.SQL(`
		INSERT INTO rooms (room_nid, room_id, version, state_root, extremities, depth, last_position,
			creator, join_rule, world_readable, guests_can_join, joined_members, invited_members)
		VALUES ($1, $2, $3, 0, '[]', 0, 0, $4, 'invite', FALSE, FALSE, 0, 0)`)
	updateRoomHead = database.SQL(`
		UPDATE rooms
		SET state_root = $2, extremities = $3, depth = $4, last_position = $5,
			bump_position = CASE WHEN $6 > bump_position THEN $6 ELSE bump_position END
		WHERE room_nid = $1`)
	updateRoomSummary = database.SQL(`
		UPDATE rooms
		SET room_type = $2, name = $3, topic = $4, avatar_url = $5, canonical_alias = $6, join_rule = $7,
			world_readable = $8, guests_can_join = $9, encryption = $10, joined_members = $11, invited_members = $12, search = $13
		WHERE room_nid = $1`)
	selectRooms = database.SQL(`
		SELECT room_nid, room_id, version, creator, COALESCE(room_type, ''), COALESCE(name, ''), COALESCE(topic, ''),
			COALESCE(avatar_url, ''), COALESCE(canonical_alias, ''), join_rule, world_readable, guests_can_join,
			COALESCE(encryption, ''), joined_members, invited_members, state_root, extremities, depth, last_position
		FROM rooms
		WHERE room_nid = ANY($1)
		ORDER BY room_nid`)
)

func newRooms(db *database.DB) *Rooms {
	return &Rooms{
		db: db, ids: db.NewIDs("room"),
		byID: lru.New[matrix.RoomID, *RoomInfo](100_000, nil),
		info: lru.New[int64, *RoomInfo](100_000, nil),
	}
}

// Info is the room of that ID; [database.ErrNoRows] if it is not known here.
func (r *Rooms) Info(ctx context.Context, id matrix.RoomID) (*RoomInfo, error) {
	if info, ok := r.byID.Get(id); ok {
		return info, nil
	}
	info, err := r.load(ctx, selectRoomByID, string(id))
	if err == nil && r.Hidden(id) {
		r.byID.Delete(id)
		return nil, fmt.Errorf("room %s is being deleted: %w", id, database.ErrNoRows)
	}
	return info, err
}

// Hide makes a room unknown by its ID.
func (r *Rooms) Hide(info *RoomInfo) {
	r.mu.Lock()
	if r.hidden == nil {
		r.hidden = map[matrix.RoomID]bool{}
	}
	r.hidden[info.ID] = true
	r.mu.Unlock()
	r.byID.Delete(info.ID)
}

// Hidden reports whether a room is on its way out.
func (r *Rooms) Hidden(id matrix.RoomID) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.hidden[id]
}

// forget drops a room that is no more.
func (r *Rooms) forget(info *RoomInfo) {
	r.byID.Delete(info.ID)
	r.info.Delete(info.NID)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.hidden, info.ID)
}

// InfoOf is the room of that number.
func (r *Rooms) InfoOf(ctx context.Context, nid int64) (*RoomInfo, error) {
	if info, ok := r.info.Get(nid); ok {
		return info, nil
	}
	return r.load(ctx, selectRoomByNID, nid)
}

func (r *Rooms) load(ctx context.Context, stmt *database.Statement, key any) (*RoomInfo, error) {
	var nid int64
	var id, version string
	if err := r.db.Read().QueryRow(ctx, stmt, key).Scan(&nid, &id, &version); err != nil {
		return nil, fmt.Errorf("room %v: %w", key, err)
	}
	return r.keep(nid, matrix.RoomID(id), version)
}

// keep puts what never changes about a room into memory.
func (r *Rooms) keep(nid int64, id matrix.RoomID, version string) (*RoomInfo, error) {
	known, ok := roomversion.Lookup(version)
	if !ok {
		return nil, fmt.Errorf("room %s has version %q, which is unknown", id, version)
	}
	info := &RoomInfo{NID: nid, ID: id, Version: known}
	if !r.Hidden(info.ID) {
		r.byID.Put(info.ID, info)
	}
	r.info.Put(info.NID, info)
	return info, nil
}

// NewNID is the number for a room that is about to be made.
func (r *Rooms) NewNID(ctx context.Context) (int64, error) { return r.ids.Next(ctx) }

// Insert makes a room without events.
func (r *Rooms) Insert(ctx context.Context, tx *database.Tx, info *RoomInfo, creator matrix.UserID) error {
	return tx.Queue(ctx, insertRoom, info.NID, string(info.ID), info.Version.ID, string(creator))
}

// Head is where a room stands.
func (r *Rooms) Head(ctx context.Context, nid int64) (RoomHead, error) {
	var head RoomHead
	var extremities string
	err := r.db.Read().QueryRow(ctx, selectRoomHead, nid).Scan(&head.Root, &extremities, &head.Depth, &head.LastPosition)
	if err != nil {
		return head, fmt.Errorf("head of room %d: %w", nid, err)
	}
	if err := json.Unmarshal([]byte(extremities), &head.Extremities); err != nil {
		return head, fmt.Errorf("forward extremities of room %d: %w", nid, err)
	}
	return head, nil
}

// SetHead moves a room's head.
func (r *Rooms) SetHead(ctx context.Context, tx *database.Tx, nid int64, head RoomHead) error {
	extremities, err := json.Marshal(head.Extremities)
	if err != nil {
		return err
	}
	return tx.Queue(ctx, updateRoomHead, nid, head.Root, string(extremities), head.Depth, head.LastPosition, head.Bump)
}

// SetSummary stores what directories show of a room.
func (r *Rooms) SetSummary(ctx context.Context, tx *database.Tx, nid int64, s Summary) error {
	search := strings.ToLower(s.Name + "\n" + s.Topic + "\n" + s.CanonicalAlias) // engines differ in what they know of letters
	return tx.Queue(ctx, updateRoomSummary, nid, optional(s.Type), optional(s.Name), optional(s.Topic), optional(s.AvatarURL),
		optional(s.CanonicalAlias), s.JoinRule, s.WorldReadable, s.GuestsCanJoin, optional(s.Encryption), s.JoinedMembers, s.InvitedMembers, search)
}

// Stored is what is stored of some rooms, by their numbers.
func (r *Rooms) Stored(ctx context.Context, nids []int64) (map[int64]*StoredRoom, error) {
	rows, err := r.db.Read().Query(ctx, selectRooms, nids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make(map[int64]*StoredRoom, len(nids))
	for rows.Next() {
		var extremities string
		var head RoomHead
		nid, s, err := scanSummary(rows, &head.Root, &extremities, &head.Depth, &head.LastPosition)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(extremities), &head.Extremities); err != nil {
			return nil, fmt.Errorf("forward extremities of room %d: %w", nid, err)
		}
		found[nid] = &StoredRoom{head, *s}
	}
	return found, rows.Err()
}

// scanSummary reads a row that begins with a summary; more is what comes after it.
func scanSummary(rows *database.Rows, more ...any) (nid int64, s *Summary, err error) {
	s = new(Summary)
	var id, creator string
	err = rows.Scan(append([]any{&nid, &id, &s.Version, &creator, &s.Type, &s.Name, &s.Topic, &s.AvatarURL, &s.CanonicalAlias,
		&s.JoinRule, &s.WorldReadable, &s.GuestsCanJoin, &s.Encryption, &s.JoinedMembers, &s.InvitedMembers}, more...)...)
	s.RoomID, s.Creator = matrix.RoomID(id), matrix.UserID(creator)
	return nid, s, err
}

// optional stores an empty text as NULL.
func optional(s string) any {
	if s == "" {
		return nil
	}
	return s
}
