package encryption_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"testing"

	"trestle/appservice"
	"trestle/homeserver/encryption"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/migrations"
)

// A keeper is services that say the same to whatever they are asked.
type keeper struct{ answer []byte }

func (keeper) Told(matrix.UserID) bool  { return true }
func (keeper) Owned(matrix.UserID) bool { return true }
func (keeper) Kept(matrix.UserID) bool  { return true }

func (k *keeper) ClaimKeys(context.Context, map[matrix.UserID]map[matrix.DeviceID][]string) []appservice.KeyAnswer {
	return []appservice.KeyAnswer{{Users: []matrix.UserID{"@a:hs"}, Body: k.answer}}
}

func (k *keeper) QueryKeys(context.Context, map[matrix.UserID][]matrix.DeviceID) []appservice.KeyAnswer {
	return []appservice.KeyAnswer{{Users: []matrix.UserID{"@a:hs"}, Body: k.answer}}
}

// Whatever a service says of keys, clients see what they have asked for and
// nothing else.
func FuzzKeptKeys(f *testing.F) {
	for _, seed := range []string{
		`{"@a:hs":{"D":{"alg:1":{"key":"k","signatures":{}},"alg:":"x","other:2":"y"}},"@b:hs":{"D":{"alg:1":"x"}}}`,
		`{"device_keys":{"@a:hs":{"D":{"user_id":"@a:hs","device_id":"D","algorithms":[],"keys":{},"signatures":{}},"E":{}}}}`,
		`{"master_keys":{"@a:hs":{"user_id":"@a:hs","usage":["master"],"keys":{"ed25519:x":"x"}},"@b:hs":{}},"user_signing_keys":{"@a:hs":{}}}`,
		`{"device_keys":null,"@a:hs":{"D":null}}`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	db, err := database.Open(context.Background(), filepath.Join(f.TempDir(), "test.db"), migrations.Homeserver, database.Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(db.Close)
	k := &keeper{}
	s := encryption.New(encryption.Options{
		ServerName: "hs", Store: storage.New(db), Keys: storage.NewEncryption(db), Notifier: quiet{}, AppServices: k,
	})
	f.Fuzz(func(t *testing.T, answer []byte) {
		k.answer = answer
		found, err := s.Query(t.Context(), "@observer:hs", encryption.Query{"@a:hs": {"D"}, "@b:hs": {}})
		if err != nil {
			t.Fatal(err)
		}
		claimed, err := s.Claim(t.Context(), encryption.Claim{"@a:hs": {"D": "alg"}, "@b:hs": {"D": "alg"}})
		if err != nil {
			t.Fatal(err)
		}
		for device := range found.DeviceKeys["@a:hs"] {
			if device != "D" {
				t.Errorf("found a device %q that was not asked for", device)
			}
		}
		if len(found.DeviceKeys) != 2 || len(found.DeviceKeys["@b:hs"])+len(found.UserSigning) > 0 || len(found.Master)+len(found.SelfSigning) > 2 {
			t.Errorf("found %+v", found)
		}
		if len(claimed.OneTimeKeys["@a:hs"]["D"]) > 1 || len(claimed.OneTimeKeys["@b:hs"]) > 0 {
			t.Errorf("claimed %+v", claimed.OneTimeKeys)
		}
		for _, answer := range []any{found, claimed} {
			if _, err := json.Marshal(answer); err != nil {
				t.Error(err)
			}
		}
	})
}
