package clientapi_test

import (
	"testing"

	"trestle/internal/testkit"
	"trestle/internal/testkit/fakeprovider"
)

// Who signs in to allow an application may do so at a provider, and gets an
// account on the way.
func TestSSOForOAuth(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		fake := fakeprovider.New(t)
		fake.Be(dora)
		s := withProviders(t, database, nil, fake)
		s.person("dora")
		b := newVisitor(t)
		a := newApp(t, s.url, s.http, "DEVICE")
		b.gone(a.request()).shows(200, "Sign in with Provider a")
		signIn := *b
		b.click("Sign in with Provider a").shows(200, "Choose your user name", `value="dora"`)
		b.submit(map[string][]string{"username": {"dora2"}})
		b.shows(200, "Allow App", "@dora2:hs.example")

		// The next time there is nothing to choose, and in a browser that was
		// sent nowhere nothing to come back with.
		next := newVisitor(t)
		next.gone(a.request()).click("Sign in with Provider a").shows(200, "Allow App", "@dora2:hs.example")
		signIn.http = newVisitor(t).http
		back := signIn.callbackOf("Sign in with Provider a")
		newVisitor(t).gone(back).shows(403, "begun in another browser")
	})
}

// callbackOf is where the provider sends a browser that follows a link.
func (b *visitor) callbackOf(text string) string {
	b.t.Helper()
	b.open(b.link(text))
	return b.open(b.location()).location()
}
