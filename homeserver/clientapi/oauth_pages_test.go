package clientapi_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/clientapi"
	"trestle/homeserver/oauth"
	"trestle/internal/testkit"
)

func TestSignInPage(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database)
		s.register("alice")
		a, b := s.app("PHONE"), newBrowser(t, s.url)
		b.open(a.request(set("login_hint", "mxid:@alice:hs.example"))).says(200, "<h1>Sign in</h1>")
		if b.fields.Get("user") != "@alice:hs.example" {
			t.Errorf("the hint: %v", b.fields)
		}
		b.send("password", "wrong").says(403, "is wrong")
		b.send("user", "nobody", "password", "wrong").says(403, "is wrong")
		b.send("user", "", "password", "").says(400)
		b.send("user", "@alice:elsewhere", "password", password).says(403)
		b.send("user", "alice@mail.example", "password", password).says(403)
		b.send("user", "\xff", "password", "\x00").says(400, "is not text")
		b.open(a.request()).signIn(" Alice ").says(200, "Allow App", "@alice:hs.example", "app.example", "127.0.0.1:4711")
		cookie := b.header.Get("Set-Cookie")
		if cookie != "" {
			t.Errorf("a page sets a cookie again: %s", cookie)
		}
		// Who is signed in is not asked again, unless the application or the user wants it.
		b.open(a.request()).says(200, "Allow App")
		b.open(a.request(set("prompt", "login"))).signIn("alice").says(200, "Allow App")
		b.open(s.url+b.links["Use another account"]).says(200, "<h1>Sign in</h1>")
		s.wait(25 * time.Hour)
		b.open(a.request()).says(200, "<h1>Sign in</h1>")
		// New passwords sign browsers out.
		b.signIn("alice").says(200, "Allow App")
		if err := s.accounts.SetPassword(t.Context(), aliceID, password, true, ""); err != nil {
			t.Fatal(err)
		}
		b.send("answer", "allow").says(200, "<h1>Sign in</h1>")
	})
}

// Cookies are out of reach for scripts and other sites.
func TestPageCookies(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("alice")
	b := newBrowser(t, s.url)
	first := b.open(oauth.LoginPath).header.Get("Set-Cookie")
	if !strings.HasPrefix(first, "trestle=") || !strings.Contains(first, "HttpOnly; SameSite=Lax") || !strings.Contains(first, "Path=/;") {
		t.Errorf("cookie: %s", first)
	}
	fixed := b.http.Jar.Cookies(&url.URL{Scheme: "http", Host: strings.TrimPrefix(s.url, "http://"), Path: "/"})
	b.signIn("alice").says(200, "Your account")
	if b.http.Jar.Cookies(&url.URL{Scheme: "http", Host: strings.TrimPrefix(s.url, "http://"), Path: "/"})[0].Value == fixed[0].Value {
		t.Error("signing in keeps a cookie that somebody else may have chosen")
	}
	// Where the server is reached by https, other sites of the host cannot set it.
	secure := api.NewServer(api.Options{Logger: slog.New(failing{t})})
	secure.Handle(clientapi.OAuthRoutes(oauth.New(oauth.Options{BaseURL: "https://hs.example"}), s.accounts))
	answer := httptest.NewRecorder()
	secure.Handler().ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", oauth.LoginPath, nil))
	if cookie := answer.Header().Get("Set-Cookie"); !strings.HasPrefix(cookie, "__Host-trestle=") || !strings.Contains(cookie, "; Secure;") {
		t.Errorf("cookie over https: %d %s", answer.Code, cookie)
	}
}

// Forms come from this server's pages, in the browser that they were shown to.
func TestForgedForms(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("alice")
	a, b := s.app("PHONE"), newBrowser(t, s.url)
	b.open(a.request()).signIn("alice").says(200)
	request, token := b.fields.Get("request"), b.fields.Get("form")
	post := func(client *http.Client, form url.Values, header map[string]string) int {
		r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+oauth.AuthorizePath, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for name, value := range header {
			r.Header.Set(name, value)
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	good := url.Values{"request": {request}, "answer": {"allow"}, "form": {token}}
	stranger := newBrowser(t, s.url)
	stranger.open(oauth.LoginPath)
	for name, status := range map[string]int{
		"without a token":           post(b.http, url.Values{"request": {request}, "answer": {"allow"}}, nil),
		"with another's token":      post(b.http, url.Values{"request": {request}, "answer": {"allow"}, "form": stranger.fields["form"]}, nil),
		"from another site":         post(b.http, good, map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}),
		"from an old other site":    post(b.http, good, map[string]string{"Origin": "https://evil.example"}),
		"from a site of the host's": post(b.http, good, map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://evil.hs.example"}),
	} {
		if status != 403 {
			t.Errorf("%s: %d", name, status)
		}
	}
	if status := post(b.http, good, map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://behind.a.proxy"}); status != 303 {
		t.Errorf("from the page itself: %d", status)
	}
}

// Whatever the parameter says, signing in leads to pages of this server.
func TestSignInLeadsNowhereElse(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("alice")
	for _, next := range []string{
		"https://evil.example/", "//evil.example/_trestle/account", `/\evil.example/`, `\\evil.example`, "/_trestle/account@evil.example", "javascript:alert(1)",
		"http:/_trestle/account", "/_trestle/../evil", "/_trestle/account\r\nX: y", "%2f%2fevil.example", "///evil.example", "/_trestle/oauth/login?next=//evil.example",
		"https://evil.example" + oauth.AccountPath, "//user@evil.example" + oauth.AccountPath, "/" + oauth.AccountPath, "",
	} {
		b := newBrowser(t, s.url).open(oauth.LoginPath + "?" + url.Values{"next": {next}}.Encode())
		b.signIn("alice").says(200, "<h1>Your account</h1>")
		if b.left != "" || !strings.HasPrefix(b.path, oauth.AccountPath) {
			t.Errorf("%q leads to %q %q", next, b.path, b.left)
		}
	}
	b := newBrowser(t, s.url).open(oauth.LoginPath + "?" + url.Values{"next": {oauth.LinkPath + "?user_code=BCDF-GHJK"}}.Encode())
	if b.signIn("alice").says(200, "Sign in on a device"); b.fields.Get("user_code") != "BCDF-GHJK" {
		t.Errorf("the way back has lost its query: %v", b.fields)
	}
}

func TestSignInElsewhere(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	s.register("alice")
	a, b := s.app("PHONE"), newBrowser(t, s.url)
	b.open(a.request()).says(200, "Sign in with Other &lt;place&gt;")
	away, err := url.Parse(b.links["Sign in with Other <place>"])
	if err != nil || away.Host != "login.example" {
		t.Fatalf("elsewhere: %v", b.links)
	}
	back := away.Query().Get("back")
	if !strings.HasPrefix(back, oauth.LoginPath+"?next=") {
		t.Fatalf("back to %s", back)
	}
	b.open(back+"&who=@mallory:hs.example").says(403, "Not you.")
	b.open(back+"&who=@alice:hs.example").says(200, "Allow App", "@alice:hs.example")
	b.send("answer", "allow")
	a.redeem(b.answers().Get("code"))
}

func TestSignUpPage(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newAccountServer(t, database, func(o *accounts.Options) {
			o.OpenRegistration, o.RegistrationTokens, o.Terms = false, []string{"sesame"}, terms
		})
		a, b := s.app("PHONE"), newBrowser(t, s.url)
		if prompts, _ := a.metadata["prompt_values_supported"].([]any); len(prompts) != 1 || prompts[0] != "create" {
			t.Errorf("prompts: %v", prompts)
		}
		b.open(a.request(set("prompt", "create"))).says(200, "<h1>Make a new account</h1>", "Privacy &lt;policy&gt;", `name="token"`, `name="agree"`)
		fill := func(user, again, token, agree string) *browser {
			return b.send("user", user, "password", password, "again", again, "token", token, "agree", agree)
		}
		fill("carol", "another", "sesame", "yes").says(400, "differ")
		fill("carol", password, "open", "yes").says(401, "not valid")
		fill("carol", password, "sesame", "").says(401, "agree")
		fill("", password, "sesame", "yes").says(400)
		fill("ircbot:", password, "sesame", "yes").says(400)
		b.send("user", "carol", "password", "short", "again", "short").says(400, "at least")
		fill("carol", password, "sesame", "yes").says(200, "Allow App", "@carol:hs.example").send("answer", "allow")
		token := a.redeem(b.answers().Get("code"))
		if r := s.must("GET", v3+"/account/whoami", token.AccessToken, ""); r.field("user_id") != "@carol:hs.example" {
			t.Errorf("whoami: %s", r.body)
		}
		if agreed, err := s.accounts.Consents(t.Context(), "@carol:hs.example"); err != nil || agreed["privacy"] != "1.2" {
			t.Errorf("agreed to %v, %v", agreed, err)
		}
		other := newBrowser(t, s.url).open(oauth.SignUpPath)
		other.send("user", "carol", "password", password, "again", password, "token", "sesame", "agree", "yes").says(400, "taken")
	})
}

// Where nobody can register on a page, nobody is sent there.
func TestSignUpClosed(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db", func(o *accounts.Options) { o.OpenRegistration = false })
	a, b := s.app("PHONE"), newBrowser(t, s.url)
	if a.metadata["prompt_values_supported"] != nil {
		t.Errorf("prompts: %v", a.metadata)
	}
	b.open(a.request(set("prompt", "create"))).says(200, "<h1>Sign in</h1>")
	b.open(oauth.SignUpPath).says(403)
}
