package clientapi_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/identity"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// An identityServer knows one session, and believes servers by their signatures.
type identityServer struct {
	t      *testing.T
	name   string
	key    matrix.SigningKey
	bound  map[string]string // address → user
	status int               // of refusals to unbind; 0: none
}

var xMatrix = regexp.MustCompile(`^X-Matrix origin="hs\.example",destination="([^"]+)",key="([^"]+)",sig="([^"]+)"$`)

func (s *identityServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		SID      string `json:"sid"`
		Secret   string `json:"client_secret"`
		User     string `json:"mxid"`
		ThreePID struct{ Medium, Address string }
	}
	raw := json.RawMessage{}
	if err := json.NewDecoder(r.Body).Decode(&raw); err != nil || json.Unmarshal(raw, &body) != nil {
		s.t.Errorf("%s: %v", raw, err)
	}
	fail := func(status int, code string) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"errcode":%q,"error":"No."}`, code)
	}
	switch r.URL.Path {
	case "/_matrix/identity/v2/3pid/bind":
		if r.Header.Get("Authorization") != "Bearer id-token" {
			fail(401, "M_UNAUTHORIZED")
			return
		}
		if body.SID != "sid" || body.Secret != "secret" {
			fail(400, "M_SESSION_NOT_VALIDATED")
			return
		}
		s.bound["alice@example.org"] = body.User
		fmt.Fprint(w, `{"medium":"email","address":"alice@example.org","mxid":"x","not_before":1,"not_after":2,"ts":1,"signatures":{}}`)
	case "/_matrix/identity/v2/3pid/unbind":
		s.checkSignature(r, raw)
		if s.status != 0 {
			w.WriteHeader(s.status)
			return
		}
		delete(s.bound, body.ThreePID.Address)
		fmt.Fprint(w, `{}`)
	default:
		fail(404, "M_UNRECOGNIZED")
	}
}

func (s *identityServer) checkSignature(r *http.Request, content json.RawMessage) {
	m := xMatrix.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil || m[1] != s.name || m[2] != string(s.key.ID) {
		s.t.Errorf("authorization %q", r.Header.Get("Authorization"))
		return
	}
	signed, err := json.Marshal(map[string]any{
		"method": "POST", "uri": r.URL.Path, "origin": "hs.example", "destination": s.name, "content": content,
		"signatures": map[string]map[string]string{"hs.example": {m[2]: m[3]}},
	})
	if err != nil {
		s.t.Error(err)
	}
	if err := matrix.VerifyJSON(signed, "hs.example", s.key.ID, s.key.Private.Public().(ed25519.PublicKey)); err != nil {
		s.t.Errorf("signature: %v", err)
	}
}

func TestIdentityServers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		key, err := matrix.NewSigningKey()
		if err != nil {
			t.Fatal(err)
		}
		peer := &identityServer{t: t, key: key, bound: map[string]string{}}
		listener := httptest.NewTLSServer(peer)
		t.Cleanup(listener.Close)
		peer.name = strings.TrimPrefix(listener.URL, "https://")
		s := newAccountServer(t, databaseURL, func(o *accounts.Options) {
			o.Identity = identity.New(identity.Options{ServerName: "hs.example", Key: key, Trusted: []string{peer.name, "127.0.0.1:1"}, HTTP: listener.Client()})
		})
		alice := s.register("alice")
		bind := func(server, token, sid string) reply {
			return s.do("POST", v3+"/account/3pid/bind", alice, fmt.Sprintf(`{"id_server":%q,"id_access_token":%q,"sid":%q,"client_secret":"secret"}`, server, token, sid))
		}
		for _, tt := range []struct {
			server, token, sid string
			status             int
			code               string
		}{
			{"evil.example", "id-token", "sid", 400, "M_SERVER_NOT_TRUSTED"},
			{"127.0.0.1:1", "id-token", "sid", 502, "M_UNKNOWN"},
			{peer.name, "wrong", "sid", 403, "M_UNAUTHORIZED"},
			{peer.name, "id-token", "other", 400, "M_SESSION_NOT_VALIDATED"},
			{peer.name, "id-token", "sid", 200, ""},
		} {
			if r := bind(tt.server, tt.token, tt.sid); r.status != tt.status || r.field("errcode") != tt.code {
				t.Errorf("%+v: %d %s", tt, r.status, r.body)
			}
		}
		if peer.bound["alice@example.org"] != aliceID {
			t.Fatalf("bound %v", peer.bound)
		}
		named := `{"medium":"email","address":"alice@example.org"}`
		result := func(path, body, want string) {
			t.Helper()
			if r := s.must("POST", v3+path, alice, body); r.body != `{"id_server_unbind_result":"`+want+`"}` {
				t.Errorf("%s: %s", path, r.body)
			}
		}
		peer.status = 501
		result("/account/3pid/unbind", named, "no-support")
		peer.status = 0
		result("/account/3pid/unbind", strings.Replace(named, "}", `,"id_server":"evil.example"}`, 1), "no-support")
		result("/account/3pid/unbind", named, "success")
		if len(peer.bound) != 0 {
			t.Errorf("still bound: %v", peer.bound)
		}
		result("/account/3pid/unbind", named, "no-support") // nobody to ask any more
		bind(peer.name, "id-token", "sid")
		result("/account/3pid/delete", named, "success")
		bind(peer.name, "id-token", "sid")
		// Who names a server means that one.
		bob := s.register("bob")
		if r := s.must("POST", v3+"/account/3pid/bind", bob, fmt.Sprintf(`{"id_server":%q,"id_access_token":"id-token","sid":"sid","client_secret":"secret"}`, peer.name)); r.body != "{}" {
			t.Errorf("bob: %s", r.body)
		}
		if r := s.must("POST", v3+"/account/deactivate", bob, `{"id_server":"evil.example","auth":`+passwordAuth("bob", password)+`}`); r.body != `{"id_server_unbind_result":"no-support"}` || len(peer.bound) != 1 {
			t.Errorf("from another server: %s, bound %v", r.body, peer.bound)
		}
		result("/account/deactivate", fmt.Sprintf(`{"id_server":%q,"auth":%s}`, peer.name, passwordAuth("alice", password)), "success")
		if len(peer.bound) != 0 {
			t.Errorf("bound after the account's end: %v", peer.bound)
		}
	})
}
