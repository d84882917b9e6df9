package encryption

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"trestle/appservice"
	"trestle/internal/matrix"
)

// What is here is the keys that application services keep by themselves.

// claimKept asks application services for keys of which this server has none,
// and returns what nobody has answered. An answer is believed as far as it was
// asked for and has the shape of a key.
func (s *Service) claimKept(ctx context.Context, claims []claim, claimed *Claimed) (left []claim) {
	wanted := map[matrix.UserID]map[matrix.DeviceID][]string{}
	for _, c := range claims {
		if wanted[c.user] == nil {
			wanted[c.user] = map[matrix.DeviceID][]string{}
		}
		wanted[c.user][c.device] = append(wanted[c.user][c.device], c.algorithm)
	}
	kept := map[matrix.UserID]map[matrix.DeviceID]map[string]json.RawMessage{}
	for _, answer := range s.options.AppServices.ClaimKeys(ctx, wanted) {
		var body map[matrix.UserID]map[matrix.DeviceID]map[string]json.RawMessage
		if json.Unmarshal(answer.Body, &body) != nil {
			continue
		}
		for _, user := range answer.Users {
			kept[user] = body[user]
		}
	}
	for _, c := range claims {
		if h, ok := keptKey(c, kept[c.user][c.device]); ok {
			claimed.add(h)
		} else {
			left = append(left, c)
		}
	}
	return left
}

// keptKey is the first key of the right algorithm that is one.
func keptKey(c claim, keys map[string]json.RawMessage) (handout, bool) {
	names := make([]string, 0, len(keys))
	for name := range keys {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		algorithm, _, err := splitKeyName(name)
		if err == nil && algorithm == c.algorithm && checkOneTimeKey(keys[name]) == nil {
			return handout{claim: c, key: matrix.KeyID(name), json: keys[name]}, true
		}
	}
	return handout{}, false
}

// queryKept lays what application services know of their users' keys over what
// is known here, device by device.
func (s *Service) queryKept(ctx context.Context, observer matrix.UserID, q Query, found *Found) {
	wanted := map[matrix.UserID][]matrix.DeviceID{}
	for user := range found.DeviceKeys {
		if s.options.AppServices.Kept(user) {
			wanted[user] = append([]matrix.DeviceID{}, q[user]...)
		}
	}
	if len(wanted) == 0 {
		return
	}
	for _, answer := range s.options.AppServices.QueryKeys(ctx, wanted) {
		found.overlay(answer, observer, q)
	}
}

// overlay takes in an answer as far as it was asked for and has the shape of
// keys.
func (f *Found) overlay(answer appservice.KeyAnswer, observer matrix.UserID, q Query) {
	var body struct {
		DeviceKeys  map[matrix.UserID]map[matrix.DeviceID]json.RawMessage `json:"device_keys"`
		Master      map[matrix.UserID]json.RawMessage                     `json:"master_keys"`
		SelfSigning map[matrix.UserID]json.RawMessage                     `json:"self_signing_keys"`
		UserSigning map[matrix.UserID]json.RawMessage                     `json:"user_signing_keys"`
	}
	if json.Unmarshal(answer.Body, &body) != nil {
		return
	}
	for _, user := range answer.Users {
		for device, raw := range body.DeviceKeys[user] {
			if wanted := q[user]; len(wanted) > 0 && !slices.Contains(wanted, device) {
				continue
			}
			var u Upload
			if u.readDeviceKeys(raw) == nil && u.owner.User == user && u.owner.Device == device {
				f.DeviceKeys[user][device] = raw
			}
		}
		take := func(into map[matrix.UserID]json.RawMessage, from map[matrix.UserID]json.RawMessage) {
			if isKeyOf(user, from[user]) {
				into[user] = from[user]
			}
		}
		take(f.Master, body.Master)
		take(f.SelfSigning, body.SelfSigning)
		if user == observer {
			take(f.UserSigning, body.UserSigning)
		}
	}
}

// isKeyOf reports whether this is a cross-signing key of a user, as far as
// clients can use it.
func isKeyOf(user matrix.UserID, raw json.RawMessage) bool {
	var key struct {
		User  matrix.UserID     `json:"user_id"`
		Usage []string          `json:"usage"`
		Keys  map[string]string `json:"keys"`
	}
	if len(raw) > maxDeviceKeysSize || json.Unmarshal(raw, &key) != nil || key.User != user || len(key.Keys) != 1 {
		return false
	}
	for name := range key.Keys {
		return strings.HasPrefix(name, "ed25519:") && len(key.Usage) > 0
	}
	return false
}
