package discovery

import (
	"net/http"
	"testing"
	"time"

	"trestle/internal/matrix"
)

// FuzzWellKnown finds only server names, and bounded times, in what anybody may have written.
func FuzzWellKnown(f *testing.F) {
	f.Add([]byte(`{"m.server":"matrix.example.org:443"}`), "max-age=3600, public", "")
	f.Add([]byte(`{"m.server":"[::1]:8448"}`), `no-cache, max-age="7"`, "Thu, 01 Dec 1994 16:00:00 GMT")
	f.Add([]byte(`[]`), "max-age=-1,,=,max-age=99999999999999999999", "0")
	f.Fuzz(func(t *testing.T, raw []byte, cacheControl, expires string) {
		name, ok := parseWellKnown(raw)
		if _, err := matrix.ParseServerName(string(name)); ok != (err == nil) {
			t.Errorf("%q: %q %v", raw, name, ok)
		}
		header := http.Header{"Cache-Control": {cacheControl}, "Expires": {expires}}
		if life := lifeOf(header, time.Now()); life < leastLife || life > longestLife {
			t.Errorf("%q %q: %s", cacheControl, expires, life)
		}
	})
}
