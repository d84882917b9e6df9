package adminapi_test

import (
	"strings"
	"testing"

	"trestle/internal/testkit"
)

func TestPushers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice := s.admin(), s.person("alice")
		path := v1 + "/users/" + alice.user + "/pushers"
		if r := root.must("GET", path, nil); r.body != `{"pushers":[],"total":0}` {
			t.Errorf("at first: %s", r.body)
		}
		alice.must("POST", v3+"/pushers/set", map[string]any{
			"kind": "http", "app_id": "app", "pushkey": "key", "app_display_name": "App", "device_display_name": "Phone", "lang": "en",
			"data": map[string]string{"url": "https://push.example/_matrix/push/v1/notify"},
		})
		if r := root.must("GET", path, nil); r.at("total") != 1.0 || !strings.Contains(r.body, `"pushkey":"key"`) || !strings.Contains(r.body, "push.example") {
			t.Errorf("one: %s", r.body)
		}
		alice.refused("GET", path, nil, 403, "M_FORBIDDEN")
		root.refused("GET", v1+"/users/@nobody:hs.example/pushers", nil, 404, "M_NOT_FOUND")
	})
}
