package browsers_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"trestle/homeserver/browsers"
	"trestle/internal/matrix"
)

const here = "https://hs.example"

func posted(form url.Values, header map[string]string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://internal:8008/page?form=in+the+address", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for name, value := range header {
		r.Header.Set(name, value)
	}
	return r
}

func TestForms(t *testing.T) {
	pages, others := browsers.NewPages(here, []byte("one")), browsers.NewPages(here, []byte("two"))
	mine, theirs := browsers.NewSecret(), browsers.NewSecret()
	own := map[string]string{"Origin": here, "Sec-Fetch-Site": "same-origin"}
	for name, c := range map[string]struct {
		cookie, token, text string
		header              map[string]string
		want                string
	}{
		"a page's form":           {mine, pages.Token(mine), "tea", own, ""},
		"without headers":         {mine, pages.Token(mine), "tea", nil, ""},
		"another browser's":       {theirs, pages.Token(mine), "tea", own, "M_FORBIDDEN"},
		"other pages'":            {mine, others.Token(mine), "tea", own, "M_FORBIDDEN"},
		"for another purpose":     {mine, pages.Proof("login", mine), "tea", own, "M_FORBIDDEN"},
		"without a token":         {mine, "", "tea", own, "M_FORBIDDEN"},
		"without a cookie":        {"", pages.Token(""), "tea", own, "M_FORBIDDEN"},
		"with a short cookie":     {"x", pages.Token("x"), "tea", own, "M_FORBIDDEN"},
		"from another origin":     {mine, pages.Token(mine), "tea", map[string]string{"Origin": "https://evil.example"}, "M_FORBIDDEN"},
		"from another site":       {mine, pages.Token(mine), "tea", map[string]string{"Sec-Fetch-Site": "cross-site"}, "M_FORBIDDEN"},
		"from no place":           {mine, pages.Token(mine), "tea", map[string]string{"Origin": "null"}, "M_FORBIDDEN"},
		"what is no text":         {mine, pages.Token(mine), "\xff", own, "M_INVALID_PARAM"},
		"what cannot be stored":   {mine, pages.Token(mine), "a\x00b", own, "M_INVALID_PARAM"},
		"past the proxy, by http": {mine, pages.Token(mine), "tea", map[string]string{"Origin": "http://internal:8008"}, ""},
	} {
		form, err := pages.Read(posted(url.Values{browsers.FormField: {c.token}, "text": {c.text}}, c.header), c.cookie)
		if matrix.Code(err) != c.want || err == nil && form.Get("text") != c.text {
			t.Errorf("%s: %v, %v", name, form, err)
		}
	}
	if _, err := pages.Read(httptest.NewRequest(http.MethodGet, "/?a=%zz", nil), mine); matrix.Code(err) != "M_INVALID_PARAM" {
		t.Errorf("a bad query: %v", err)
	}
	if query, err := pages.Read(httptest.NewRequest(http.MethodGet, "/?a=b", nil), ""); err != nil || query.Get("a") != "b" {
		t.Errorf("a query: %v, %v", query, err)
	}
}

func TestCookie(t *testing.T) {
	cookie := browsers.Cookie{Name: "tea", Seconds: 60, SameSite: http.SameSiteStrictMode}
	for secure, want := range map[bool]string{
		false: "tea=s; Path=/; Max-Age=60; HttpOnly; SameSite=Strict",
		true:  "__Host-tea=s; Path=/; Max-Age=60; HttpOnly; Secure; SameSite=Strict",
	} {
		w := httptest.NewRecorder()
		cookie.Set(w, secure, "s")
		if got := w.Header().Get("Set-Cookie"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.AddCookie(w.Result().Cookies()[0])
		if cookie.Read(r, secure) != "s" || cookie.Read(r, !secure) != "" {
			t.Errorf("read %q and %q", cookie.Read(r, secure), cookie.Read(r, !secure))
		}
		w = httptest.NewRecorder()
		if cookie.Clear(w, secure); w.Result().Cookies()[0].MaxAge != -1 {
			t.Errorf("it is still there: %v", w.Header())
		}
	}
	if a, b := browsers.NewSecret(), browsers.NewSecret(); a == b || !browsers.Plausible(a) || browsers.Plausible(a[:30]) {
		t.Errorf("secrets %q and %q", a, b)
	}
}

func FuzzOwnPage(f *testing.F) {
	for _, next := range []string{
		"/a", "/b?a=b#c", "//evil.example/a", `/\evil.example`, "https:/a", "https://hs.example/a", "/a/../c", "/%61", "/a?\r\nX: y", "", "?x", "/a;x", "javascript:/a",
	} {
		f.Add(next)
	}
	f.Fuzz(func(t *testing.T, next string) {
		page := browsers.OwnPage(next, "/home", "/a", "/b")
		path, query, _ := strings.Cut(page, "?")
		if path != "/a" && path != "/b" && page != "/home" || strings.ContainsAny(query, "#\r\n") {
			t.Errorf("%q leads to %q", next, page)
		}
	})
}
