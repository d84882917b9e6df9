package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// Nobody but a page of the console makes an operator's browser do anything.
func TestForgeries(t *testing.T) {
	w := newWorld(t, "", func(testkit.Attempt) int { return http.StatusTeapot })
	b, another := w.operator(), w.operator()
	token := b.open(page).token()
	pause := func(form string) url.Values {
		return url.Values{"form": {form}, "id": {service}, "action": {"pause"}}
	}
	for name, c := range map[string]struct {
		form   url.Values
		header map[string]string
	}{
		"without a token":          {pause(""), map[string]string{"Origin": w.url}},
		"with another's token":     {pause(another.open(page).token()), map[string]string{"Origin": w.url}},
		"with the login page's":    {pause(w.browser().open(root).token()), map[string]string{"Origin": w.url}},
		"from another origin":      {pause(token), map[string]string{"Origin": "https://evil.example"}},
		"from another site":        {pause(token), map[string]string{"Sec-Fetch-Site": "cross-site"}},
		"from a sandbox":           {pause(token), map[string]string{"Origin": "null"}},
		"with the token elsewhere": {url.Values{"id": {service}, "action": {"pause"}}, map[string]string{"Origin": w.url, "X-Form": token}},
	} {
		b.do(http.MethodPost, root+"/appservice", c.form, c.header)
		if b.status != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, b.status, b.body)
		}
	}
	b.do(http.MethodPost, root+"/appservice?form="+url.QueryEscape(token), url.Values{"id": {service}, "action": {"pause"}}, nil).says(403)
	b.open(page)
	if strings.Contains(b.body, "Paused") {
		t.Error("it was paused")
	}
	// Reading does nothing, whatever the query says.
	b.open(page + "&action=pause&form=" + url.QueryEscape(token)).says(200)
	if b.open(page); strings.Contains(b.body, "Paused") {
		t.Error("it was paused by a link")
	}
	// Without a session, everything is refused.
	stranger := w.browser().open(root)
	for _, path := range []string{"/appservice", "/transaction", "/letter", "/logout"} {
		stranger.send(root+path, "id", service, "action", "pause").says(403, "not signed in")
		stranger.open(root)
	}
	// A login that somebody else began is not finished here.
	stranger.do(http.MethodPost, root+"/login", url.Values{"form": {"x"}, "user": {"root"}, "password": {password}}, nil).says(403)
	stranger.do(http.MethodPost, root+"/login", url.Values{"form": {stranger.token()}, "user": {strings.Repeat("x", 70_000)}}, nil)
	if stranger.status/100 != 4 {
		t.Errorf("a form that is too large is %d", stranger.status)
	}
}

// What can be loaded without a session says nothing.
func TestFiles(t *testing.T) {
	w := newWorld(t, "", nil)
	b := w.browser()
	for path, kind := range map[string]string{"/console.css": "text/css", "/console.js": "text/javascript"} {
		b.open(root + path).says(200)
		if !strings.HasPrefix(b.header.Get("Content-Type"), kind) || b.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, b.header)
		}
	}
	b.open(root)
	for _, part := range []string{" style=", "<style", "onclick", "javascript:", "<script>"} {
		if strings.Contains(b.body, part) {
			t.Errorf("a page has %s, which its policy forbids", part)
		}
	}
}
