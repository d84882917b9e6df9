package clientapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

var terms = map[string]accounts.Policy{
	"privacy": {Version: "1.2", Languages: map[string]accounts.Document{
		"en": {Name: "Privacy <policy>", URL: "https://hs.example/privacy?a=1&b=2"},
		"fr": {Name: "Confidentialité", URL: "https://hs.example/fr"},
	}},
}

// verifier answers whether a puzzle was solved, as a captcha service does.
func verifier(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("secret") != "s3cret" || r.PostFormValue("remoteip") != "127.0.0.1" {
			t.Errorf("the verifier was asked %v", r.PostForm)
		}
		if r.PostFormValue("response") == "strange" {
			_, _ = w.Write([]byte("<html>"))
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]bool{"success": r.PostFormValue("response") == "solved"})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestRegisterByStages(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		box, mailed := withMail(t)
		s := newAccountServer(t, databaseURL, mailed, func(o *accounts.Options) {
			o.Terms, o.EmailAtStart, o.RegistrationTokens = terms, accounts.EmailOptional, []string{"sesame"}
			o.Captcha = &accounts.CaptchaOptions{SiteKey: "key", Secret: "s3cret", Verifier: verifier(t), Script: "https://captcha.example/api.js", Class: "puzzle"}
		})
		register := func(auth string) reply {
			return s.do("POST", v3+"/register", "", `{"username":"alice","password":"`+password+`","auth":`+auth+`}`)
		}
		first := register(`{}`)
		if flows := first.field("flows"); flows != `[{"stages":["m.login.recaptcha","m.login.terms","m.login.dummy"]},{"stages":["m.login.recaptcha","m.login.terms","m.login.email.identity"]},`+
			`{"stages":["m.login.registration_token","m.login.terms","m.login.dummy"]},{"stages":["m.login.registration_token","m.login.terms","m.login.email.identity"]}]` {
			t.Errorf("flows: %s", flows)
		}
		if !same(first.at("params"), map[string]any{
			"m.login.recaptcha": map[string]string{"public_key": "key"},
			"m.login.terms": map[string]any{"policies": map[string]any{"privacy": map[string]any{
				"version": "1.2", "en": terms["privacy"].Languages["en"], "fr": terms["privacy"].Languages["fr"],
			}}},
		}) {
			t.Errorf("params: %s", first.body)
		}
		session := first.field("session")
		stage := func(kind, more string) string {
			return `{"type":"` + kind + `","session":"` + session + `"` + more + `}`
		}
		for _, tt := range []struct{ auth, code string }{
			{stage("m.login.terms", ""), "M_FORBIDDEN"},
			{stage("m.login.recaptcha", ""), "M_CAPTCHA_NEEDED"},
			{stage("m.login.recaptcha", `,"response":"guess"`), "M_CAPTCHA_INVALID"},
			{stage("m.login.registration_token", `,"token":"guess"`), "M_UNAUTHORIZED"},
		} {
			if r := register(tt.auth); r.status != 401 || r.field("errcode") != tt.code || r.field("session") != session || r.field("completed") != "[]" {
				t.Errorf("%s: %d %s", tt.auth, r.status, r.body)
			}
		}
		if r := register(stage("m.login.recaptcha", `,"response":"solved"`)); r.status != 401 || r.field("completed") != `["m.login.recaptcha"]` {
			t.Fatalf("the puzzle: %d %s", r.status, r.body)
		}
		// An address can still be given.
		if r := register(stage("m.login.terms", "")); r.status != 401 || r.field("completed") != `["m.login.recaptcha","m.login.terms"]` {
			t.Fatalf("the terms: %d %s", r.status, r.body)
		}
		if done := register(stage("m.login.dummy", "")); done.status != 200 {
			t.Fatalf("without an address: %d %s", done.status, done.body)
		}
		if agreed, err := s.accounts.Consents(t.Context(), aliceID); err != nil || agreed["privacy"] != "1.2" {
			t.Errorf("agreed to %v, %v", agreed, err)
		}
		if r := register(stage("m.login.terms", "")); r.status != 200 || r.field("user_id") != aliceID {
			t.Errorf("once more: %d %s", r.status, r.body)
		}
		box.empty(t)
	})
}

// What a session has completed is good for one account, however many ask for one at the same time.
func TestStagesRace(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		s := newAccountServer(t, databaseURL, func(o *accounts.Options) { o.Terms, o.OpenRegistration = terms, false })
		if _, err := s.accounts.CreateRegistrationToken(t.Context(), accounts.RegistrationToken{Token: "once", UsesAllowed: new(int64(1))}); err != nil {
			t.Fatal(err)
		}
		register := func(name, auth string) reply {
			return s.do("POST", v3+"/register", "", `{"username":"`+name+`","password":"`+password+`","auth":`+auth+`}`)
		}
		session := register("first", `{"type":"m.login.registration_token","token":"once"}`).field("session")
		var all sync.WaitGroup
		statuses := make([]int, 6)
		for i := range statuses {
			all.Go(func() {
				statuses[i] = register(fmt.Sprint("user", i), `{"type":"m.login.terms","session":"`+session+`"}`).status
			})
		}
		// A page that is sent off meanwhile brings nothing back.
		all.Go(func() { s.browse(v3+"/auth/m.login.terms/fallback/web?session="+session, url.Values{"agree": {"yes"}}) })
		all.Wait()
		statuses = append(statuses, register("late", `{"session":"`+session+`"}`).status)
		made := 0
		for _, status := range statuses {
			if status == 200 {
				made++
			}
		}
		if made != 1 {
			t.Errorf("%d accounts with a token for one: %v", made, statuses)
		}
	})
}

// A token is used by the account that comes of it: not by somebody who stops on
// the way there, and once by whichever way it went.
func TestTokensAreUsedByAccounts(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		s := newAccountServer(t, databaseURL, func(o *accounts.Options) { o.Terms, o.OpenRegistration = terms, false })
		for _, token := range []string{"once", "page"} {
			if _, err := s.accounts.CreateRegistrationToken(t.Context(), accounts.RegistrationToken{Token: token, UsesAllowed: new(int64(1))}); err != nil {
				t.Fatal(err)
			}
		}
		used := func(token string) int64 {
			t.Helper()
			found, err := s.accounts.RegistrationToken(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			return found.Completed
		}
		register := func(name, auth string) reply {
			return s.do("POST", v3+"/register", "", `{"username":"`+name+`","password":"`+password+`","auth":`+auth+`}`)
		}
		const byToken = `{"type":"m.login.registration_token","token":"once"}`
		for range 2 { // who do not go on
			if r := register("first", byToken); r.field("completed") != `["m.login.registration_token"]` {
				t.Fatalf("the token: %d %s", r.status, r.body)
			}
		}
		one, two := register("alice", byToken).field("session"), register("bob", byToken).field("session")
		agree := func(session string) string { return `{"type":"m.login.terms","session":"` + session + `"}` }
		if r := register("alice", agree(one)); r.status != 200 || used("once") != 1 {
			t.Fatalf("used %d times: %d %s", used("once"), r.status, r.body)
		}
		if r := register("bob", agree(two)); r.status != 403 || r.field("errcode") != "M_FORBIDDEN" || used("once") != 1 {
			t.Errorf("a second account, used %d times: %d %s", used("once"), r.status, r.body)
		}
		s.must("GET", v3+"/register/available?username=bob", "", "")
		session := register("carol", `{}`).field("session")
		form := url.Values{"token": {"page"}}
		if r, _ := s.browse(v3+"/auth/m.login.registration_token/fallback/web?session="+session, form); r.status != 200 || used("page") != 0 {
			t.Fatalf("the page: %d %s", r.status, r.body)
		}
		if r := register("carol", agree(session)); r.status != 200 || used("page") != 1 {
			t.Errorf("by the page, used %d times: %d %s", used("page"), r.status, r.body)
		}
	})
}

// All stages in a browser, as clients do that know none of them.
func TestStagesInBrowser(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		s := newAccountServer(t, databaseURL, func(o *accounts.Options) {
			o.Terms = terms
			o.Captcha = &accounts.CaptchaOptions{SiteKey: "k\"ey", Secret: "s3cret", Verifier: verifier(t), Script: "https://captcha.example/api.js", Class: "puzzle"}
		})
		register := func(session string) reply {
			return s.do("POST", v3+"/register", "", `{"username":"alice","password":"`+password+`","auth":{"session":"`+session+`"}}`)
		}
		session := register("").field("session")
		page := func(stage string) string {
			return v3 + "/auth/" + stage + "/fallback/web?session=" + session
		}
		shown, header := s.browse(page("m.login.recaptcha"), nil)
		if shown.status != 200 || !strings.Contains(shown.body, `<div class="puzzle" data-sitekey="k&#34;ey">`) || !strings.Contains(shown.body, `src="https://captcha.example/api.js"`) || !strings.Contains(header.Get("Content-Security-Policy"), "strict-dynamic") {
			t.Errorf("puzzle: %d %s", shown.status, shown.body)
		}
		if r, _ := s.browse(page("m.login.recaptcha"), url.Values{"g-recaptcha-response": {"guess"}}); r.status != 401 || !strings.Contains(r.body, "not solved") {
			t.Errorf("guessing: %d %s", r.status, r.body)
		}
		// A page of a later stage may be done first.
		shown, _ = s.browse(page("m.login.terms"), nil)
		if shown.status != 200 || !strings.Contains(shown.body, `<a href="https://hs.example/privacy?a=1&amp;b=2" target="_blank" rel="noopener noreferrer">Privacy &lt;policy&gt;</a>`) {
			t.Errorf("terms: %d %s", shown.status, shown.body)
		}
		if r, _ := s.browse(page("m.login.terms"), url.Values{}); r.status != 401 {
			t.Errorf("without agreeing: %d %s", r.status, r.body)
		}
		done, _ := s.browse(page("m.login.terms"), url.Values{"agree": {"yes"}})
		if done.status != 200 || !strings.Contains(done.body, "window.onAuthDone();") || !strings.Contains(done.body, `window.opener.postMessage("authDone", "*");`) {
			t.Errorf("agreeing: %d %s", done.status, done.body)
		}
		if r := register(session); r.status != 401 || r.field("completed") != "" {
			t.Errorf("with the second stage only: %d %s", r.status, r.body)
		}
		s.browse(page("m.login.recaptcha"), url.Values{"g-recaptcha-response": {"solved"}})
		if r := register(session); r.status != 200 {
			t.Errorf("with both: %d %s", r.status, r.body)
		}
		for _, tt := range []struct {
			path   string
			status int
		}{
			{v3 + "/auth/m.login.nonsense/fallback/web?session=" + session, 404},
			{v3 + "/auth/m.login.terms/fallback/web", 400},
			{v3 + "/auth/m.login.terms/fallback/web?session=guess", 400},
		} {
			for _, form := range []url.Values{nil, {"agree": {"yes"}}} {
				if r, _ := s.browse(tt.path, form); r.status != tt.status {
					t.Errorf("%s: %d %s", tt.path, r.status, r.body)
				}
			}
		}
		s.wait(25 * time.Hour)
		if r, _ := s.browse(page("m.login.terms"), nil); r.status != 400 || strings.Contains(r.body, "<form") {
			t.Errorf("a session of yesterday: %d %s", r.status, r.body)
		}
	})
}

// A password on a page confirms what its owner does, and nobody else.
func TestPasswordInBrowser(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	alice := s.register("alice")
	s.register("bob")
	s.logIn("alice", "OTHER")
	remove := func(session string) reply {
		return s.do("DELETE", v3+"/devices/OTHER", alice, `{"auth":{"session":"`+session+`"}}`)
	}
	session := remove("").field("session")
	page := v3 + "/auth/m.login.password/fallback/web?session=" + session
	if r, _ := s.browse(page, nil); r.status != 200 || !strings.Contains(r.body, `type="password" autocomplete="current-password"`) {
		t.Errorf("the page: %d %s", r.status, r.body)
	}
	if r, _ := s.browse(page, url.Values{"user": {"alice"}, "password": {"wrong"}}); r.status != 403 || strings.Contains(r.body, "wrong\"") {
		t.Errorf("a wrong password: %d %s", r.status, r.body)
	}
	s.browse(page, url.Values{"user": {"bob"}, "password": {password}})
	if r := remove(session); r.status != 401 || r.field("errcode") != "M_FORBIDDEN" {
		t.Errorf("by somebody else: %d %s", r.status, r.body)
	}
	s.browse(page, url.Values{"user": {"alice"}, "password": {password}})
	if r := remove(session); r.status != 200 {
		t.Errorf("by the owner: %d %s", r.status, r.body)
	}
}

// ssoStage is a stage at which people log in at another place.
type ssoStage struct{}

func (ssoStage) Name() string { return "m.login.sso" }
func (ssoStage) Params(op accounts.Operation, _ string) any {
	return map[string]string{"for": string(op.User)}
}
func (ssoStage) Check(context.Context, accounts.Attempt) (string, error) {
	return "", matrix.NewError(http.StatusUnauthorized, "M_FORBIDDEN", "Log in on the page first.")
}
func (ssoStage) Confirms(_ context.Context, op accounts.Operation) (bool, error) {
	return op.User == aliceID, nil
}
func (ssoStage) Page(session string) accounts.Page {
	return accounts.Page{Redirect: "https://login.example/?state=" + session}
}
func (ssoStage) Submit(context.Context, url.Values, string) (matrix.UserID, error) {
	return "", matrix.MethodNotAllowed()
}

func TestStageOfOthers(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	alice, bob := s.register("alice"), s.register("bob")
	s.accounts.AddStage(ssoStage{})
	remove := func(token, auth string) reply {
		return s.do("DELETE", v3+"/devices/OTHER", token, `{"auth":`+auth+`}`)
	}
	if r := remove(bob, `{}`); r.field("flows") != `[{"stages":["m.login.password"]}]` {
		t.Errorf("bob: %s", r.body)
	}
	first := remove(alice, `{}`)
	session := first.field("session")
	if first.field("flows") != `[{"stages":["m.login.password"]},{"stages":["m.login.sso"]}]` || first.at("params", "m.login.sso", "for") != aliceID {
		t.Errorf("alice: %s", first.body)
	}
	if r := remove(alice, `{"type":"m.login.sso","session":"`+session+`"}`); r.status != 401 || r.field("errcode") != "M_FORBIDDEN" {
		t.Errorf("without the page: %d %s", r.status, r.body)
	}
	r, header := s.browse(v3+"/auth/m.login.sso/fallback/web?session="+session, nil)
	if r.status != 302 || header.Get("Location") != "https://login.example/?state="+session {
		t.Errorf("the page: %d %v", r.status, header)
	}
	if err := s.accounts.CompleteStage(t.Context(), session, "m.login.sso", aliceID); err != nil {
		t.Fatal(err)
	}
	if r := remove(alice, `{"session":"`+session+`"}`); r.status != 200 {
		t.Errorf("after the page: %d %s", r.status, r.body)
	}
	if err := s.accounts.CompleteStage(t.Context(), "guess", "m.login.sso", aliceID); matrix.Code(err) != "M_INVALID_PARAM" {
		t.Errorf("no session: %v", err)
	}
}
