package encryption_test

import (
	"encoding/json"
	"strings"
	"testing"

	"trestle/homeserver/encryption"
	"trestle/internal/matrix"
)

const upload = `{
	"device_keys": {
		"user_id": "@a:x", "device_id": "D", "algorithms": ["m.olm"], "unsigned": {"name": "x"},
		"keys": {"ed25519:D": "k"}, "signatures": {"@a:x": {"ed25519:D": "s"}}
	},
	"one_time_keys": {"b:2": "two", "a:1": {"signatures": {}, "key": "one"}},
	"fallback_keys": {"a:3": {"key": "three", "signatures": {"@a:x": {"ed25519:D": "s"}}, "fallback": true}}
}`

func TestParseUpload(t *testing.T) {
	u, err := encryption.ParseUpload([]byte(upload))
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"algorithms":["m.olm"],"device_id":"D","keys":{"ed25519:D":"k"},"signatures":{"@a:x":{"ed25519:D":"s"}},"user_id":"@a:x"}`; string(u.DeviceKeys) != want {
		t.Errorf("device keys %s, want %s", u.DeviceKeys, want)
	}
	if len(u.OneTimeKeys) != 2 || u.OneTimeKeys[0].Algorithm != "a" || u.OneTimeKeys[0].ID != "1" || string(u.OneTimeKeys[1].JSON) != `"two"` {
		t.Errorf("one-time keys %v", u.OneTimeKeys)
	}
	if len(u.FallbackKeys) != 1 || u.FallbackKeys[0].ID != "3" {
		t.Errorf("fallback keys %v", u.FallbackKeys)
	}
	for _, empty := range []string{`{}`, `{"device_keys":null,"one_time_keys":null,"fallback_keys":null}`, `{"Device_Keys":1}`} {
		u, err := encryption.ParseUpload([]byte(empty))
		if err != nil || u.DeviceKeys != nil || len(u.OneTimeKeys)+len(u.FallbackKeys) > 0 {
			t.Errorf("%s: %v, %v", empty, u, err)
		}
	}
}

// Whatever comes, it is refused with an error of Matrix or is fit to be given
// to clients.
func FuzzParseUpload(f *testing.F) {
	f.Add([]byte(upload))
	f.Add([]byte(`{"one_time_keys":{"signed_curve25519:AAAA":{"key":"k","signatures":{"@a:x":{"ed25519:D":"s"}}}}}`))
	f.Add([]byte(`{"org.matrix.msc2732.fallback_keys":{"a:b":"c"}}`))
	f.Add([]byte(`{"device_keys":{"user_id":null}}`))
	f.Add([]byte(`{"one_time_keys":{"a:b":"\ud800"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		u, err := encryption.ParseUpload(body)
		if err != nil {
			if matrix.Code(err) == "" {
				t.Errorf("%s: an error for the log, not for clients: %v", body, err)
			}
			return
		}
		if u.DeviceKeys != nil {
			again, err := matrix.CanonicalJSON(u.DeviceKeys)
			if err != nil || string(again) != string(u.DeviceKeys) {
				t.Errorf("device keys are not canonical: %s", u.DeviceKeys)
			}
			reparsed, err := encryption.ParseUpload([]byte(`{"device_keys":` + string(u.DeviceKeys) + `}`))
			if err != nil || string(reparsed.DeviceKeys) != string(u.DeviceKeys) {
				t.Errorf("device keys are not what they were: %v", err)
			}
		}
		for _, k := range append(u.OneTimeKeys, u.FallbackKeys...) {
			if k.Algorithm == "" || k.ID == "" || strings.Contains(k.Algorithm, ":") || !json.Valid(k.JSON) || k.JSON[0] != '"' && k.JSON[0] != '{' {
				t.Errorf("key %q %q %s", k.Algorithm, k.ID, k.JSON)
			}
		}
	})
}

func FuzzParseCrossSigningKeys(f *testing.F) {
	f.Add([]byte(`{"master_key":{"user_id":"@a:x","usage":["master"],"keys":{"ed25519:k":"k"}},"auth":{}}`))
	f.Add([]byte(`{"self_signing_key":null,"user_signing_key":{"usage":null}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := encryption.ParseCrossSigningKeys("@a:x", body); err != nil && matrix.Code(err) == "" {
			t.Errorf("%s: an error for the log, not for clients: %v", body, err)
		}
	})
}
