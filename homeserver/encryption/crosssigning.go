package encryption

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// maxCrossSigningKeySize bounds one key with its signatures, in bytes.
const maxCrossSigningKeySize = 16 << 10

// CrossSigningKeys is the body of /keys/device_signing/upload, checked as far
// as that goes without knowing what is stored. Each key is canonical; nil is none.
type CrossSigningKeys struct {
	keys [3]json.RawMessage // by the order of kinds
}

// kinds are the kinds of cross-signing keys; the first signs the others.
var kinds = [3]string{master, selfSigning, userSigning}

// ParseCrossSigningKeys reads the body of /keys/device_signing/upload of a user.
func ParseCrossSigningKeys(user matrix.UserID, body []byte) (*CrossSigningKeys, error) {
	members, err := object(body, "The body")
	if err != nil {
		return nil, err
	}
	var k CrossSigningKeys
	for i, kind := range kinds {
		raw := present(members, kind+"_key")
		if raw == nil {
			continue
		}
		if raw, err = matrix.CanonicalJSON(raw); err != nil {
			return nil, err
		}
		if len(raw) > maxCrossSigningKeySize {
			return nil, matrix.TooLarge("%s_key has more than %d bytes.", kind, maxCrossSigningKeySize)
		}
		if err := checkCrossSigningKey(user, kind, raw); err != nil {
			return nil, err
		}
		k.keys[i] = raw
	}
	return &k, nil
}

func checkCrossSigningKey(user matrix.UserID, kind string, raw json.RawMessage) error {
	what := kind + "_key"
	if _, err := object(raw, what); err != nil {
		return err
	}
	var key struct {
		User       matrix.UserID                `json:"user_id"`
		Usage      []string                     `json:"usage"`
		Signatures map[string]map[string]string `json:"signatures"`
	}
	if json.Unmarshal(raw, &key) != nil {
		return matrix.BadJSON("%s is malformed.", what)
	}
	if key.User != user {
		return matrix.InvalidParam("The user_id of %s must be yours.", what)
	}
	if !slices.Contains(key.Usage, kind) {
		return matrix.InvalidParam("The usage of %s must contain %s.", what, kind)
	}
	if _, _, err := publicKey(raw); err != nil {
		return matrix.InvalidParam("%s must have exactly one key, ed25519 and the public key in unpadded base64.", what)
	}
	return nil
}

// publicKey is the key that a cross-signing key consists of, in base64 and
// decoded.
func publicKey(raw json.RawMessage) (string, ed25519.PublicKey, error) {
	var key struct {
		Keys map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(raw, &key); err != nil {
		return "", nil, err
	}
	for name, encoded := range key.Keys {
		public, err := decodePublicKey(encoded)
		if len(key.Keys) == 1 && err == nil && name == "ed25519:"+encoded {
			return encoded, public, nil
		}
	}
	return "", nil, matrix.InvalidParam("This is no cross-signing key.")
}

func decodePublicKey(encoded string) (ed25519.PublicKey, error) {
	public, err := matrix.DecodeBase64(encoded)
	if err != nil || len(public) != ed25519.PublicKeySize {
		return nil, matrix.InvalidParam("%.80q is no ed25519 key.", encoded)
	}
	return public, nil
}

// SetCrossSigningKeys stores cross-signing keys of a local user. confirm is
// asked, before anything is written, if the user has a master key already and
// a key is new: whoever holds only an access token must not replace it
// (Client-Server API § Cross-signing).
func (s *Service) SetCrossSigningKeys(ctx context.Context, user matrix.UserID, k *CrossSigningKeys, confirm func() error) error {
	stored, err := s.crossSigningKeys(ctx, s.store.DB.Read(), user)
	if err != nil {
		return err
	}
	fresh := k.without(stored)
	if fresh == (crossSigningNews{}) {
		return nil
	}
	if stored[0] != nil {
		if err := confirm(); err != nil {
			return err
		}
	}
	if err := s.checkSignatures(ctx, user, k, stored); err != nil {
		return err
	}
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		now, err := s.crossSigningKeys(ctx, tx, user)
		if err != nil {
			return err
		}
		if !bytes.Equal(now[0], stored[0]) {
			return matrix.Forbidden("The master key was changed at the same time.")
		}
		return s.writeCrossSigningKeys(ctx, tx, user, k, fresh)
	})
}

// crossSigningNews tells which keys differ from those that are stored.
type crossSigningNews [3]bool

func (k *CrossSigningKeys) without(stored [3]json.RawMessage) (fresh crossSigningNews) {
	for i, key := range k.keys {
		fresh[i] = key != nil && (stored[i] == nil || !sameKey(stored[i], key))
	}
	return fresh
}

// crossSigningKeys is what is stored of a user.
func (s *Service) crossSigningKeys(ctx context.Context, q database.Querier, user matrix.UserID) (stored [3]json.RawMessage, err error) {
	list, err := s.keys.CrossSigning.OfUsers(ctx, q, []matrix.UserID{user})
	for _, k := range list {
		stored[slices.Index(kinds[:], k.Kind)] = k.JSON
	}
	return stored, err
}

// checkSignatures checks that the master key, given or stored, has signed the
// others, and that no key is named like a device.
func (s *Service) checkSignatures(ctx context.Context, user matrix.UserID, k *CrossSigningKeys, stored [3]json.RawMessage) error {
	root := k.keys[0]
	if root == nil {
		root = stored[0]
	}
	if root == nil {
		return matrix.MissingParam("There is no master key.")
	}
	name, public, err := publicKey(root)
	if err != nil {
		return err
	}
	for i, key := range k.keys {
		if key == nil {
			continue
		}
		own, _, err := publicKey(key)
		if err != nil {
			return err
		}
		taken, err := s.keys.DeviceKeys.DeviceExists(ctx, s.store.DB.Read(), user, matrix.DeviceID(own))
		if err != nil {
			return err
		}
		if taken {
			return matrix.Forbidden("%s_key is the ID of one of your devices.", kinds[i])
		}
		if i > 0 && matrix.VerifyJSON(key, matrix.ServerName(user), matrix.KeyID("ed25519:"+name), public) != nil {
			return invalidSignature("%s_key is not signed by the master key.", kinds[i])
		}
	}
	return nil
}

func invalidSignature(format string, args ...any) *matrix.Error {
	return matrix.NewError(http.StatusBadRequest, "M_INVALID_SIGNATURE", format, args...)
}

func (s *Service) writeCrossSigningKeys(ctx context.Context, tx *database.Tx, user matrix.UserID, k *CrossSigningKeys, fresh crossSigningNews) error {
	if fresh[0] {
		// What the old master key has signed is worth nothing any more.
		if err := s.keys.CrossSigning.Delete(ctx, tx, user, selfSigning, userSigning); err != nil {
			return err
		}
	}
	for i, key := range k.keys {
		if key != nil {
			if err := s.keys.CrossSigning.Set(ctx, tx, storage.CrossSigningKey{User: user, Kind: kinds[i], JSON: key}); err != nil {
				return err
			}
		}
	}
	if fresh[0] || fresh[1] {
		return s.listChanged(ctx, tx, user, "")
	}
	return s.listChanged(ctx, tx, user, user) // nobody else sees the user-signing key
}

// deviceKeyID is the ID of the device whose key has that ID, or empty.
func deviceKeyID(id matrix.KeyID) matrix.DeviceID {
	device, found := strings.CutPrefix(string(id), "ed25519:")
	if !found {
		return ""
	}
	return matrix.DeviceID(device)
}
