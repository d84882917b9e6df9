package clientapi_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/internal/testkit"
)

// getToken makes a login token for alice.
func (s *accountServer) getToken(access string) string {
	s.t.Helper()
	r := s.must("POST", getTokenPath, access, `{"auth":`+passwordAuth("alice", password)+`}`)
	if r.field("expires_in_ms") != "120000" || r.field("login_token") == "" {
		s.t.Fatalf("login token: %s", r.body)
	}
	return r.field("login_token")
}

const getTokenPath = "/_matrix/client/v1/login/get_token"

func byToken(token string) string {
	return `{"type":"m.login.token","token":"` + token + `","device_id":"BYTOKEN","refresh_token":true}`
}

func TestLoginToken(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		access := s.register("alice")
		if r := s.do("POST", getTokenPath, access, `{}`); r.status != 401 || !strings.Contains(r.body, "m.login.password") {
			t.Errorf("without auth: %d %s", r.status, r.body)
		}
		if r := s.do("POST", getTokenPath, access, `{"auth":`+passwordAuth("alice", "wrong")+`}`); r.status != 401 || r.field("errcode") != "M_FORBIDDEN" {
			t.Errorf("with the wrong password: %d %s", r.status, r.body)
		}
		s.refused("POST", getTokenPath, "", `{}`, 401, "M_MISSING_TOKEN")
		token := s.getToken(access)
		if s.do("GET", v3+"/account/whoami", token, "").status != 401 {
			t.Error("a login token is taken for an access token")
		}
		r := s.must("POST", v3+"/login", "", byToken(token))
		if r.field("user_id") != "@alice:hs.example" || r.field("device_id") != "BYTOKEN" || r.field("refresh_token") == "" {
			t.Errorf("login: %s", r.body)
		}
		s.must("GET", v3+"/account/whoami", r.field("access_token"), "")
		s.refused("POST", v3+"/login", "", byToken(token), 403, "M_FORBIDDEN")
		s.refused("POST", v3+"/login", "", byToken(r.field("access_token")), 403, "M_FORBIDDEN")

		late := s.getToken(access)
		s.wait(2 * time.Minute)
		s.refused("POST", v3+"/login", "", byToken(late), 403, "M_FORBIDDEN")
	})
}

// A token is good for one login, however many ask at the same time.
func TestLoginTokenRace(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		s.register("alice")
		token, err := s.accounts.NewLoginToken(t.Context(), "@alice:hs.example")
		if err != nil {
			t.Fatal(err)
		}
		var wait sync.WaitGroup
		var mu sync.Mutex
		logins := 0
		for range 8 {
			wait.Go(func() {
				if _, err := s.accounts.LoginByToken(t.Context(), token, accounts.NewDevice{}); err == nil {
					mu.Lock()
					defer mu.Unlock()
					logins++
				}
			})
		}
		wait.Wait()
		if logins != 1 {
			t.Errorf("%d logins with one token", logins)
		}
	})
}

// Whoever ends all of their logins ends those that are on their way, too.
func TestLoginTokenEndsWithLogins(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	access := s.register("alice")
	token := s.getToken(access)
	s.must("POST", v3+"/account/password", access, `{"new_password":"battery staple","auth":`+passwordAuth("alice", password)+`}`)
	s.refused("POST", v3+"/login", "", byToken(token), 403, "M_FORBIDDEN")

	token, err := s.accounts.NewLoginToken(t.Context(), "@alice:hs.example")
	if err != nil {
		t.Fatal(err)
	}
	s.must("POST", v3+"/logout/all", access, "{}")
	s.refused("POST", v3+"/login", "", byToken(token), 403, "M_FORBIDDEN")
}
