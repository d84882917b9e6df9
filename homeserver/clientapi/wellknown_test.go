package clientapi_test

import (
	"testing"

	"trestle/internal/config"
)

func TestWellKnown(t *testing.T) {
	s := newWholeServer(t, t.TempDir()+"/test.db", func(c *config.Config) {
		c.PublicBaseURL = "https://matrix.example.org/"
		c.Calls.LiveKit = []string{"https://calls.example.org"}
		c.WellKnown = config.WellKnown{
			Client: `{"io.element.e2ee":{"default":false}}`, SupportPage: "https://example.org/help",
			Contacts: []config.Contact{{Email: "a@example.org", Role: "m.role.admin"}, {MatrixID: "@s:example.org", Role: "m.role.security"}},
		}
	})
	nobody := &device{wholeServer: s}
	const client = `{"io.element.e2ee":{"default":false},"m.homeserver":{"base_url":"https://matrix.example.org"},` +
		`"org.matrix.msc4143.rtc_foci":[{"type":"livekit","livekit_service_url":"https://calls.example.org"}]}`
	if r := nobody.must("GET", "/.well-known/matrix/client", nil); r.body != client {
		t.Errorf("for clients: %s", r.body)
	}
	const support = `{"contacts":[{"email_address":"a@example.org","role":"m.role.admin"},{"matrix_id":"@s:example.org","role":"m.role.security"}],` +
		`"support_page":"https://example.org/help"}`
	if r := nobody.must("GET", "/.well-known/matrix/support", nil); r.body != support {
		t.Errorf("for people: %s", r.body)
	}
}

func TestWellKnownByOperator(t *testing.T) {
	s := newWholeServer(t, t.TempDir()+"/test.db", func(c *config.Config) {
		c.Calls.LiveKit = []string{"https://calls.example.org"}
		c.WellKnown.Client = `{"org.matrix.msc4143.rtc_foci":[]}`
	})
	nobody := &device{wholeServer: s}
	if r := nobody.must("GET", "/.well-known/matrix/client", nil); !same(r.at("org.matrix.msc4143.rtc_foci"), []any{}) {
		t.Errorf("%s", r.body)
	}
	nobody.refused("GET", "/.well-known/matrix/support", nil, 404, "M_NOT_FOUND")
}
