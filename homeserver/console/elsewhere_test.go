package console_test

import (
	"html"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakeprovider"
)

// A strictJar keeps what browsers keep back when another site sends them: the
// cookies that are for the same site alone.
type strictJar struct {
	*cookiejar.Jar
	foreign bool
}

// Cookies implements http.CookieJar.
func (j *strictJar) Cookies(u *url.URL) []*http.Cookie {
	var list []*http.Cookie
	for _, c := range j.Jar.Cookies(u) {
		if !j.foreign || !strings.HasPrefix(c.Name, "trestle_console") {
			list = append(list, c)
		}
	}
	return list
}

// A traveller is a browser that goes to other sites and back.
type traveller struct {
	*browser
	strict *strictJar
}

func (w *world) traveller() traveller {
	b := w.browser()
	jar := &strictJar{Jar: b.jar}
	b.http.Jar = jar
	return traveller{b, jar}
}

func (b traveller) open(path string) traveller {
	b.t.Helper()
	b.browser.open(path)
	return b
}

// leaves follows the link to the provider, and is the address by which it is
// sent back to the console.
func (b traveller) leaves() (back string) {
	b.t.Helper()
	found := regexp.MustCompile(`href="(/_trestle/client/sso/start/[^"]*)"`).FindStringSubmatch(b.body)
	if found == nil {
		b.t.Fatalf("%s leads nowhere else: %s", b.path, b.body)
	}
	client := &http.Client{Jar: b.strict, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == root+"/login" {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	b.strict.foreign = true
	defer func() { b.strict.foreign = false }()
	response, err := client.Get(b.base + html.UnescapeString(found[1]))
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	back = response.Header.Get("Location")
	if !strings.HasPrefix(back, root+"/login?") {
		b.t.Fatalf("it is sent to %q, %s", back, response.Status)
	}
	return back
}

// arrives comes by an address that another site has sent it to, and does what
// the page says without being asked.
func (b traveller) arrives(back string) traveller {
	b.t.Helper()
	b.strict.foreign = true
	b.do(http.MethodGet, back, nil, map[string]string{"Sec-Fetch-Site": "cross-site"})
	b.strict.foreign = false
	if _, here, ok := strings.Cut(b.header.Get("Refresh"), "url="); ok {
		b.says(200, "<h1>One moment</h1>", html.EscapeString(here))
		b.open(here)
	}
	return b
}

// elsewhere is a provider, and a server that knows it.
func elsewhere(t *testing.T, database string) (*world, *fakeprovider.Provider) {
	t.Helper()
	fake := fakeprovider.New(t)
	w := newWorld(t, database, nil, func(cfg *config.Config) {
		p := config.DefaultSSOProvider()
		p.ID, p.Name, p.Issuer, p.ClientID, p.ClientSecret = "work", "Work & <Co>", fake.URL, fake.ClientID, config.Secret(fake.ClientSecret)
		cfg.SSO.Providers = append(cfg.SSO.Providers, p)
	})
	root := w.login("root")
	for _, name := range []string{"root", "alice"} {
		w.call(root, "PUT", "/_synapse/admin/v2/users/@"+name+":hs.example", map[string]any{
			"external_ids": []map[string]string{{"auth_provider": "work", "external_id": "subject of " + name}},
		})
	}
	return w, fake
}

func subject(name string) map[string]any {
	return map[string]any{"sub": "subject of " + name, "preferred_username": name}
}

func TestSignInElsewhere(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		w, fake := elsewhere(t, database)
		fake.Be(subject("root"))
		b := w.traveller()
		b.open(page).says(200, "Sign in with Work &amp; &lt;Co&gt;")
		before := b.cookie("trestle_console_login")
		back := b.leaves()
		b.arrives(back).says(200, "<h1>irc &lt;u&gt;</h1>")
		if cookie := b.cookie("trestle_console"); cookie == "" || cookie == before || b.cookie("trestle_console_login") != "" {
			t.Errorf("the cookies are %q, %q; before %q", cookie, b.cookie("trestle_console_login"), before)
		}
		b.open(page).send(root+"/appservice", "id", service, "action", "retry").says(200, "The next attempt begins now.")

		// What led here was good once.
		b.open(root).send(root+"/logout", "where", "here").says(200, "<h1>Sign in</h1>")
		b.arrives(back).says(403, "Begin again here.")
		fake.Be(subject("alice"))
		b.open(root).arrives(b.leaves()).says(403, "Only an administrator", "Sign in with Work")
		fake.Be(subject("root"))
		b.open(root).arrives(b.leaves()).says(200, "<h1>Application services</h1>")

		// Who is no administrator any more is out at once, and stays out.
		w.user("boss", true)
		boss := w.login("boss")
		w.call(boss, "PUT", "/_synapse/admin/v2/users/@root:hs.example", map[string]any{"admin": false})
		b.open(root).arrives(b.leaves()).says(403, "Only an administrator")
	})
}

// Whatever somebody has a browser come back with, it signs nobody in and leads
// nowhere else.
func TestLiesOnTheWayBack(t *testing.T) {
	w, fake := elsewhere(t, "")
	fake.Be(subject("root"))
	b, victim := w.traveller(), w.traveller()
	b.open(root)
	victim.open(root)
	with := func(back string, change func(url.Values)) string {
		u, err := url.Parse(back)
		if err != nil {
			t.Fatal(err)
		}
		query := u.Query()
		change(query)
		return u.Path + "?" + query.Encode()
	}
	set := func(name, value string) func(url.Values) {
		return func(q url.Values) { q.Set(name, value) }
	}
	theirs := url.Values{}
	if u, err := url.Parse(victim.leaves()); err == nil {
		theirs = u.Query()
	}
	for name, c := range map[string]struct {
		change func(url.Values)
		want   string
	}{
		"another browser's proof":      {set("begun", theirs.Get("begun")), "begun in another browser"},
		"another browser's login":      {set("sso_result", theirs.Get("sso_result")), "begun in another browser"},
		"a guess at the proof":         {set("begun", "guess"), "begun in another browser"},
		"no proof":                     {set("begun", ""), "begun in another browser"},
		"the proof of a form":          {set("begun", b.token()), "begun in another browser"},
		"a guess at the login":         {set("sso_result", "guess"), "This login is over"},
		"no login":                     {func(q url.Values) { q.Del("sso_result") }, "Nobody has signed in there."},
		"no trace of where it began":   {func(q url.Values) { q.Del("begun") }, "<h1>Sign in</h1>"},
		"a second time from the start": {set("again", "1"), "begun in another browser"},
	} {
		b.arrives(with(b.open(root+"/login").leaves(), c.change))
		if !strings.Contains(b.body, c.want) || !strings.Contains(b.body, "<h1>Sign in</h1>") || b.cookie("trestle_console") != "" {
			t.Errorf("with %s: %d %s", name, b.status, b.body)
		}
	}
	// The attacker's own login is not the victim's, whoever sends it along.
	mine := b.open(root + "/login").leaves()
	victim.arrives(mine).says(403, "begun in another browser")
	victim.open(mine+"&again=1").says(403, "begun in another browser")
	if victim.cookie("trestle_console") != "" {
		t.Error("the victim has signed in as somebody else")
	}
	// It is still good where it began; and where it leads is a page of the console.
	for _, next := range []string{
		"https://evil.example/", "//evil.example/_trestle/console", `/\evil.example`, "/_matrix/client/v3/logout", "javascript:alert(1)",
		root + "/logout", root + "/../account", "/%2f/evil.example", root + "/appservice/../../account", "\x00", "\xff",
	} {
		b.arrives(with(mine, set("next", next)))
		if next == "\x00" || next == "\xff" {
			b.says(400, "is not text")
			continue
		}
		if b.status != 200 || b.path != root+"/" && b.path != root {
			t.Errorf("%q leads to %s: %d %s", next, b.path, b.status, b.body)
		}
		b.open(root).send(root+"/logout", "where", "here")
		mine = b.open(root + "/login").leaves()
	}
}

// A place that is asked for and does not answer, or lies, lets nobody in: the
// browser never comes back to the console.
func TestNobodyElsewhere(t *testing.T) {
	w, fake := elsewhere(t, "")
	fake.Be(subject("root"))
	fake.Lie(fakeprovider.Lies{Token: func(claims map[string]any) { claims["aud"] = "another" }})
	b := w.traveller()
	b.open(root)
	found := regexp.MustCompile(`href="(/_trestle/client/sso/start/[^"]*)"`).FindStringSubmatch(b.body)
	response, err := b.http.Get(w.url + html.UnescapeString(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusForbidden || b.cookie("trestle_console") != "" {
		t.Errorf("%s: %s", response.Request.URL, response.Status)
	}
	// A link that this server has not made goes to no provider.
	asked := fake.Asked("/authorize")
	for _, path := range []string{
		"/_trestle/client/sso/start/work?return_to=" + url.QueryEscape("https://evil.example/"),
		"/_trestle/client/sso/start/work?return_to=" + url.QueryEscape(root+"/login?next=x&begun=y") + "&mac=guess",
	} {
		response, err := b.http.Get(w.url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusBadRequest || fake.Asked("/authorize") != asked {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
}
