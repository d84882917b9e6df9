package encryption

import (
	"encoding/json"
	"testing"

	"trestle/internal/matrix"
)

func FuzzDehydrated(f *testing.F) {
	f.Add("KEPT", []byte(`{"algorithm":"x"}`), []byte(`{"device_keys":{"user_id":"@a:b","device_id":"KEPT","algorithms":[],"keys":{},"signatures":{}}}`))
	f.Fuzz(func(t *testing.T, id string, data, body []byte) {
		keys, err := ParseUpload(body)
		if err != nil {
			return
		}
		d := Dehydrated{ID: matrix.DeviceID(id), Data: data, Keys: keys}
		if d.check() == nil && (id == "" || !json.Valid(data)) {
			t.Errorf("%q with %s is taken", id, data)
		}
	})
}
