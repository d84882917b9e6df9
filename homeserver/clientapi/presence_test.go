package clientapi_test

import (
	"path/filepath"
	"testing"

	"trestle/internal/config"
)

// A server without presence shows nobody, and refuses nothing.
func TestPresenceOff(t *testing.T) {
	s := newWholeServer(t, filepath.Join(t.TempDir(), "test.db"), func(cfg *config.Config) { cfg.Presence.Enabled = false })
	alice, bob := s.person("alice"), s.person("bob")
	alice.room(bob)
	bob.sync()
	alice.must("PUT", v3+"/presence/"+alice.user+"/status", object{"presence": "online", "status_msg": "hello"})
	alice.sync()
	if got := bob.sync().at("presence"); got != nil {
		t.Errorf("presence in /sync: %v", got)
	}
	if got := bob.must("GET", v3+"/presence/"+alice.user+"/status", nil); got.field("presence") != "offline" || got.at("status_msg") != nil {
		t.Errorf("presence: %s", got.body)
	}
}
