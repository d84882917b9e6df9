package browser_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"trestle/internal/testkit"
)

const password = "correct horse battery"

// A request asks the homeserver as an application does.
func request(t *testing.T, server *testkit.Trestle, path string, body any) (status int, answer map[string]any) {
	t.Helper()
	return requestAs(t, server, "", path, body)
}

// requestAs is the same with an access token.
func requestAs(t *testing.T, server *testkit.Trestle, token, path string, body any) (status int, answer map[string]any) {
	t.Helper()
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: testkit.SpecTransport(t, http.DefaultTransport)}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.BaseURL+"/_matrix/client/v3"+path, bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

// strict is a server on which people register with a token, and agree to terms.
func strict(t *testing.T) *testkit.Trestle {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	const config = `server_name: localhost
registration:
  tokens: [open-sesame]
  terms:
    privacy:
      version: "1.0"
      languages:
        en: {name: Privacy policy, url: https://example.org/privacy}
`
	if err := os.WriteFile(filepath.Join(data, "trestle.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return testkit.StartTrestle(t, testkit.TrestleOptions{Data: data})
}

// TestStages has a person register with an application that knows no stage:
// she does each in a browser, with scripts and without.
func TestStages(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	server := strict(t)
	for _, scripts := range []bool{true, false} {
		name := map[bool]string{true: "scripts", false: "plain"}[scripts]
		t.Run(name, func(t *testing.T) {
			registration := map[string]any{"username": name, "password": password}
			status, asked := request(t, server, "/register", registration)
			if status != http.StatusUnauthorized {
				t.Fatalf("registering is %d %v", status, asked)
			}
			session := asked["session"].(string)
			page := func(stage string) string {
				return server.BaseURL + "/_matrix/client/v3/auth/" + stage + "/fallback/web?session=" + session
			}
			tab := chromium.tab(t, scripts)

			tab.open(page("m.login.registration_token"), "input[name=token]")
			tab.fill("input[name=token]", "a guess")
			tab.permit("status of 401") // of the page that says so
			tab.click("button")
			tab.find("[role=alert]")
			tab.picture("refused")
			tab.fill("input[name=token]", "open-sesame")
			tab.click("button")
			tab.says("You can close this window")

			tab.open(page("m.login.terms"), "input[name=agree]")
			tab.says("Privacy policy")
			tab.picture("terms")
			tab.click("button") // the browser minds that the box is empty
			tab.find("input[name=agree]:invalid")
			tab.click("input[name=agree]")
			tab.click("button")
			tab.says("You can close this window")

			registration["auth"] = map[string]any{"session": session}
			if status, answer := request(t, server, "/register", registration); status != http.StatusOK {
				t.Errorf("after both stages: %d %v", status, answer)
			}
		})
	}
}

// A listener is a web application that shows what other windows tell it.
func listener(t *testing.T) (address string) {
	t.Helper()
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<link rel="icon" href="data:,"><body>waiting<script>addEventListener("message", (e) => document.body.append(e.origin + " says " + e.data));</script>`))
	}))
	t.Cleanup(application.Close)
	return application.URL
}

// TestStageTellsApplication has a web application open the page of a stage: it
// is told when that is done.
func TestStageTellsApplication(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	server := strict(t)
	_, asked := request(t, server, "/register", map[string]any{"username": "alice", "password": password})
	tab := chromium.tab(t, true)
	tab.open(listener(t), "script")
	page := server.BaseURL + "/_matrix/client/v3/auth/m.login.terms/fallback/web?session=" + asked["session"].(string)
	opened := tab.opens("window.open(" + quoted(page) + ")")
	opened.click("input[name=agree]")
	opened.click("button")
	tab.says(server.BaseURL + " says authDone")
}

// TestLoginPage has a person log in on the page for applications that know no
// way to do it themselves.
func TestLoginPage(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	server := testkit.StartTrestle(t, testkit.TrestleOptions{Args: []string{"--open-registration"}})
	registration := map[string]any{"username": "alice", "password": password, "auth": map[string]any{"type": "m.login.dummy"}}
	if status, answer := request(t, server, "/register", registration); status != http.StatusOK {
		t.Fatalf("registering is %d %v", status, answer)
	}
	const hook = `window.matrixLogin = { onLogin: (answer) => { window.handed = answer; } };
		window.onLogin = window.matrixLogin.onLogin;`
	for name, path := range map[string]string{
		"today": "/_matrix/static/client/login/?device_id=KIOSK&initial_device_display_name=A+kiosk",
		"2014":  "/_matrix/client/api/v1/login/fallback",
	} {
		t.Run(name, func(t *testing.T) {
			tab := chromium.tab(t, true)
			tab.do("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": hook}, nil)
			tab.open(server.BaseURL+path, "form:not([hidden])")
			tab.fill("#user", "alice")
			tab.fill("#password", "a guess")
			tab.permit("status of 403")
			tab.click("button")
			tab.until("a refusal", `document.querySelector("#outcome").textContent`)
			tab.picture("refused")
			tab.fill("#password", password)
			tab.click("button")
			tab.says("You are logged in as @alice:localhost")
			tab.until("the answer, handed over", "window.handed.access_token && window.handed.user_id === '@alice:localhost'")
			if name == "today" {
				tab.until("the device that was asked for", "window.handed.device_id === 'KIOSK'")
			}
		})
	}
	t.Run("plain", func(t *testing.T) {
		tab := chromium.tab(t, false)
		tab.open(server.BaseURL+"/_matrix/static/client/login/", "noscript")
		tab.says("needs JavaScript")
		tab.picture("plain")
	})
}
