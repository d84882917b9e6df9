package federation

import (
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"

	"trestle/internal/matrix"
)

// FuzzKeyAnswer takes keys from answers of strangers: only good ones, and only those of the server that was asked.
func FuzzKeyAnswer(f *testing.F) {
	key, err := matrix.ParseSigningKey("ed25519 1 " + matrix.Base64(make([]byte, ed25519.SeedSize)))
	if err != nil {
		f.Fatal(err)
	}
	raw, _ := json.Marshal(map[string]any{
		"server_name": "a.example", "valid_until_ts": int64(2e12), "verify_keys": map[string]any{"ed25519:1": map[string]any{"key": matrix.Base64(key.Public())}},
		"old_verify_keys": map[string]any{"ed25519:0": map[string]any{"key": matrix.Base64(key.Public()), "expired_ts": 1e12}},
	})
	signed, err := matrix.SignJSON(raw, "a.example", key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(signed)
	f.Add([]byte(`{"server_name":"a.example","verify_keys":{"":{}},"signatures":{"a.example":{"":1}}}`))
	now := time.UnixMilli(1_900_000_000_000)
	f.Fuzz(func(t *testing.T, raw []byte) {
		answer, keys, err := parseKeyAnswer(raw, "a.example", now)
		if err != nil {
			return
		}
		current := 0
		for _, k := range keys {
			if !validKeyID(k.ID) || len(k.Public) != ed25519.PublicKeySize || k.ValidUntil > now.Add(longestKey).UnixMilli() {
				t.Errorf("%+v", k)
			}
			if k.Current {
				current++
				if err := matrix.VerifyJSON(answer.Answer, "a.example", k.ID, k.Public); err != nil {
					t.Error(err)
				}
			}
		}
		if current == 0 || len(keys) > maxKeys {
			t.Errorf("%d keys, %d in use", len(keys), current)
		}
	})
}
