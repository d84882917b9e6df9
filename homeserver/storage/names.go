package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Names reads the names that exist here, page by page in their order.
type Names struct{ db *database.DB }

// NewNames prepares the subject.
func NewNames(db *database.DB) *Names { return &Names{db} }

// A NamedAccount is a user, and the application service that made it or empty.
type NamedAccount struct {
	User       matrix.UserID
	AppService string
}

var (
	selectAccountNames = database.SQL(`
		SELECT user_id, COALESCE(appservice, '')
		FROM accounts
		WHERE user_id > $1
		ORDER BY user_id
		LIMIT $2`)
	selectAliasNames = database.SQL(`
		SELECT alias
		FROM room_aliases
		WHERE alias > $1
		ORDER BY alias
		LIMIT $2`)
	selectRoomNames = database.SQL(`
		SELECT room_id
		FROM rooms
		WHERE room_id > $1
		ORDER BY room_id
		LIMIT $2`)
)

// Accounts is the next accounts, those that have ended as well.
func (n *Names) Accounts(ctx context.Context, after matrix.UserID, limit int) ([]NamedAccount, error) {
	rows, err := n.db.Read().Query(ctx, selectAccountNames, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []NamedAccount
	for rows.Next() {
		var a NamedAccount
		if err := rows.Scan(&a.User, &a.AppService); err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}

// Aliases is the next aliases.
func (n *Names) Aliases(ctx context.Context, after matrix.RoomAlias, limit int) ([]matrix.RoomAlias, error) {
	return readNames(ctx, n.db, selectAliasNames, after, limit)
}

// Rooms is the next rooms.
func (n *Names) Rooms(ctx context.Context, after matrix.RoomID, limit int) ([]matrix.RoomID, error) {
	return readNames(ctx, n.db, selectRoomNames, after, limit)
}

func readNames[Name ~string](ctx context.Context, db *database.DB, stmt *database.Statement, after Name, limit int) ([]Name, error) {
	rows, err := db.Read().Query(ctx, stmt, string(after), limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Name
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		list = append(list, Name(name))
	}
	return list, rows.Err()
}
