package sender_test

import (
	"strings"
	"testing"

	"trestle/appservice/sender"
	"trestle/internal/matrix"
)

// Whatever a client calls a URI, the answer is a user of the service or an
// error that says why not.
func FuzzURIs(f *testing.F) {
	for _, seed := range []string{"irc://x/y", "IRCS:x", "mailto:a@b", "://", "irc:", "irc", "irc://\x00", "irc:%zz", "tel:+49", "http://[::1"} {
		f.Add(seed)
	}
	as, reg := fake(f, "irc")
	as.Query = answering(200, `{"user_id":"@irc_x:hs.example","alias":"#other:hs.example"}`)
	reg.Protocols = []string{"irc"}
	s := start(f, newWorld(), sender.Options{Registry: registry(f, reg)})
	f.Fuzz(func(t *testing.T, uri string) {
		user, err := s.UserOfURI(t.Context(), uri)
		switch matrix.Code(err) {
		case "M_INVALID_PARAM", "M_NOT_FOUND":
		case "":
			if user != "@irc_x:hs.example" || !strings.HasPrefix(strings.ToLower(uri), "irc") {
				t.Errorf("%q is %q", uri, user)
			}
		default:
			t.Errorf("%q: %v", uri, err)
		}
		if alias, err := s.AliasOfURI(t.Context(), uri); err == nil {
			t.Errorf("%q is %q, which is not the service's", uri, alias)
		}
	})
}
