package encryption

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// Limits of one upload.
const (
	maxDeviceKeysSize = 64 << 10 // bytes
	maxOneTimeKeySize = 8 << 10
	maxOneTimeKeys    = 1000 // that a device may have here at one time
)

// An Upload is the body of /keys/upload, checked as far as that goes without
// knowing whose it is.
type Upload struct {
	// DeviceKeys is canonical and has no unsigned; nil if there are none.
	DeviceKeys   json.RawMessage
	OneTimeKeys  []storage.OneTimeKey // ordered by algorithm and ID
	FallbackKeys []storage.OneTimeKey // at most one of each algorithm

	owner    deviceKeys
	replaces bool // in a plan: the device had other keys before
}

// deviceKeys is the members that every device's keys have.
type deviceKeys struct {
	User       matrix.UserID                `json:"user_id"`
	Device     matrix.DeviceID              `json:"device_id"`
	Algorithms []string                     `json:"algorithms"`
	Keys       map[string]string            `json:"keys"`
	Signatures map[string]map[string]string `json:"signatures"`
}

// ParseUpload reads the body of /keys/upload. M_BAD_JSON if something has the
// wrong shape.
func ParseUpload(body []byte) (*Upload, error) {
	canonical, err := matrix.CanonicalJSON(body)
	if err != nil {
		return nil, err
	}
	members, err := object(canonical, "The body")
	if err != nil {
		return nil, err
	}
	u := new(Upload)
	if raw := present(members, "device_keys"); raw != nil {
		if err := u.readDeviceKeys(raw); err != nil {
			return nil, err
		}
	}
	if u.OneTimeKeys, err = readOneTimeKeys(members, "one_time_keys"); err != nil {
		return nil, err
	}
	fallback := "fallback_keys"
	if present(members, fallback) == nil {
		fallback = "org.matrix.msc2732.fallback_keys" // before Matrix 1.2
	}
	if u.FallbackKeys, err = readOneTimeKeys(members, fallback); err != nil {
		return nil, err
	}
	for i := 1; i < len(u.FallbackKeys); i++ {
		if u.FallbackKeys[i].Algorithm == u.FallbackKeys[i-1].Algorithm {
			return nil, matrix.InvalidParam("There can be only one fallback key for %s.", u.FallbackKeys[i].Algorithm)
		}
	}
	return u, nil
}

func (u *Upload) readDeviceKeys(raw json.RawMessage) error {
	const what = "device_keys"
	members, err := object(raw, what)
	if err != nil {
		return err
	}
	for _, field := range []struct {
		name string
		kind string
		into any
	}{
		{"user_id", "a string", &u.owner.User},
		{"device_id", "a string", &u.owner.Device},
		{"algorithms", "a list of strings", &u.owner.Algorithms},
		{"keys", "an object of strings", &u.owner.Keys},
		{"signatures", "an object of objects of strings", &u.owner.Signatures},
	} {
		value := present(members, field.name)
		if value == nil {
			return matrix.BadJSON("%s.%s is missing.", what, field.name)
		}
		if json.Unmarshal(value, field.into) != nil {
			return matrix.BadJSON("%s.%s must be %s.", what, field.name, field.kind)
		}
	}
	for name := range u.owner.Keys {
		if _, _, err := splitKeyName(name); err != nil {
			return matrix.BadJSON("%s.keys: %v.", what, err)
		}
	}
	delete(members, "unsigned")
	if u.DeviceKeys, err = matrix.MarshalCanonical(members); err != nil {
		return err
	}
	if len(u.DeviceKeys) > maxDeviceKeysSize {
		return matrix.TooLarge("%s has more than %d bytes.", what, maxDeviceKeysSize)
	}
	return nil
}

// readOneTimeKeys reads one_time_keys or fallback_keys: strings, or objects
// with a key and signatures.
func readOneTimeKeys(members map[string]json.RawMessage, what string) ([]storage.OneTimeKey, error) {
	raw := present(members, what)
	if raw == nil {
		return nil, nil
	}
	named, err := object(raw, what)
	if err != nil {
		return nil, err
	}
	if len(named) > maxOneTimeKeys {
		return nil, matrix.TooLarge("%s has more than %d keys.", what, maxOneTimeKeys)
	}
	keys := make([]storage.OneTimeKey, 0, len(named))
	for name, value := range named {
		k := storage.OneTimeKey{JSON: value}
		if k.Algorithm, k.ID, err = splitKeyName(name); err != nil {
			return nil, matrix.BadJSON("%s: %v.", what, err)
		}
		if err := checkOneTimeKey(value); err != nil {
			return nil, matrix.BadJSON("%s.%s %v.", what, name, err)
		}
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b storage.OneTimeKey) int {
		return strings.Compare(a.Algorithm+":"+a.ID, b.Algorithm+":"+b.ID)
	})
	return keys, nil
}

func checkOneTimeKey(value json.RawMessage) error {
	if len(value) > maxOneTimeKeySize {
		return fmt.Errorf("has more than %d bytes", maxOneTimeKeySize)
	}
	var plain string
	if json.Unmarshal(value, &plain) == nil && value[0] == '"' {
		return nil
	}
	members, err := object(value, "")
	if err != nil {
		return fmt.Errorf("must be a string or an object")
	}
	if json.Unmarshal(members["key"], &plain) != nil || members["key"][0] != '"' {
		return fmt.Errorf("must have a string for its key")
	}
	var signatures map[string]map[string]string
	if json.Unmarshal(members["signatures"], &signatures) != nil || signatures == nil {
		return fmt.Errorf("must have an object of objects of strings for its signatures")
	}
	return nil
}

// splitKeyName splits "algorithm:id".
func splitKeyName(name string) (algorithm, id string, err error) {
	algorithm, id, found := strings.Cut(name, ":")
	if !found || algorithm == "" || id == "" || !isName(name) {
		return "", "", fmt.Errorf("%.80q is not an algorithm, a colon and an ID", name)
	}
	return algorithm, id, nil
}

// isName reports whether a text may name a key, a device or a session: it is
// not too long, and all databases can store it.
func isName(s string) bool {
	return len(s) <= matrix.MaxIDLength && strings.IndexByte(s, 0) < 0
}

// object is the members of a JSON object. Unlike decoding into a struct this
// heeds upper and lower case.
func object(raw json.RawMessage, what string) (map[string]json.RawMessage, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || members == nil {
		return nil, matrix.BadJSON("%s must be an object.", what)
	}
	return members, nil
}

// present is a member, or nil if it is missing or null.
func present(members map[string]json.RawMessage, name string) json.RawMessage {
	if value := members[name]; string(value) != "null" {
		return value
	}
	return nil
}
