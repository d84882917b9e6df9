package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Aliases holds the local room aliases.
type Aliases struct {
	db *database.DB
}

// An Alias points to a room.
type Alias struct {
	Alias   matrix.RoomAlias
	RoomNID int64
	RoomID  matrix.RoomID
	Creator matrix.UserID
}

var (
	insertAlias = database.SQL(`
		INSERT INTO room_aliases (alias, room_nid, creator)
		VALUES ($1, $2, $3)
		ON CONFLICT DO NOTHING`)
	moveAliases = database.SQL(`
		UPDATE room_aliases
		SET room_nid = $2
		WHERE room_nid = $1`)
	deleteAlias = database.SQL(`
		DELETE FROM room_aliases
		WHERE alias = $1`)
	selectAlias = database.SQL(`
		SELECT a.alias, a.room_nid, r.room_id, a.creator
		FROM room_aliases a
		JOIN rooms r ON r.room_nid = a.room_nid
		WHERE a.alias = $1`)
	selectRoomAliases = database.SQL(`
		SELECT a.alias, a.room_nid, r.room_id, a.creator
		FROM room_aliases a
		JOIN rooms r ON r.room_nid = a.room_nid
		WHERE a.room_nid = $1
		ORDER BY a.alias
		LIMIT 1000`)
)

// Insert makes an alias; false if it exists already.
func (s *Aliases) Insert(ctx context.Context, tx *database.Tx, alias matrix.RoomAlias, roomNID int64, creator matrix.UserID) (bool, error) {
	n, err := tx.Exec(ctx, insertAlias, string(alias), roomNID, string(creator))
	return n > 0, err
}

// Move points all aliases of a room to another one.
func (s *Aliases) Move(ctx context.Context, tx *database.Tx, from, to int64) error {
	_, err := tx.Exec(ctx, moveAliases, from, to)
	return err
}

// Delete removes an alias.
func (s *Aliases) Delete(ctx context.Context, tx *database.Tx, alias matrix.RoomAlias) error {
	_, err := tx.Exec(ctx, deleteAlias, string(alias))
	return err
}

// Lookup is where an alias points, or nil.
func (s *Aliases) Lookup(ctx context.Context, alias matrix.RoomAlias) (*Alias, error) {
	list, err := s.query(ctx, selectAlias, string(alias))
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// OfRoom is the aliases of a room, at most 1,000.
func (s *Aliases) OfRoom(ctx context.Context, roomNID int64) ([]Alias, error) {
	return s.query(ctx, selectRoomAliases, roomNID)
}

func (s *Aliases) query(ctx context.Context, stmt *database.Statement, arg any) ([]Alias, error) {
	rows, err := s.db.Read().Query(ctx, stmt, arg)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Alias
	for rows.Next() {
		var alias, room, creator string
		var nid int64
		if err := rows.Scan(&alias, &nid, &room, &creator); err != nil {
			return nil, err
		}
		list = append(list, Alias{matrix.RoomAlias(alias), nid, matrix.RoomID(room), matrix.UserID(creator)})
	}
	return list, rows.Err()
}

// Published holds which rooms the public directory lists.
type Published struct {
	db *database.DB
}

const selectPublic = `
		SELECT r.room_nid, r.room_id, r.version, r.creator, COALESCE(r.room_type, ''), COALESCE(r.name, ''), COALESCE(r.topic, ''),
			COALESCE(r.avatar_url, ''), COALESCE(r.canonical_alias, ''), r.join_rule, r.world_readable, r.guests_can_join,
			COALESCE(r.encryption, ''), r.joined_members, r.invited_members
		FROM rooms r
		WHERE EXISTS (
				SELECT 1
				FROM published_rooms p
				WHERE p.room_nid = r.room_nid AND (p.network = $1 OR $2))
			AND ($3 = '' OR r.search LIKE $3 ESCAPE '!')
			AND ($6 OR COALESCE(r.room_type, '') = ANY($7))`

var (
	insertPublished = database.SQL(`
		INSERT INTO published_rooms (room_nid, network)
		VALUES ($1, $2)
		ON CONFLICT DO NOTHING`)
	deletePublished = database.SQL(`
		DELETE FROM published_rooms
		WHERE room_nid = $1 AND network = $2`)
	selectPublished = database.SQL(`
		SELECT room_nid
		FROM published_rooms
		WHERE room_nid = $1 AND network = $2`)
	// Largest rooms first; (joined_members, room_nid) is where the page before ended.
	selectPublicRooms = database.SQL(selectPublic + `
			AND (r.joined_members < $4 OR r.joined_members = $4 AND r.room_nid > $5)
		ORDER BY r.joined_members DESC, r.room_nid
		LIMIT $8`)
	selectPublicRoomsBefore = database.SQL(selectPublic + `
			AND (r.joined_members > $4 OR r.joined_members = $4 AND r.room_nid < $5)
		ORDER BY r.joined_members, r.room_nid DESC
		LIMIT $8`)
	countPublicRooms = database.SQL(`
		SELECT COUNT(DISTINCT room_nid)
		FROM published_rooms
		WHERE network = $1 OR $2`)
)

// Set lists a room in a network's directory, or takes it out.
func (s *Published) Set(ctx context.Context, tx *database.Tx, roomNID int64, network string, listed bool) error {
	stmt := insertPublished
	if !listed {
		stmt = deletePublished
	}
	_, err := tx.Exec(ctx, stmt, roomNID, network)
	return err
}

// Listed reports whether a room is in the homeserver's own directory.
func (s *Published) Listed(ctx context.Context, roomNID int64) (bool, error) {
	var nid int64
	err := s.db.Read().QueryRow(ctx, selectPublished, roomNID, "").Scan(&nid)
	if errors.Is(err, database.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// A DirectoryQuery is one page of a public directory.
type DirectoryQuery struct {
	Network     string
	AllNetworks bool
	Search      string   // part of name, topic or alias, in any case
	Types       []string // of rooms, "" for those without; nil is any
	Count       int64    // joined members of the room beside which the page is
	NID         int64    // and its number
	Backward    bool     // the page before that room, from its end
	Limit       int
}

// A Listing is a room in a directory.
type Listing struct {
	RoomNID int64
	Summary
}

// Page is a page of a public directory: largest rooms first, or last if it is
// read backward.
func (s *Published) Page(ctx context.Context, q DirectoryQuery) ([]Listing, error) {
	types := q.Types
	if types == nil {
		types = []string{}
	}
	stmt := selectPublicRooms
	if q.Backward {
		stmt = selectPublicRoomsBefore
	}
	rows, err := s.db.Read().Query(ctx, stmt, q.Network, q.AllNetworks, likePattern(q.Search), q.Count, q.NID, q.Types == nil, types, q.Limit)
	if err != nil {
		return nil, fmt.Errorf("page of the room directory: %w", err)
	}
	defer rows.Close()
	var list []Listing
	for rows.Next() {
		nid, summary, err := scanSummary(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, Listing{nid, *summary})
	}
	return list, rows.Err()
}

// Count is how many rooms a directory lists.
func (s *Published) Count(ctx context.Context, network string, all bool) (n int64, err error) {
	err = s.db.Read().QueryRow(ctx, countPublicRooms, network, all).Scan(&n)
	return n, err
}

// likePattern finds a text anywhere, with LIKE's own signs taken literally.
func likePattern(search string) string {
	if search == "" {
		return ""
	}
	return "%" + likeEscaper.Replace(strings.ToLower(search)) + "%"
}

// likeEscaper makes any text a pattern that only this text matches.
var likeEscaper = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")
