package adminapi_test

import (
	"strings"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

func TestExternalIDs(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url, func(cfg *config.Config) {
			for _, id := range []string{"one", "two"} {
				p := config.DefaultSSOProvider()
				p.ID, p.Name, p.Issuer, p.ClientID = id, id, "https://"+id+".example", "trestle"
				cfg.SSO.Providers = append(cfg.SSO.Providers, p)
			}
		})
		root, alice := s.admin(), s.person("alice")
		const bob = v2 + "/users/@bob:hs.example"
		ids := func(list ...map[string]string) map[string]any {
			return map[string]any{"external_ids": append([]map[string]string{}, list...)}
		}
		one := map[string]string{"auth_provider": "one", "external_id": "b/1"}
		two := map[string]string{"auth_provider": "two", "external_id": "2"}
		if r := root.do("PUT", bob, ids(one, two)); r.status != 201 || !strings.Contains(r.body, `"external_ids":[{"auth_provider":"one","external_id":"b/1"},{"auth_provider":"two","external_id":"2"}]`) {
			t.Errorf("made: %d %s", r.status, r.body)
		}
		const at = v1 + "/auth_providers/"
		if r := root.must("GET", at+"one/users/b%2F1", nil); r.text("user_id") != "@bob:hs.example" {
			t.Error(r.body)
		}
		for _, path := range []string{"one/users/2", "three/users/2", "one/users/%00", "%00/users/x", "one/users/%FF", "one/users/" + strings.Repeat("x", 300)} {
			r := root.do("GET", at+path, nil)
			if r.status < 400 || r.status >= 500 {
				t.Errorf("%s: %d %s", path, r.status, r.body)
			}
		}
		root.refused("PUT", v2+"/users/@alice:hs.example", ids(two), 409, "M_UNKNOWN")
		root.refused("PUT", bob, ids(map[string]string{"auth_provider": "three", "external_id": "3"}), 400, "M_INVALID_PARAM")
		for _, id := range []string{"", "a\a", strings.Repeat("x", 256)} {
			root.refused("PUT", bob, ids(map[string]string{"auth_provider": "one", "external_id": id}), 400, "M_INVALID_PARAM")
		}
		if r := root.must("PUT", bob, ids(two)); strings.Contains(r.body, "b/1") || !strings.Contains(r.body, `"external_id":"2"`) {
			t.Error(r.body)
		}
		root.refused("GET", at+"one/users/b%2F1", nil, 404, "M_NOT_FOUND")
		if r := root.must("PUT", bob, ids()); !strings.Contains(r.body, `"external_ids":[]`) {
			t.Error(r.body)
		}
		alice.refused("GET", at+"one/users/2", nil, 403, "M_FORBIDDEN")
	})
}
