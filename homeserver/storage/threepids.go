package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// ThreePIDs holds the third-party identifiers of local users, and the sessions
// in which people prove that an address is theirs.
type ThreePIDs struct{ db *database.DB }

// A ThreePID is an address of a user.
type ThreePID struct {
	Medium      string
	Address     string // in its canonical form
	UserID      matrix.UserID
	ValidatedAt int64 // Unix ms
	AddedAt     int64 // Unix ms
}

// A ThreePIDSession is an address that somebody says is theirs.
type ThreePIDSession struct {
	SID          string
	Purpose      string
	Medium       string
	Address      string
	ClientSecret string
	TokenHash    []byte
	Attempt      int64
	NextLink     string
	CreatedAt    int64 // Unix ms
	ValidatedAt  int64 // Unix ms; 0: not yet
}

const sessionColumns = `sid, purpose, medium, address, client_secret, token_hash, attempt, COALESCE(next_link, ''), created_at, COALESCE(validated_at, 0)`

var (
	insertThreePID = database.SQL(`
		INSERT INTO threepids (medium, address, user_id, validated_at, added_at)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT DO NOTHING`)
	selectThreePIDs = database.SQL(`
		SELECT medium, address, user_id, validated_at, added_at
		FROM threepids
		WHERE user_id = $1
		ORDER BY added_at, medium, address
		LIMIT 1000`)
	selectThreePIDUser = database.SQL(`
		SELECT user_id
		FROM threepids
		WHERE medium = $1 AND address = $2`)
	deleteThreePID = database.SQL(`
		DELETE FROM threepids
		WHERE medium = $1 AND address = $2 AND user_id = $3`)
	deleteThreePIDs = database.SQL(`
		DELETE FROM threepids
		WHERE user_id = $1`)

	upsertThreePIDSession = database.SQL(`
		INSERT INTO threepid_sessions (sid, purpose, medium, address, client_secret, token_hash, attempt, next_link, created_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (client_secret, address, medium, purpose) DO UPDATE
		SET sid = excluded.sid, token_hash = excluded.token_hash, attempt = excluded.attempt, next_link = excluded.next_link,
			created_at = excluded.created_at, validated_at = NULL`)
	selectThreePIDSession = database.SQL(`
		SELECT ` + sessionColumns + `
		FROM threepid_sessions
		WHERE sid = $1`)
	selectThreePIDSessionOf = database.SQL(`
		SELECT ` + sessionColumns + `
		FROM threepid_sessions
		WHERE client_secret = $1 AND address = $2 AND medium = $3 AND purpose = $4`)
	updateThreePIDSession = database.SQL(`
		UPDATE threepid_sessions
		SET validated_at = $2
		WHERE sid = $1 AND validated_at IS NULL`)
	deleteThreePIDSession = database.SQL(`
		DELETE FROM threepid_sessions
		WHERE sid = $1`)
	deleteOldThreePIDSessions = database.SQL(`
		DELETE FROM threepid_sessions
		WHERE created_at < $1`)
)

// Insert gives an address to a user; false if somebody has it.
func (s *ThreePIDs) Insert(ctx context.Context, tx *database.Tx, p ThreePID) (bool, error) {
	n, err := tx.Exec(ctx, insertThreePID, p.Medium, p.Address, p.UserID, p.ValidatedAt, p.AddedAt)
	return n > 0, err
}

// List is the addresses of a user, in the order in which they were added.
func (s *ThreePIDs) List(ctx context.Context, q database.Querier, user matrix.UserID) ([]ThreePID, error) {
	rows, err := q.Query(ctx, selectThreePIDs, user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []ThreePID
	for rows.Next() {
		var p ThreePID
		if err := rows.Scan(&p.Medium, &p.Address, &p.UserID, &p.ValidatedAt, &p.AddedAt); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, rows.Err()
}

// User is who has an address, or empty.
func (s *ThreePIDs) User(ctx context.Context, q database.Querier, medium, address string) (matrix.UserID, error) {
	var user matrix.UserID
	err := q.QueryRow(ctx, selectThreePIDUser, medium, address).Scan(&user)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return user, err
}

// Delete takes an address from a user; false if it was not theirs.
func (s *ThreePIDs) Delete(ctx context.Context, tx *database.Tx, medium, address string, user matrix.UserID) (bool, error) {
	n, err := tx.Exec(ctx, deleteThreePID, medium, address, user)
	return n > 0, err
}

// DeleteAll takes all addresses from a user.
func (s *ThreePIDs) DeleteAll(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteThreePIDs, user)
	return err
}

// SaveSession begins a session, or begins it anew.
func (s *ThreePIDs) SaveSession(ctx context.Context, tx *database.Tx, v ThreePIDSession) error {
	_, err := tx.Exec(ctx, upsertThreePIDSession, v.SID, v.Purpose, v.Medium, v.Address, v.ClientSecret, v.TokenHash, v.Attempt,
		accountText(v.NextLink), v.CreatedAt)
	return err
}

// Session is a session, or nil.
func (s *ThreePIDs) Session(ctx context.Context, q database.Querier, sid string) (*ThreePIDSession, error) {
	return scanThreePIDSession(q.QueryRow(ctx, selectThreePIDSession, sid))
}

// SessionOf is the session that a client has for an address, or nil.
func (s *ThreePIDs) SessionOf(ctx context.Context, q database.Querier, clientSecret, address, medium, purpose string) (*ThreePIDSession, error) {
	return scanThreePIDSession(q.QueryRow(ctx, selectThreePIDSessionOf, clientSecret, address, medium, purpose))
}

func scanThreePIDSession(row *database.Row) (*ThreePIDSession, error) {
	var v ThreePIDSession
	err := row.Scan(&v.SID, &v.Purpose, &v.Medium, &v.Address, &v.ClientSecret, &v.TokenHash, &v.Attempt, &v.NextLink, &v.CreatedAt, &v.ValidatedAt)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// Validate notes that an address was shown to be somebody's.
func (s *ThreePIDs) Validate(ctx context.Context, tx *database.Tx, sid string, now int64) error {
	_, err := tx.Exec(ctx, updateThreePIDSession, sid, now)
	return err
}

// DeleteSession forgets a session; false if it was gone.
func (s *ThreePIDs) DeleteSession(ctx context.Context, tx *database.Tx, sid string) (bool, error) {
	n, err := tx.Exec(ctx, deleteThreePIDSession, sid)
	return n > 0, err
}

// DeleteSessionsBefore forgets sessions that began before a time.
func (s *ThreePIDs) DeleteSessionsBefore(ctx context.Context, tx *database.Tx, before int64) error {
	_, err := tx.Exec(ctx, deleteOldThreePIDSessions, before)
	return err
}
