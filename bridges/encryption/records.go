package encryption

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"trestle/bridges/vault"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The kinds of records.
const (
	kindDevice   = "device"   // which device of its owner we are
	kindAccount  = "account"  // the device's own keys
	kindIdentity = "identity" // the owner's own keys, which sign devices
	kindSession  = "session"  // with another device; name: that one's key, part: the session's ID
	kindHash     = "hash"     // of a message that was opened; name: the hash
	kindOutbound = "outbound" // what we encrypt with; name: the room
	kindInbound  = "inbound"  // what others do; of all devices; name: the room, part: session and user
	kindWithheld = "withheld" // that there is no such key for us; as kindInbound
	kindIndex    = "index"    // which event was encrypted at a place; name: the session, part: the place
)

// How long records are kept after they were last written.
var lifetimes = map[string]time.Duration{
	kindHash: 90 * 24 * time.Hour, kindWithheld: 30 * 24 * time.Hour, kindIndex: 400 * 24 * time.Hour,
	kindInbound: 400 * 24 * time.Hour, kindSession: 400 * 24 * time.Hour,
}

var (
	selectRecord = database.SQL(`
		SELECT value
		FROM encryption_records
		WHERE owner = $1
		AND kind = $2
		AND name = $3
		AND part = $4`)
	selectParts = database.SQL(`
		SELECT part, value
		FROM encryption_records
		WHERE owner = $1
		AND kind = $2
		AND name = $3
		ORDER BY part
		LIMIT 1000`)
	upsertRecord = database.SQL(`
		INSERT INTO encryption_records (owner, kind, name, part, value, written_at)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (owner, kind, name, part) DO UPDATE
		SET value = excluded.value, written_at = excluded.written_at`)
	insertRecord = database.SQL(`
		INSERT INTO encryption_records (owner, kind, name, part, value, written_at)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (owner, kind, name, part) DO NOTHING`)
	deleteRecord = database.SQL(`
		DELETE FROM encryption_records
		WHERE owner = $1
		AND kind = $2
		AND name = $3
		AND part = $4`)
	deleteOwned = database.SQL(`
		DELETE FROM encryption_records
		WHERE owner = $1
		AND kind <> $2`)
	deleteOld = database.SQL(`
		DELETE FROM encryption_records
		WHERE kind = $1
		AND written_at < $2`)
	selectDevices = database.SQL(`
		SELECT owner, value
		FROM encryption_records
		WHERE kind = 'device'
		ORDER BY owner
		LIMIT 10000000`)
	insertSecret = database.SQL(`
		INSERT INTO settings (name, value)
		VALUES ('encryption_key', $1)
		ON CONFLICT (name) DO NOTHING`)
	updateSecret = database.SQL(`
		UPDATE settings
		SET value = $1
		WHERE name = 'encryption_key'`)
	selectSecret = database.SQL(`
		SELECT value
		FROM settings
		WHERE name = 'encryption_key'`)
)

// place is what the key to all secrets is sealed for.
const place = "encryption_key"

// loadKey opens the key to the secrets in the records, or makes it. One that is sealed with an
// old key of the vault is sealed anew.
func loadKey(ctx context.Context, db *database.DB, keys *vault.Vault) ([]byte, error) {
	if keys == nil {
		return nil, errors.New("there is no key file")
	}
	fresh, err := keys.Seal([]byte(rand.Text()+rand.Text()), place)
	if err != nil {
		return nil, err
	}
	var stored string
	err = db.Update(ctx, func(tx *database.Tx) error {
		if err := tx.Queue(ctx, insertSecret, base64.StdEncoding.EncodeToString(fresh)); err != nil {
			return err
		}
		return tx.QueryRow(ctx, selectSecret).Scan(&stored)
	})
	if err != nil {
		return nil, err
	}
	sealed, err := base64.StdEncoding.DecodeString(stored)
	if err != nil {
		return nil, fmt.Errorf("the stored key: %w", err)
	}
	key, err := keys.Open(sealed, place)
	if err != nil || keys.Current(sealed) {
		return key, err
	}
	if sealed, err = keys.Seal(key, place); err != nil {
		return nil, err
	}
	return key, db.Update(ctx, func(tx *database.Tx) error {
		return tx.Queue(ctx, updateSecret, base64.StdEncoding.EncodeToString(sealed))
	})
}

// errRecords means that the database was not there.
var errRecords = errors.New("what the bridge's devices know could not be read or written")

// A recordKey names a record of a device, or of all.
type recordKey struct{ owner, kind, name, part string }

func (k recordKey) args(more ...any) []any {
	return append([]any{k.owner, k.kind, k.name, k.part}, more...)
}

// work is what has been changed and not committed yet. Whoever reads sees it.
type work struct {
	db *database.DB

	mu      sync.Mutex
	changed map[recordKey][]byte // nil: removed
}

func (w *work) get(ctx context.Context, k recordKey, into any) (found bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	w.mu.Lock()
	value, changed := w.changed[k]
	w.mu.Unlock()
	if !changed {
		err := w.db.Read().QueryRow(ctx, selectRecord, k.args()...).Scan(&value)
		if errors.Is(err, database.ErrNoRows) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("%w: %w", errRecords, err)
		}
	}
	if value == nil {
		return false, nil
	}
	return true, json.Unmarshal(value, into)
}

// list is the parts of a name.
func (w *work) list(ctx context.Context, k recordKey) (map[string][]byte, error) {
	rows, err := w.db.Read().Query(ctx, selectParts, k.owner, k.kind, k.name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errRecords, err)
	}
	defer rows.Close()
	parts := map[string][]byte{}
	for rows.Next() {
		var part string
		var value []byte
		if err := rows.Scan(&part, &value); err != nil {
			return nil, err
		}
		parts[part] = value
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for changed, value := range w.changed {
		switch {
		case changed.owner != k.owner || changed.kind != k.kind || changed.name != k.name:
		case value == nil:
			delete(parts, changed.part)
		default:
			parts[changed.part] = value
		}
	}
	return parts, rows.Err()
}

func (w *work) put(ctx context.Context, k recordKey, value any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, text := range []string{k.name, k.part} {
		if !storable(text) {
			return fmt.Errorf("%.20q cannot name a record", text)
		}
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed[k] = raw
	return nil
}

func (w *work) remove(k recordKey) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed[k] = nil
}

// commit makes all changes durable, and with them what also writes.
func (w *work) commit(ctx context.Context, also func(*database.Tx) error) error {
	w.mu.Lock()
	changed := maps.Clone(w.changed)
	w.mu.Unlock()
	if len(changed) == 0 && also == nil {
		return nil
	}
	now := time.Now().UnixMilli()
	err := w.db.Update(ctx, func(tx *database.Tx) error {
		for k, value := range changed {
			var err error
			if value == nil {
				err = tx.Queue(ctx, deleteRecord, k.args()...)
			} else {
				err = tx.Queue(ctx, upsertRecord, k.args(value, now)...)
			}
			if err != nil {
				return err
			}
		}
		if also == nil {
			return nil
		}
		return also(tx)
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errRecords, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range changed {
		delete(w.changed, k)
	}
	return nil
}

// prune forgets what nobody will need again.
func prune(ctx context.Context, db *database.DB) error {
	return db.Update(ctx, func(tx *database.Tx) error {
		for kind, lifetime := range lifetimes {
			if err := tx.Queue(ctx, deleteOld, kind, time.Now().Add(-lifetime).UnixMilli()); err != nil {
				return err
			}
		}
		return nil
	})
}

// loadDevices is which devices we have.
func loadDevices(ctx context.Context, db *database.DB) (map[matrix.UserID]matrix.DeviceID, error) {
	rows, err := db.Read().Query(ctx, selectDevices)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	devices := map[matrix.UserID]matrix.DeviceID{}
	for rows.Next() {
		var user matrix.UserID
		var value []byte
		var made deviceRecord
		if err := rows.Scan(&user, &value); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(value, &made); err != nil {
			return nil, err
		}
		devices[user] = made.ID
	}
	return devices, rows.Err()
}
