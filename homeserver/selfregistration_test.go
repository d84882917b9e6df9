package homeserver_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

// post sends JSON, and returns the answer's status and members.
func post(t *testing.T, address, token string, body any) (int, map[string]any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", address, bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var members map[string]any
	_ = json.NewDecoder(response.Body).Decode(&members)
	return response.StatusCode, members
}

func TestServicesRegisterThemselves(t *testing.T) {
	first, second := strings.Repeat("a", 32), strings.Repeat("b", 32)
	testkit.Databases(t, func(t *testing.T, database string) {
		base := start(t, database, func(c *config.Config) {
			c.Registration.AppServices = []config.Secret{config.Secret(first), config.Secret(second)}
		})
		login(t, base, "irc.example/alice")
		body := func(token, users string) map[string]any {
			return map[string]any{
				"url": "http://127.0.0.1:1/matrix/", "as_token": token,
				"namespaces": map[string]any{
					"users":   []any{map[string]any{"exclusive": true, "regex": users}},
					"aliases": []any{map[string]any{"exclusive": true, "regex": `#irc\.example/.*`}},
				},
			}
		}
		const ghosts = `@irc\.net/.*`
		register := base + "/_matrix/app/v1/register"
		for _, c := range []struct {
			name   string
			body   any
			status int
			code   string
		}{
			{"no token", body("", ghosts), 401, "M_MISSING_TOKEN"},
			{"another token", body(strings.Repeat("c", 32), `(`), 403, "M_FORBIDDEN"},
			{"no expression", body(first, `@(irc`), 400, "M_INVALID_PARAM"},
			{"everybody", body(first, `@.*`), 400, "M_EXCLUSIVE"},
			{"somebody", body(first, `@irc\.example/.*`), 400, "M_EXCLUSIVE"},
			{"a socket", map[string]any{"url": "unix:///x", "as_token": first}, 400, "M_INVALID_PARAM"},
			{"no host", map[string]any{"url": "http://", "as_token": first}, 400, "M_INVALID_PARAM"},
		} {
			status, members := post(t, register, "", c.body)
			wantRefusal(t, c.name, status, members, c.status, c.code)
		}
		status, members := post(t, register, "", body(first, ghosts))
		token, _ := members["hs_token"].(string)
		if status != 200 || len(token) != 64 {
			t.Fatalf("%d %v", status, members)
		}
		// The old path, and the same service again.
		status, members = post(t, base+"/_matrix/appservice/v1/register", "", body(first, `@irc\.net/[^:]+:.*`))
		if status != 200 || members["hs_token"] != token {
			t.Errorf("again: %d %v", status, members)
		}
		status, members = post(t, base+"/_matrix/client/v3/register", first, map[string]any{"type": "m.login.application_service", "username": "irc.net/bob"})
		if status != 200 || members["user_id"] != "@irc.net/bob:test" {
			t.Errorf("a ghost: %d %v", status, members)
		}
		if status, members = post(t, register, "", body(first, ghosts)); status != 200 {
			t.Errorf("with a ghost of its own: %d %v", status, members)
		}
		status, members = post(t, register, "", body(second, `@irc.*`))
		wantRefusal(t, "names of another", status, members, 400, "M_EXCLUSIVE")
		if status, members = post(t, base+"/_matrix/app/v1/unregister", "", map[string]any{"as_token": first}); status != 200 {
			t.Errorf("unregister: %d %v", status, members)
		}
		status, members = post(t, base+"/_matrix/app/v1/unregister", "", map[string]any{"as_token": first})
		wantRefusal(t, "twice", status, members, 404, "M_NOT_FOUND")
		status, members = post(t, base+"/_matrix/client/v3/register", first, map[string]any{"type": "m.login.application_service", "username": "irc.net/eve"})
		wantRefusal(t, "after that", status, members, 401, "M_UNKNOWN_TOKEN")
	})
}

func TestNobodyRegistersThemselvesUnlessTheOperatorWantsIt(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		base := start(t, database, nil)
		for _, path := range []string{"/_matrix/app/v1/register", "/_matrix/app/v1/unregister", "/_matrix/appservice/v1/register"} {
			status, members := post(t, base+path, "", map[string]any{"as_token": strings.Repeat("a", 32), "url": "http://x"})
			wantRefusal(t, path, status, members, 404, "M_UNRECOGNIZED")
		}
	})
}
