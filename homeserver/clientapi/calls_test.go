package clientapi_test

import (
	"strings"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

func TestTURNServer(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database, func(c *config.Config) {
			c.Calls.TURN.URIs = []string{"turn:turn.example.org:3478?transport=udp", "turns:turn.example.org"}
			c.Calls.TURN.SharedSecret = "north"
		})
		alice := s.person("alice")
		r := alice.must("GET", v3+"/voip/turnServer", nil)
		if !strings.HasSuffix(r.field("username"), ":"+alice.user) || r.at("ttl") != 86400.0 || len(r.texts("uris")) != 2 {
			t.Errorf("%s", r.body)
		}
		s.guest().refused("GET", v3+"/voip/turnServer", nil, 403, "M_GUEST_ACCESS_FORBIDDEN")
		(&device{wholeServer: s}).refused("GET", v3+"/voip/turnServer", nil, 401, "M_MISSING_TOKEN")
	})
}

func TestWithoutCalls(t *testing.T) {
	s := newWholeServer(t, t.TempDir()+"/test.db")
	alice := s.person("alice")
	alice.refused("GET", v3+"/voip/turnServer", nil, 404, "M_NOT_FOUND")
	alice.refused("GET", "/.well-known/matrix/policy_server", nil, 404, "M_NOT_FOUND")
	if r := alice.must("GET", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports", nil); r.body != `{"transports":[],"rtc_transports":[]}` {
		t.Errorf("%s", r.body)
	}
}

func TestCallsOfMany(t *testing.T) {
	const key = "6yhHGKhCiXTSEN2ksjV7kX_N6rBQZ3Xb-M7LlC6NS-s"
	s := newWholeServer(t, t.TempDir()+"/test.db", func(c *config.Config) {
		c.Calls.LiveKit = []string{"https://calls.example.org"}
		c.PolicyServerKey = key
	})
	nobody := &device{wholeServer: s.plain()}
	if r := (&device{wholeServer: s}).must("GET", "/.well-known/matrix/policy_server", nil); r.at("public_keys", "ed25519") != key {
		t.Errorf("%s", r.body)
	}
	guest := s.plain().guest()
	for _, path := range []string{"/_matrix/client/v1/rtc/transports", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"} {
		nobody.refused("GET", path, nil, 401, "M_MISSING_TOKEN")
		list, _ := guest.must("GET", path, nil).at("rtc_transports").([]any)
		if len(list) != 1 || !same(list[0], map[string]string{"type": "livekit", "livekit_service_url": "https://calls.example.org"}) {
			t.Errorf("%s: %v", path, list)
		}
	}
}
