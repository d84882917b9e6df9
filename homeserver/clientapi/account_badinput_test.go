package clientapi_test

import (
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/clientapi"
)

func TestServerInformation(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	versions := s.must("GET", "/_matrix/client/versions", "", "")
	for _, version := range []string{`"r0.0.1"`, `"r0.6.1"`, `"v1.1"`, `"v1.19"`} {
		if !strings.Contains(versions.body, version) {
			t.Errorf("%s is missing: %s", version, versions.body)
		}
	}
	if r := s.must("GET", "/.well-known/matrix/client", "", ""); r.body != `{"m.homeserver":{"base_url":"https://matrix.hs.example"}}` {
		t.Errorf("well-known: %s", r.body)
	}
	if r := s.must("GET", "/.well-known/matrix/support", "", ""); r.body != `{"support_page":"https://hs.example/help"}` {
		t.Errorf("support: %s", r.body)
	}
	if r := s.must("GET", v3+"/capabilities", s.register("alice"), ""); !strings.Contains(r.body, `"m.room_versions":{"default":"12","available":{"1":"stable","10":"stable"`) {
		t.Errorf("capabilities: %s", r.body)
	}
}

// Every route that wants a token says so, refuses a wrong one, and answers
// nonsense with an error of the client's, never of the server's.
func TestBadInputEverywhere(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.Guests = true })
	token := s.register("alice")
	if err := s.accounts.SetAdmin(t.Context(), aliceID, true); err != nil {
		t.Fatal(err)
	}
	guest := s.must("POST", v3+"/register?kind=guest", "", `{}`).field("access_token")
	names := strings.NewReplacer("{userId}", aliceID, "{roomId}", "!r:hs.example", "{kind}", "room", "{ruleId}", "!r:hs.example",
		"{deviceId}", "FIRST", "{keyName}", "displayname", "{type}", "org.example", "{tag}", "u.x", "{filterId}", "1")
	nonsense := strings.NewReplacer("{userId}", "%00", "{roomId}", "%F0%28", "{kind}", "%E2%80%AE", "{ruleId}", "%01", "{deviceId}", "%00",
		"{keyName}", "%20", "{type}", "%00", "{tag}", "%00", "{filterId}", "-9223372036854775809")
	for _, route := range clientapi.AccountRoutes(s.accounts, clientapi.AccountConfig{}) {
		path := names.Replace(route.Path)
		if strings.Contains(path, "/logout") || strings.Contains(path, "/fallback/") || path == accounts.SubmitTokenPath {
			continue
		}
		if route.Auth != api.None && route.Auth != api.Optional {
			s.refused(route.Method, path, "", "", 401, "M_MISSING_TOKEN")
			s.refused(route.Method, path, "wrong", "", 401, "M_UNKNOWN_TOKEN")
		}
		if route.Auth == api.User {
			s.refused(route.Method, path, guest, "{}", 403, "M_GUEST_ACCESS_FORBIDDEN")
		}
		bodies := []string{"", "{", "[]", "null", `"x"`, "{\"a\":\"\x81\"}", `{"password":1,"auth":1,"type":1,"actions":1,"enabled":1,"devices":1,"display_name":[],"order":[],"new_password":{},"nonce":0,"refresh_token":[],"displayname":1,"room":1}`,
			`{"a":` + strings.Repeat(`[`, 101) + strings.Repeat(`]`, 101) + `}`}
		if route.Method == "GET" {
			bodies = []string{""}
		}
		for _, body := range bodies {
			for _, target := range []string{path, nonsense.Replace(route.Path)} {
				if r := s.do(route.Method, target, token, body); r.status >= 500 || body == "{" && r.status < 400 && route.Method != "DELETE" {
					t.Errorf("%s %s %q: %d %s", route.Method, target, body, r.status, r.body)
				}
			}
		}
		if route.Method != "GET" && route.Method != "DELETE" {
			s.refused(route.Method, path, token, `{"x":"`+strings.Repeat("x", 1<<20)+`"}`, 413, "M_TOO_LARGE")
		}
	}
}
