package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Accounts holds the local accounts, and by subject what belongs to them.
type Accounts struct {
	Devices     *Devices
	Tokens      *Tokens
	Sessions    *AuthSessions
	Profiles    *Profiles
	Data        *AccountData
	Rules       *PushRules
	Filters     *Filters
	ThreePID    *ThreePIDs
	OpenID      *OpenIDTokens
	RegTokens   *RegistrationTokens
	LoginTokens *LoginTokens
	OAuth       *OAuth
	Grants      *AppServiceGrants
	Subjects    *Subjects
	SSOFlows    *SSOFlows
	SSOSessions *SSOSessions
	Console     *Console

	db *database.DB
}

// NewAccounts prepares the subjects of a database that is migrated.
func NewAccounts(db *database.DB) *Accounts {
	return &Accounts{
		Devices:     &Devices{db},
		Tokens:      &Tokens{db},
		Sessions:    &AuthSessions{db},
		Profiles:    &Profiles{db},
		Data:        &AccountData{db},
		Rules:       &PushRules{db},
		Filters:     &Filters{db},
		ThreePID:    &ThreePIDs{db},
		OpenID:      &OpenIDTokens{db},
		db:          db,
		RegTokens:   &RegistrationTokens{db},
		LoginTokens: &LoginTokens{db},
		OAuth:       &OAuth{db},
		Grants:      &AppServiceGrants{db},
		Subjects:    &Subjects{db},
		SSOFlows:    &SSOFlows{db},
		SSOSessions: &SSOSessions{db},
		Console:     &Console{db},
	}
}

// An Account is a local user.
type Account struct {
	UserID      matrix.UserID
	HasPassword bool
	Guest       bool
	Admin       bool
	Deactivated bool
	Locked      bool
	Suspended   bool
	Erased      bool
	AppService  string // the ID of the application service that made it, or empty
	CreatedAt   int64  // Unix ms
}

var (
	insertAccount = database.SQL(`
		INSERT INTO accounts (user_id, password_hash, guest, admin, deactivated, appservice, created_at)
		VALUES ($1, $2, $3, $4, FALSE, $5, $6)
		ON CONFLICT DO NOTHING`)
	selectAccount = database.SQL(`
		SELECT user_id, password_hash IS NOT NULL, guest, admin, deactivated, locked, suspended, erased, COALESCE(appservice, ''), created_at
		FROM accounts
		WHERE user_id = $1`)
	selectFirstAccount = database.SQL(`
		SELECT user_id
		FROM accounts
		ORDER BY user_id
		LIMIT 1`)
	selectPersonElsewhere = database.SQL(`
		SELECT user_id
		FROM accounts
		WHERE appservice IS NULL AND user_id NOT LIKE $1 ESCAPE '\'
		ORDER BY user_id
		LIMIT 1`)
	selectFirstPerson = database.SQL(`
		SELECT user_id
		FROM accounts
		WHERE appservice IS NULL
		ORDER BY user_id
		LIMIT 1`)
	selectPasswordHash = database.SQL(`
		SELECT COALESCE(password_hash, '')
		FROM accounts
		WHERE user_id = $1`)
	updatePasswordHash = database.SQL(`
		UPDATE accounts
		SET password_hash = $2
		WHERE user_id = $1 AND NOT deactivated`)
	updateAdmin = database.SQL(`
		UPDATE accounts
		SET admin = $2
		WHERE user_id = $1`)
	updateDeactivated = database.SQL(`
		UPDATE accounts
		SET deactivated = TRUE, password_hash = NULL, admin = FALSE
		WHERE user_id = $1 AND NOT deactivated`)
	updateGuest = database.SQL(`
		UPDATE accounts
		SET guest = FALSE, password_hash = $2
		WHERE user_id = $1 AND guest`)
)

// Insert makes an account; false if the user exists, even deactivated.
func (s *Accounts) Insert(ctx context.Context, tx *database.Tx, a Account, passwordHash string) (bool, error) {
	n, err := tx.Exec(ctx, insertAccount, a.UserID, accountText(passwordHash), a.Guest, a.Admin, accountText(a.AppService), a.CreatedAt)
	return n > 0, err
}

// Find is the account of a user, or nil.
func (s *Accounts) Find(ctx context.Context, user matrix.UserID) (*Account, error) {
	var a Account
	err := s.db.Read().QueryRow(ctx, selectAccount, user).
		Scan(&a.UserID, &a.HasPassword, &a.Guest, &a.Admin, &a.Deactivated, &a.Locked, &a.Suspended, &a.Erased, &a.AppService, &a.CreatedAt)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &a, nil
}

// Stranger is the account of a person that is not of this server, or empty: the
// database is another server's then, or this one was called otherwise.
func (s *Accounts) Stranger(ctx context.Context, server matrix.ServerName) (matrix.UserID, error) {
	var first, stranger matrix.UserID
	err := s.db.Read().QueryRow(ctx, selectFirstAccount).Scan(&first)
	if errors.Is(err, database.ErrNoRows) || err == nil && first.Server() == server {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	err = s.db.Read().QueryRow(ctx, selectPersonElsewhere, "%:"+string(server)).Scan(&stranger)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return stranger, err
}

// Nobody says whether there is no account yet but those of application services.
func (s *Accounts) Nobody(ctx context.Context) (bool, error) {
	var first matrix.UserID
	err := s.db.Read().QueryRow(ctx, selectFirstPerson).Scan(&first)
	if errors.Is(err, database.ErrNoRows) {
		return true, nil
	}
	return false, err
}

// PasswordHash is empty when there is no such user or no password.
func (s *Accounts) PasswordHash(ctx context.Context, user matrix.UserID) (string, error) {
	var hash string
	err := s.db.Read().QueryRow(ctx, selectPasswordHash, user).Scan(&hash)
	if errors.Is(err, database.ErrNoRows) {
		return "", nil
	}
	return hash, err
}

// SetPasswordHash reports whether there is such a user, not deactivated.
func (s *Accounts) SetPasswordHash(ctx context.Context, tx *database.Tx, user matrix.UserID, hash string) (bool, error) {
	n, err := tx.Exec(ctx, updatePasswordHash, user, accountText(hash))
	return n > 0, err
}

// SetAdmin reports whether there is such a user.
func (s *Accounts) SetAdmin(ctx context.Context, tx *database.Tx, user matrix.UserID, admin bool) (bool, error) {
	n, err := tx.Exec(ctx, updateAdmin, user, admin)
	return n > 0, err
}

// Deactivate reports whether the account was there and active.
func (s *Accounts) Deactivate(ctx context.Context, tx *database.Tx, user matrix.UserID) (bool, error) {
	n, err := tx.Exec(ctx, updateDeactivated, user)
	return n > 0, err
}

// PromoteGuest turns a guest into a full user; false if the user is no guest.
func (s *Accounts) PromoteGuest(ctx context.Context, tx *database.Tx, user matrix.UserID, passwordHash string) (bool, error) {
	n, err := tx.Exec(ctx, updateGuest, user, accountText(passwordHash))
	return n > 0, err
}

// accountText is a text column that is NULL instead of empty.
func accountText(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
