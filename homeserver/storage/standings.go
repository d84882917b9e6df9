package storage

import (
	"context"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Standing is by what lists of rooms are filtered and ordered.
type Standing struct {
	Type      string // of the room; empty for rooms in which people talk
	Encrypted bool
	Last      int64 // position of the newest event
	Bump      int64 // position of the newest event that counts as activity
}

var selectStandings = database.SQL(`
	SELECT room_nid, room_id, version, COALESCE(room_type, ''), encryption IS NOT NULL, last_position, bump_position
	FROM rooms
	WHERE room_nid = ANY($1)
	ORDER BY room_nid`)

// Standings is where some rooms stand, by their numbers. [Rooms.InfoOf] knows
// these rooms afterwards without asking for each.
func (r *Rooms) Standings(ctx context.Context, nids []int64) (map[int64]Standing, error) {
	rows, err := r.db.Read().Query(ctx, selectStandings, nids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := make(map[int64]Standing, len(nids))
	for rows.Next() {
		var nid int64
		var id, version string
		var s Standing
		if err := rows.Scan(&nid, &id, &version, &s.Type, &s.Encrypted, &s.Last, &s.Bump); err != nil {
			return nil, err
		}
		found[nid] = s
		if err := r.learn(nid, id, version); err != nil {
			return nil, err
		}
	}
	return found, rows.Err()
}

// Learn makes [Rooms.InfoOf] know some rooms without asking for each.
func (r *Rooms) Learn(ctx context.Context, nids []int64) error {
	var missing []int64
	for _, nid := range nids {
		if _, ok := r.info.Get(nid); !ok {
			missing = append(missing, nid)
		}
	}
	for chunk := range slices.Chunk(missing, atOnce) {
		if _, err := r.Standings(ctx, chunk); err != nil {
			return err
		}
	}
	return nil
}

// learn keeps what never changes about a room, unless that is known.
func (r *Rooms) learn(nid int64, id, version string) error {
	if _, ok := r.info.Get(nid); ok {
		return nil
	}
	_, err := r.keep(nid, matrix.RoomID(id), version)
	return err
}
