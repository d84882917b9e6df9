package storage

import (
	"cmp"
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An AccountQuery asks for some of the accounts, by user ID.
type AccountQuery struct {
	Contains    string // in the user ID; empty: any
	Name        string // in the local part or the display name; empty: any
	Guests      bool   // with guests
	Deactivated bool   // with those
	Admins      *bool  // only those who are, or are not
	From, Limit int64
}

var (
	accountFilter = `
		FROM accounts
		WHERE user_id LIKE $1 ESCAPE '!' AND (guest = $2 OR NOT guest) AND (deactivated = $3 OR NOT deactivated)
			AND ($4 = 0 OR admin = ($4 = 1))
			AND (user_id LIKE $5 ESCAPE '!' OR EXISTS (
				SELECT 1
				FROM user_directory d
				WHERE d.user_id = accounts.user_id AND LOWER(COALESCE(d.display_name, '')) LIKE $6 ESCAPE '!'))`
	selectAccounts = database.SQL(`
		SELECT user_id, guest, admin, deactivated, COALESCE(appservice, ''), created_at,
			(SELECT COALESCE(MAX(last_seen_at), 0) FROM devices d WHERE d.user_id = accounts.user_id)` + accountFilter + `
		ORDER BY user_id
		LIMIT $7 OFFSET $8`)
	countAccounts = database.SQL(`
		SELECT COUNT(*)` + accountFilter)
	reactivateAccount = database.SQL(`
		UPDATE accounts
		SET deactivated = FALSE, password_hash = $2
		WHERE user_id = $1 AND deactivated`)
)

// A ListedAccount is an account and when its user was last seen.
type ListedAccount struct {
	Account
	LastSeenAt int64 // Unix ms; 0: never
}

func (q AccountQuery) args() []any {
	contains, name := cmp.Or(likePattern(q.Contains), "%"), cmp.Or(likePattern(q.Name), "%")
	return []any{contains, q.Guests, q.Deactivated, choice(q.Admins), "@" + name + ":%", name}
}

// List is a page of accounts, and how many there are.
func (s *Accounts) List(ctx context.Context, q AccountQuery) (list []ListedAccount, total int64, err error) {
	if err := s.db.Read().QueryRow(ctx, countAccounts, q.args()...).Scan(&total); err != nil {
		return nil, 0, err
	}
	rows, err := s.db.Read().Query(ctx, selectAccounts, append(q.args(), q.Limit, q.From)...)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var a ListedAccount
		if err := rows.Scan(&a.UserID, &a.Guest, &a.Admin, &a.Deactivated, &a.AppService, &a.CreatedAt, &a.LastSeenAt); err != nil {
			return nil, 0, err
		}
		list = append(list, a)
	}
	return list, total, rows.Err()
}

// Reactivate reports whether there was such an account, deactivated.
func (s *Accounts) Reactivate(ctx context.Context, tx *database.Tx, user matrix.UserID, passwordHash string) (bool, error) {
	n, err := tx.Exec(ctx, reactivateAccount, user, accountText(passwordHash))
	return n > 0, err
}
