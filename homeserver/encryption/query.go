package encryption

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// The kinds of cross-signing keys.
const (
	master      = "master"
	selfSigning = "self_signing"
	userSigning = "user_signing"
)

// A Query asks for the keys of users: of some devices, or of all if the list
// is empty.
type Query map[matrix.UserID][]matrix.DeviceID

// Found is the answer to a [Query].
type Found struct {
	Failures    map[matrix.ServerName]*matrix.Error                   `json:"failures"`
	DeviceKeys  map[matrix.UserID]map[matrix.DeviceID]json.RawMessage `json:"device_keys"`
	Master      map[matrix.UserID]json.RawMessage                     `json:"master_keys,omitempty"`
	SelfSigning map[matrix.UserID]json.RawMessage                     `json:"self_signing_keys,omitempty"`
	UserSigning map[matrix.UserID]json.RawMessage                     `json:"user_signing_keys,omitempty"`
}

// usersAtOnce bounds how many users one statement asks for.
const usersAtOnce = 500

// Query answers with the keys of local users, as an observer may see them, and
// as application services know them that keep those of their users.
// Users without keys have an empty object. Servers that cannot be asked are
// failures.
func (s *Service) Query(ctx context.Context, observer matrix.UserID, q Query) (*Found, error) {
	found := &Found{
		Failures:    map[matrix.ServerName]*matrix.Error{},
		DeviceKeys:  map[matrix.UserID]map[matrix.DeviceID]json.RawMessage{},
		Master:      map[matrix.UserID]json.RawMessage{},
		SelfSigning: map[matrix.UserID]json.RawMessage{},
		UserSigning: map[matrix.UserID]json.RawMessage{},
	}
	var users []matrix.UserID
	for user := range q {
		if !s.local(user) {
			found.Failures[user.Server()] = unreachable(user.Server())
			continue
		}
		found.DeviceKeys[user] = map[matrix.DeviceID]json.RawMessage{}
		users = append(users, user)
	}
	slices.Sort(users)
	for chunk := range slices.Chunk(users, usersAtOnce) {
		if err := s.query(ctx, observer, q, chunk, found); err != nil {
			return nil, err
		}
	}
	s.queryKept(ctx, observer, q, found)
	return found, nil
}

func unreachable(server matrix.ServerName) *matrix.Error {
	return matrix.NewError(http.StatusServiceUnavailable, "M_UNKNOWN", "%s cannot be reached.", server)
}

func (s *Service) query(ctx context.Context, observer matrix.UserID, q Query, users []matrix.UserID, found *Found) error {
	devices, err := s.keys.DeviceKeys.OfUsers(ctx, users)
	if err != nil {
		return err
	}
	own, err := s.keys.CrossSigning.OfUsers(ctx, s.store.DB.Read(), users)
	if err != nil {
		return err
	}
	signed, err := s.keys.CrossSigning.Signatures(ctx, users, observer)
	if err != nil {
		return err
	}
	signatures := bySignedKey(signed)
	for _, k := range devices {
		if wanted := q[k.User]; len(wanted) > 0 && !slices.Contains(wanted, k.Device) {
			continue
		}
		raw, err := dressed(k.JSON, signatures[signedKey{k.User, string(k.Device)}], k.DisplayName)
		if err != nil {
			return err
		}
		found.DeviceKeys[k.User][k.Device] = raw
	}
	for _, k := range own {
		switch {
		case k.Kind == master:
			public, _, err := publicKey(k.JSON)
			if err != nil {
				return err
			}
			found.Master[k.User], err = dressed(k.JSON, signatures[signedKey{k.User, public}], "")
			if err != nil {
				return err
			}
		case k.Kind == selfSigning:
			found.SelfSigning[k.User] = k.JSON
		case k.User == observer:
			found.UserSigning[k.User] = k.JSON
		}
	}
	return nil
}

// signedKey names a key that can be signed: of a device, or a master key.
type signedKey struct {
	user matrix.UserID
	key  string
}

func bySignedKey(list []storage.KeySignature) map[signedKey][]storage.KeySignature {
	by := map[signedKey][]storage.KeySignature{}
	for _, k := range list {
		name := signedKey{k.User, k.Key}
		by[name] = append(by[name], k)
	}
	return by
}

// dressed is a key with more signatures and with the name of its device.
func dressed(raw json.RawMessage, more []storage.KeySignature, displayName string) (json.RawMessage, error) {
	if len(more) == 0 && displayName == "" {
		return raw, nil
	}
	members, err := object(raw, "a stored key")
	if err != nil {
		return nil, err
	}
	if len(more) > 0 {
		signatures := map[matrix.UserID]map[matrix.KeyID]json.RawMessage{}
		if members["signatures"] != nil {
			if err := json.Unmarshal(members["signatures"], &signatures); err != nil {
				return nil, err
			}
		}
		for _, k := range more {
			if signatures[k.Signer] == nil {
				signatures[k.Signer] = map[matrix.KeyID]json.RawMessage{}
			}
			if signatures[k.Signer][k.SignerKey], err = json.Marshal(k.Signature); err != nil {
				return nil, err
			}
		}
		if members["signatures"], err = json.Marshal(signatures); err != nil {
			return nil, err
		}
	}
	if displayName != "" {
		if members["unsigned"], err = json.Marshal(map[string]string{"device_display_name": displayName}); err != nil {
			return nil, err
		}
	}
	return json.Marshal(members)
}
