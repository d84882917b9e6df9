package database

import (
	"context"
	"fmt"
	"sync"
)

// idBlock is how many IDs are reserved in the database at once. What is left of
// a block when the process ends is lost.
const idBlock = 1000

// id_blocks holds, for each name, the first ID that nobody has reserved.
var reserveIDs = SQL(`
	INSERT INTO id_blocks (name, next)
	VALUES ($1, 1 + $2::bigint)
	ON CONFLICT (name) DO UPDATE
	SET next = id_blocks.next + $2::bigint
	RETURNING next - $2::bigint`)

// IDs hands out numbers that are never given twice, starting at 1, with gaps.
// It is safe for concurrent use, also inside the functions of Update, and by
// several processes on one database.
type IDs struct {
	db   *DB
	name string

	mu          sync.Mutex
	next, limit int64 // the unused part of the block: next ≤ id < limit
}

// NewIDs returns the IDs of a name, such as "event". Make one for each name:
// a second one is correct too, but reserves blocks of its own.
func (db *DB) NewIDs(name string) *IDs { return &IDs{db: db, name: name} }

// Next returns an ID that nobody else gets.
func (ids *IDs) Next(ctx context.Context) (int64, error) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.next == ids.limit {
		first, err := ids.db.backend.reserve(ctx, ids.name, idBlock)
		if err != nil {
			return 0, fmt.Errorf("reserve IDs for %s: %w", ids.name, err)
		}
		ids.next, ids.limit = first, first+idBlock
	}
	id := ids.next
	ids.next++
	return id, nil
}
