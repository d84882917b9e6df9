package storage

import (
	"context"
	"encoding/json"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// CrossSigning holds users' cross-signing keys, and signatures on keys that
// were made after the keys.
type CrossSigning struct{ db *database.DB }

// A CrossSigningKey is one of the three keys of a user.
type CrossSigningKey struct {
	User matrix.UserID
	Kind string // master, self_signing or user_signing
	JSON json.RawMessage
}

// A KeySignature is a signature on the keys of a device, or on a master key.
type KeySignature struct {
	User      matrix.UserID // whose key is signed
	Key       string        // a device's ID, or the master key without its algorithm
	Signer    matrix.UserID
	SignerKey matrix.KeyID
	Signature string
}

var (
	upsertCrossSigningKey = database.SQL(`
		INSERT INTO cross_signing_keys (user_id, kind, json)
		VALUES ($1, $2, $3)
		ON CONFLICT (user_id, kind) DO UPDATE
		SET json = excluded.json`)
	selectCrossSigningKeys = database.SQL(`
		SELECT user_id, kind, json
		FROM cross_signing_keys
		WHERE user_id = ANY($1)
		ORDER BY user_id, kind
		LIMIT 100000`)
	deleteCrossSigningKeys = database.SQL(`
		DELETE FROM cross_signing_keys
		WHERE user_id = $1 AND kind = ANY($2)`)
	upsertKeySignature = database.SQL(`
		INSERT INTO key_signatures (user_id, key_id, signer, signer_key, signature)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_id, key_id, signer, signer_key) DO UPDATE
		SET signature = excluded.signature`)
	// What owners sign is for everybody, what others sign is for them alone.
	selectKeySignatures = database.SQL(`
		SELECT user_id, key_id, signer, signer_key, signature
		FROM key_signatures
		WHERE user_id = ANY($1) AND (signer = user_id OR signer = $2)
		ORDER BY user_id, key_id, signer, signer_key
		LIMIT 100000`)
	deleteKeySignatures = database.SQL(`
		DELETE FROM key_signatures
		WHERE user_id = $1 AND key_id = ANY($2)`)
	deleteKeySignaturesOfUser = database.SQL(`
		DELETE FROM key_signatures
		WHERE user_id = $1`)
)

// Set stores one of a user's keys.
func (s *CrossSigning) Set(ctx context.Context, tx *database.Tx, k CrossSigningKey) error {
	return tx.Queue(ctx, upsertCrossSigningKey, k.User, k.Kind, k.JSON)
}

// OfUsers is the keys of some users.
func (s *CrossSigning) OfUsers(ctx context.Context, q database.Querier, users []matrix.UserID) ([]CrossSigningKey, error) {
	rows, err := q.Query(ctx, selectCrossSigningKeys, users)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []CrossSigningKey
	for rows.Next() {
		var k CrossSigningKey
		var raw []byte
		if err := rows.Scan(&k.User, &k.Kind, &raw); err != nil {
			return nil, err
		}
		k.JSON = raw
		list = append(list, k)
	}
	return list, rows.Err()
}

// Delete removes some of a user's keys.
func (s *CrossSigning) Delete(ctx context.Context, tx *database.Tx, user matrix.UserID, kinds ...string) error {
	return tx.Queue(ctx, deleteCrossSigningKeys, user, kinds)
}

// Sign stores signatures.
func (s *CrossSigning) Sign(ctx context.Context, tx *database.Tx, signatures []KeySignature) error {
	rows := make([][]any, len(signatures))
	for i, k := range signatures {
		rows[i] = []any{k.User, k.Key, k.Signer, k.SignerKey, k.Signature}
	}
	return tx.ExecMany(ctx, upsertKeySignature, rows)
}

// Signatures is the signatures on keys of some users that an observer may see.
func (s *CrossSigning) Signatures(ctx context.Context, users []matrix.UserID, observer matrix.UserID) ([]KeySignature, error) {
	rows, err := s.db.Read().Query(ctx, selectKeySignatures, users, observer)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []KeySignature
	for rows.Next() {
		var k KeySignature
		if err := rows.Scan(&k.User, &k.Key, &k.Signer, &k.SignerKey, &k.Signature); err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, rows.Err()
}

// DeleteSignatures removes the signatures on some keys of a user.
func (s *CrossSigning) DeleteSignatures(ctx context.Context, tx *database.Tx, user matrix.UserID, keys []string) error {
	return tx.Queue(ctx, deleteKeySignatures, user, keys)
}

// DeleteAll removes the keys of a user and all signatures on them.
func (s *CrossSigning) DeleteAll(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	if err := s.Delete(ctx, tx, user, "master", "self_signing", "user_signing"); err != nil {
		return err
	}
	return tx.Queue(ctx, deleteKeySignaturesOfUser, user)
}
