package browser_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// public is a server behind an address that its operator has named.
func public(t *testing.T, args ...string) (server *testkit.Trestle, address string) {
	t.Helper()
	return publicWith(t, nil, args...)
}

// publicWith is the same with further settings of its environment.
func publicWith(t *testing.T, env []string, args ...string) (server *testkit.Trestle, address string) {
	t.Helper()
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host = "http", server.Addr
	}})
	t.Cleanup(front.Close)
	server = testkit.StartTrestle(t, testkit.TrestleOptions{Args: args, Env: append(env, "TRESTLE_PUBLIC_BASE_URL="+front.URL)})
	return server, front.URL
}

// callback is an application on this machine, that shows what it is told.
func callback(t *testing.T) string {
	t.Helper()
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, `<link rel="icon" href="data:,"><body>%s was told %s<script>document.body.append(location.hash);</script>`, r.Method, html.EscapeString(r.FormValue("code")+r.FormValue("error")))
	}))
	t.Cleanup(application.Close)
	return application.URL + "/callback"
}

// register makes an application known to the server.
func register(t *testing.T, address string) (clientID string) {
	t.Helper()
	metadata := `{"client_name": "A story", "client_uri": "https://story.example/", "application_type": "native", "redirect_uris": ["http://127.0.0.1/callback"]}`
	response, err := http.Post(address+"/_trestle/oauth/clients", "application/json", bytes.NewReader([]byte(metadata)))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		ID string `json:"client_id"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusCreated {
		t.Fatalf("registering the application: %s, %v", response.Status, err)
	}
	return answer.ID
}

// TestOAuth has a person make an account, allow applications to use it, and
// look after it, without any script of the server's.
func TestOAuth(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	_, address := public(t, "--open-registration")
	redirect, client := callback(t), register(t, address)
	challenge := sha256.Sum256([]byte(strings.Repeat("verifier", 8)))
	authorize := func(mode, prompt string) string {
		return address + "/_trestle/oauth/authorize?" + url.Values{
			"client_id": {client}, "redirect_uri": {redirect}, "response_type": {"code"}, "response_mode": {mode}, "prompt": {prompt}, "state": {"s"},
			"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
			"scope": {"urn:matrix:client:api:* urn:matrix:client:device:" + strings.ToUpper(mode)},
		}.Encode()
	}
	for _, scripts := range []bool{true, false} {
		name := map[bool]string{true: "scripts", false: "plain"}[scripts]
		t.Run(name, func(t *testing.T) {
			tab := chromium.tab(t, scripts)
			tab.open(authorize("query", "create"), "input[name=again]")
			tab.picture("register")
			tab.fill("input[name=user]", name)
			tab.fill("input[name=password]", password)
			tab.fill("input[name=again]", password)
			tab.click("button")
			tab.says("Allow A story?")
			tab.picture("consent")
			tab.click("button[value=allow]")
			tab.says("GET was told trestle_ac_")

			tab.open(authorize("form_post", ""), "button[value=allow]")
			tab.click("button[value=allow]")
			tab.says("Go back to an application on this device")
			tab.click("button")
			tab.says("POST was told trestle_ac_")

			tab.open(authorize("query", ""), "button[value=deny]")
			tab.click("button[value=deny]")
			tab.says("GET was told access_denied")
			if scripts {
				tab.open(authorize("fragment", ""), "button[value=allow]")
				tab.click("button[value=allow]")
				tab.says("#code=trestle_ac_")
			}

			tab.open(address+"/_trestle/account", "input[name=displayname]")
			tab.picture("account")
			tab.fill("input[name=displayname]", "A person")
			tab.click("button")
			tab.says("Your profile has been changed.")
			tab.open(address+"/_trestle/account?action=sign_out", "button")
			tab.click("button")
			tab.says("You have signed out here.")
			tab.open(address+"/_trestle/account", "input[name=password]")
			tab.fill("input[name=user]", name)
			tab.fill("input[name=password]", "a guess")
			tab.permit("status of 403")
			tab.click("button")
			tab.find("[role=alert]")
		})
	}
}
