package config

import (
	"testing"
	"time"

	"trestle/internal/matrix"
)

func TestOldSigningKeys(t *testing.T) {
	const public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo"
	keys := Federation{OldSigningKeys: []string{"ed25519:a_1 " + public + " 2026-01-31", "ed25519:b  " + public + " 2026-01-31T12:00:00+01:00"}}.OldKeys()
	if len(keys) != 2 || keys[0].ID != "ed25519:a_1" || matrix.Base64(keys[0].Public) != public ||
		!keys[0].Expired.Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC).Add(-time.Millisecond)) || !keys[1].Expired.Equal(time.Date(2026, 1, 31, 11, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", keys)
	}
}

func TestServersThatAreAllowed(t *testing.T) {
	f := Federation{AllowServers: []string{"*.example.org", "[2001:db8::1]", "192.0.2.1"}, DenyServers: []string{"bad.example.org"}}
	for name, want := range map[matrix.ServerName]bool{
		"example.org": true, "a.example.org:8448": true, "EXAMPLE.org": true, "bad.example.org:1": false, "example.com": false,
		"[2001:db8::1]": true, "[2001:db8::1]:8448": true, "192.0.2.1:1": true, "[2001:db8::2]": false,
	} {
		if got := f.Allowed(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if !(Federation{}).Allowed("anybody.example") {
		t.Error("nobody is allowed")
	}
}
