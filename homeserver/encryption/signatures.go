package encryption

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// maxSignatures bounds the keys of one upload of signatures.
const maxSignatures = 1000

// SignedKeys is the body of /keys/signatures/upload: keys with signatures, by
// user and by the device's ID or the master key.
type SignedKeys map[matrix.UserID]map[string]json.RawMessage

// SignatureFailures says which signatures were not taken, and why.
type SignatureFailures map[matrix.UserID]map[string]*matrix.Error

// AddSignatures stores signatures that a local user has made: with the
// self-signing key on own devices, with a device on the own master key, and
// with the user-signing key on master keys of others. Each key has to be the
// one that is stored here, but for its signatures.
func (s *Service) AddSignatures(ctx context.Context, signer matrix.UserID, signed SignedKeys) (SignatureFailures, error) {
	total := 0
	var users []matrix.UserID
	for user, keys := range signed {
		total += len(keys)
		if s.local(user) && user != signer {
			users = append(users, user)
		}
	}
	if total > maxSignatures {
		return nil, matrix.TooLarge("At most %d keys can be signed at one time.", maxSignatures)
	}
	known, err := s.verifier(ctx, signer, users)
	if err != nil {
		return nil, err
	}
	failures := SignatureFailures{}
	var good []storage.KeySignature
	for user, keys := range signed {
		for key, raw := range keys {
			made, err := known.check(user, key, raw)
			if err != nil {
				if failures[user] == nil {
					failures[user] = map[string]*matrix.Error{}
				}
				failures[user][key] = err
			}
			good = append(good, made...)
		}
	}
	if len(good) == 0 {
		return failures, nil
	}
	return failures, s.store.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.keys.CrossSigning.Sign(ctx, tx, good); err != nil {
			return err
		}
		return s.signed(ctx, tx, signer, good)
	})
}

// signed notes whose device lists look different now: to everybody, if own
// keys were signed, and to the signer alone, if those of others were.
func (s *Service) signed(ctx context.Context, tx *database.Tx, signer matrix.UserID, made []storage.KeySignature) error {
	var users []matrix.UserID
	for _, k := range made {
		users = append(users, k.User)
	}
	slices.Sort(users)
	for _, user := range slices.Compact(users) {
		observer := signer
		if user == signer {
			observer = ""
		}
		if err := s.listChanged(ctx, tx, user, observer); err != nil {
			return err
		}
	}
	return nil
}

// A verifier knows the stored keys by which signatures are judged.
type verifier struct {
	signer  matrix.UserID
	own     [3]json.RawMessage
	devices map[matrix.DeviceID]json.RawMessage // of the signer
	masters map[matrix.UserID]json.RawMessage   // of others
}

func (s *Service) verifier(ctx context.Context, signer matrix.UserID, others []matrix.UserID) (*verifier, error) {
	v := &verifier{signer: signer, devices: map[matrix.DeviceID]json.RawMessage{}, masters: map[matrix.UserID]json.RawMessage{}}
	var err error
	if v.own, err = s.crossSigningKeys(ctx, s.store.DB.Read(), signer); err != nil {
		return nil, err
	}
	devices, err := s.keys.DeviceKeys.OfUsers(ctx, []matrix.UserID{signer})
	if err != nil {
		return nil, err
	}
	for _, k := range devices {
		v.devices[k.Device] = k.JSON
	}
	list, err := s.keys.CrossSigning.OfUsers(ctx, s.store.DB.Read(), others)
	if err != nil {
		return nil, err
	}
	for _, k := range list {
		if k.Kind == master {
			v.masters[k.User] = k.JSON
		}
	}
	return v, nil
}

// check returns the signatures that the signer has made on a key.
func (v *verifier) check(user matrix.UserID, key string, raw json.RawMessage) ([]storage.KeySignature, *matrix.Error) {
	stored, keyFor := v.lookUp(user, key)
	if stored == nil {
		return nil, matrix.NotFound("There is no such key here.")
	}
	canonical, err := matrix.CanonicalJSON(raw)
	if err != nil {
		return nil, matrix.BadJSON("The key is malformed.")
	}
	if !bytes.Equal(withoutSignatures(canonical), withoutSignatures(stored)) {
		return nil, matrix.InvalidParam("The key is not the one that is stored here.")
	}
	var signed struct {
		Signatures map[matrix.UserID]map[matrix.KeyID]string `json:"signatures"`
	}
	if json.Unmarshal(canonical, &signed) != nil {
		return nil, matrix.BadJSON("The signatures are malformed.")
	}
	var made []storage.KeySignature
	for id, signature := range signed.Signatures[v.signer] {
		public := keyFor(id)
		if public == nil {
			continue // such as the device's own signature, which is stored with it
		}
		if matrix.VerifyJSON(canonical, matrix.ServerName(v.signer), id, public) != nil {
			return nil, invalidSignature("The signature by %s is wrong.", id)
		}
		made = append(made, storage.KeySignature{User: user, Key: key, Signer: v.signer, SignerKey: id, Signature: signature})
	}
	if len(made) == 0 {
		return nil, invalidSignature("There is no signature by a key that may sign this.")
	}
	return made, nil
}

// lookUp is a stored key, and which keys of the signer may sign it.
func (v *verifier) lookUp(user matrix.UserID, key string) (stored json.RawMessage, keyFor func(matrix.KeyID) ed25519.PublicKey) {
	if user != v.signer {
		return whose(v.masters[user], key), v.crossSigningKey(userSigning)
	}
	if own := whose(v.own[0], key); own != nil {
		return own, v.deviceKey
	}
	return v.devices[matrix.DeviceID(key)], v.crossSigningKey(selfSigning)
}

// whose is a master key if it is the one of that name, else nil.
func whose(raw json.RawMessage, name string) json.RawMessage {
	if raw == nil {
		return nil
	}
	if public, _, err := publicKey(raw); err != nil || public != name {
		return nil
	}
	return raw
}

func (v *verifier) crossSigningKey(kind string) func(matrix.KeyID) ed25519.PublicKey {
	raw := v.own[slices.Index(kinds[:], kind)]
	if raw == nil {
		return func(matrix.KeyID) ed25519.PublicKey { return nil }
	}
	name, public, err := publicKey(raw)
	return func(id matrix.KeyID) ed25519.PublicKey {
		if err != nil || id != matrix.KeyID("ed25519:"+name) {
			return nil
		}
		return public
	}
}

// deviceKey is the key with which one of the signer's devices signs, or nil.
func (v *verifier) deviceKey(id matrix.KeyID) ed25519.PublicKey {
	raw := v.devices[deviceKeyID(id)]
	if raw == nil {
		return nil
	}
	var keys deviceKeys
	if json.Unmarshal(raw, &keys) != nil {
		return nil
	}
	public, err := decodePublicKey(keys.Keys[string(id)])
	if err != nil {
		return nil
	}
	return public
}
