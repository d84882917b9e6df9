// Package storage is the only place that knows the homeserver's tables. It has
// one small type for each subject; a method is a statement or a few, and
// decides nothing.
package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
)

// A Store is the homeserver's database, by subject.
type Store struct {
	DB        *database.DB
	Users     *Interner
	Types     *Interner
	Rooms     *Rooms
	Events    *Events
	State     *State
	Members   *Members
	Aliases   *Aliases
	Published *Published
	Directory *Directory
	Deletions *Deletions
	Relations *Relations
	Search    *Search
	Reports   *Reports
	Outbox    *Outbox
}

// New prepares the subjects of a database that is open and migrated.
func New(db *database.DB) *Store {
	users := newInterner(db, "user", selectUserNIDs, selectUserIDs, insertUser)
	types := newInterner(db, "event_type", selectTypeNIDs, selectTypes, insertType)
	rooms := newRooms(db)
	s := &Store{
		DB:        db,
		Users:     users,
		Types:     types,
		Rooms:     rooms,
		Events:    newEvents(db, rooms),
		State:     newState(db),
		Members:   &Members{db: db, users: users, rooms: rooms},
		Aliases:   &Aliases{db: db},
		Published: &Published{db: db},
		Directory: &Directory{db: db},
		Relations: &Relations{db: db},
		Search:    &Search{db: db},
		Reports:   &Reports{db: db, ids: db.NewIDs("report")},
		Outbox:    newOutbox(db),
	}
	s.Deletions = &Deletions{s}
	return s
}

var (
	selectOne      = database.SQL(`SELECT 1`)
	selectPosition = database.SQL(`
		SELECT position
		FROM stream
		LIMIT 1`)
)

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	return s.DB.Read().QueryRow(ctx, selectOne).Scan(&one)
}

// Position is how far the stream is committed.
func (s *Store) Position(ctx context.Context) (position int64, err error) {
	err = s.DB.Read().QueryRow(ctx, selectPosition).Scan(&position)
	if errors.Is(err, database.ErrNoRows) {
		return 0, nil
	}
	return position, err
}
