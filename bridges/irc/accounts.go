package irc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"trestle/bridges/vault"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	selectAccounts = database.SQL(`
		SELECT network, user_id, username, nick, password, certificate, external
		FROM irc_accounts
		ORDER BY network, user_id
		LIMIT 10000000`)
	upsertAccount = database.SQL(`
		INSERT INTO irc_accounts (network, user_id, username, nick, password, certificate, external)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (network, user_id) DO UPDATE
		SET username = excluded.username, nick = excluded.nick, password = excluded.password,
			certificate = excluded.certificate, external = excluded.external`)
	deleteAccount = database.SQL(`
		DELETE FROM irc_accounts
		WHERE network = $1
		AND user_id = $2`)
)

// errLocked means that a user has a secret that the bridge cannot read any more.
var errLocked = errors.New("the bridge has lost the key to the password or certificate that it keeps for you; store them again, or remove them (storepass, removepass, certfp)")

// An account is what a Matrix user has told the bridge about one network.
type account struct {
	username    string // empty: the nick
	nick        string // empty: the template's
	password    []byte // sealed
	certificate []byte // sealed: a key and its certificate
	external    bool   // the certificate is what logs in
}

func (a account) empty() bool {
	return a.username == "" && a.nick == "" && a.password == nil && a.certificate == nil
}

// whose is an account's key.
type whose struct {
	network string
	user    matrix.UserID
}

// accounts are those of all networks. They are safe for concurrent use.
type accounts struct {
	db    *database.DB
	vault *vault.Vault // nil: secrets can be neither stored nor read

	mu  sync.Mutex
	all map[whose]account
}

// loadAccounts reads what is stored, and seals anew what an old key has sealed. Without its
// keys the bridge works on, for those who have no secrets.
func loadAccounts(ctx context.Context, db *database.DB, keyFile string, log *slog.Logger) (*accounts, error) {
	a := &accounts{db: db, all: map[whose]account{}}
	if keyFile != "" {
		var err error
		if a.vault, err = vault.Open(keyFile); err != nil {
			log.Error("passwords and certificates of users cannot be used", "err", err)
		}
	}
	if err := a.read(ctx); err != nil {
		return nil, fmt.Errorf("read the users' accounts: %w", err)
	}
	locked := 0
	for who, one := range a.all {
		changed, err := a.reseal(who, &one)
		if err != nil {
			locked++
		} else if changed {
			if err := a.save(ctx, who, one); err != nil {
				return nil, fmt.Errorf("seal the users' secrets anew: %w", err)
			}
		}
	}
	if locked > 0 {
		log.Error("there are users whose secrets cannot be read: they are not connected until they have stored them again", "users", locked)
	}
	return a, nil
}

func (a *accounts) read(ctx context.Context) error {
	rows, err := a.db.Read().Query(ctx, selectAccounts)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var who whose
		var one account
		if err := rows.Scan(&who.network, &who.user, &one.username, &one.nick, &one.password, &one.certificate, &one.external); err != nil {
			return err
		}
		a.all[who] = one
	}
	return rows.Err()
}

// reseal replaces what is sealed by an old key.
func (a *accounts) reseal(who whose, one *account) (changed bool, err error) {
	for place, sealed := range map[string]*[]byte{"password": &one.password, "certificate": &one.certificate} {
		if *sealed == nil || a.vault != nil && a.vault.Current(*sealed) {
			continue
		}
		secret, err := a.open(who, place, *sealed)
		if err != nil {
			return false, err
		}
		if *sealed, err = a.seal(who, place, secret); err != nil {
			return false, err
		}
		changed = true
	}
	return changed, nil
}

func place(who whose, kind string) string {
	return kind + "\x00" + who.network + "\x00" + string(who.user)
}

func (a *accounts) seal(who whose, kind string, secret []byte) ([]byte, error) {
	if a.vault == nil {
		return nil, matrix.Forbidden("The bridge cannot keep secrets at the moment. Its operators can read why in its log.")
	}
	return a.vault.Seal(secret, place(who, kind))
}

func (a *accounts) open(who whose, kind string, sealed []byte) ([]byte, error) {
	if a.vault == nil {
		return nil, errLocked
	}
	secret, err := a.vault.Open(sealed, place(who, kind))
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", errLocked, err)
	}
	return secret, nil
}

// of is a user's account on a network, an empty one if there is none.
func (a *accounts) of(who whose) account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[who]
}

// change changes an account, durably.
func (a *accounts) change(ctx context.Context, who whose, change func(*account) error) error {
	one := a.of(who)
	if err := change(&one); err != nil {
		return err
	}
	return a.save(ctx, who, one)
}

func (a *accounts) save(ctx context.Context, who whose, one account) error {
	err := a.db.Update(ctx, func(tx *database.Tx) error {
		if one.empty() {
			return tx.Queue(ctx, deleteAccount, who.network, who.user)
		}
		return tx.Queue(ctx, upsertAccount, who.network, who.user, one.username, one.nick, one.password, one.certificate, one.external)
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if one.empty() {
		delete(a.all, who)
	} else {
		a.all[who] = one
	}
	return nil
}
