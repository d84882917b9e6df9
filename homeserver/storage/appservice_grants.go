package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// AppServiceGrants holds which application services may act for which people.
type AppServiceGrants struct{ db *database.DB }

// An AppServiceGrant lets an application service act for a user. Times are in
// milliseconds since 1970; UsedAt is 0 before the first use.
type AppServiceGrant struct {
	User      matrix.UserID
	Service   string
	CreatedAt int64
	ExpiresAt int64
	UsedAt    int64
}

const grantColumns = `user_id, service, created_at, expires_at, used_at`

var (
	upsertAppServiceGrant = database.SQL(`
		INSERT INTO appservice_grants (user_id, service, token_hash, code_hash, created_at, expires_at, used_at)
		VALUES ($1, $2, $3, $4, $5, $6, 0)
		ON CONFLICT (user_id, service) DO UPDATE
		SET token_hash = excluded.token_hash, code_hash = excluded.code_hash, created_at = excluded.created_at, expires_at = excluded.expires_at, used_at = 0`)
	selectAppServiceGrant = database.SQL(`
		SELECT ` + grantColumns + `
		FROM appservice_grants
		WHERE token_hash = $1`)
	selectAppServiceGrantOfCode = database.SQL(`
		SELECT ` + grantColumns + `
		FROM appservice_grants
		WHERE code_hash = $1
		ORDER BY user_id
		LIMIT 1`)
	selectAppServiceGrantOf = database.SQL(`
		SELECT ` + grantColumns + `
		FROM appservice_grants
		WHERE user_id = $1 AND service = $2`)
	updateAppServiceGrantUse = database.SQL(`
		UPDATE appservice_grants
		SET used_at = $3
		WHERE user_id = $1 AND service = $2`)
	deleteAppServiceGrant = database.SQL(`
		DELETE FROM appservice_grants
		WHERE user_id = $1 AND service = $2`)
	deleteAppServiceGrantsOf = database.SQL(`
		DELETE FROM appservice_grants
		WHERE user_id = $1`)
	deleteOldAppServiceGrants = database.SQL(`
		DELETE FROM appservice_grants
		WHERE expires_at <= $1`)
	selectAppServiceGrants = database.SQL(`
		SELECT ` + grantColumns + `
		FROM appservice_grants
		WHERE user_id = $1
		ORDER BY service
		LIMIT 1000`)
)

// Save stores a grant and the hash of its token, instead of an earlier one. code
// is the hash of the code of OAuth that it came by, or nil.
func (s *AppServiceGrants) Save(ctx context.Context, tx *database.Tx, g AppServiceGrant, token, code []byte) error {
	_, err := tx.Exec(ctx, upsertAppServiceGrant, g.User, g.Service, token, code, g.CreatedAt, g.ExpiresAt)
	return err
}

// ByCode is the grant that came by a code of OAuth, or nil.
func (s *AppServiceGrants) ByCode(ctx context.Context, code []byte) (*AppServiceGrant, error) {
	return s.one(ctx, selectAppServiceGrantOfCode, code)
}

// ByToken is the grant with that hash of a token, or nil.
func (s *AppServiceGrants) ByToken(ctx context.Context, token []byte) (*AppServiceGrant, error) {
	return s.one(ctx, selectAppServiceGrant, token)
}

// Of is what a user has granted to a service, or nil.
func (s *AppServiceGrants) Of(ctx context.Context, user matrix.UserID, service string) (*AppServiceGrant, error) {
	return s.one(ctx, selectAppServiceGrantOf, user, service)
}

// List is what a user has granted, by service.
func (s *AppServiceGrants) List(ctx context.Context, user matrix.UserID) ([]AppServiceGrant, error) {
	return s.query(ctx, selectAppServiceGrants, user)
}

func (s *AppServiceGrants) one(ctx context.Context, stmt *database.Statement, args ...any) (*AppServiceGrant, error) {
	var g AppServiceGrant
	err := s.db.Read().QueryRow(ctx, stmt, args...).Scan(&g.User, &g.Service, &g.CreatedAt, &g.ExpiresAt, &g.UsedAt)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &g, nil
}

func (s *AppServiceGrants) query(ctx context.Context, stmt *database.Statement, args ...any) ([]AppServiceGrant, error) {
	rows, err := s.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []AppServiceGrant
	for rows.Next() {
		var g AppServiceGrant
		if err := rows.Scan(&g.User, &g.Service, &g.CreatedAt, &g.ExpiresAt, &g.UsedAt); err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, rows.Err()
}

// Used notes when a grant was last used.
func (s *AppServiceGrants) Used(ctx context.Context, tx *database.Tx, user matrix.UserID, service string, at int64) error {
	_, err := tx.Exec(ctx, updateAppServiceGrantUse, user, service, at)
	return err
}

// Delete takes a grant back; one that does not exist does not matter.
func (s *AppServiceGrants) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID, service string) error {
	_, err := tx.Exec(ctx, deleteAppServiceGrant, user, service)
	return err
}

// DeleteOfUser takes back all that a user has granted.
func (s *AppServiceGrants) DeleteOfUser(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	_, err := tx.Exec(ctx, deleteAppServiceGrantsOf, user)
	return err
}

// DeleteExpired deletes grants that have ended.
func (s *AppServiceGrants) DeleteExpired(ctx context.Context, tx *database.Tx, now int64) error {
	_, err := tx.Exec(ctx, deleteOldAppServiceGrants, now)
	return err
}
