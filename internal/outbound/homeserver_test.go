package outbound

import (
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"trestle/internal/matrix"
)

func TestHomeserversAreFound(t *testing.T) {
	delegated := map[string]string{
		"delegates.example": "matrix.delegates.example", "port.example": "matrix.port.example:443", "address.example": "192.0.2.7",
		"six.example": "[2001:db8::7]:1", "nonsense.example": "not a name", "chain.example": "delegates.example",
	}
	services := map[string]string{"matrix-fed new.example": "srv.new.example.", "matrix old.example": "srv.old.example.", "matrix-fed matrix.delegates.example": "srv.example."}
	f := finder{
		delegated: func(host string) string { return delegated[host] },
		service: func(name, host string) (string, uint16, bool) {
			target := services[name+" "+host]
			return target, 4443, target != ""
		},
	}
	for name, want := range map[matrix.ServerName]place{
		"plain.example":      {"plain.example", "plain.example:8448"},
		"plain.example:1234": {"plain.example:1234", "plain.example:1234"},
		"192.0.2.1":          {"192.0.2.1", "192.0.2.1:8448"},
		"192.0.2.1:99":       {"192.0.2.1:99", "192.0.2.1:99"},
		"[2001:db8::1]":      {"[2001:db8::1]", "[2001:db8::1]:8448"},
		"[2001:db8::1]:99":   {"[2001:db8::1]:99", "[2001:db8::1]:99"},
		"delegates.example":  {"matrix.delegates.example", "srv.example:4443"},
		"chain.example":      {"delegates.example", "delegates.example:8448"}, // one step only
		"port.example":       {"matrix.port.example:443", "matrix.port.example:443"},
		"address.example":    {"192.0.2.7", "192.0.2.7:8448"},
		"six.example":        {"[2001:db8::7]:1", "[2001:db8::7]:1"},
		"nonsense.example":   {"nonsense.example", "nonsense.example:8448"},
		"new.example":        {"new.example", "srv.new.example:4443"},
		"old.example":        {"old.example", "srv.old.example:4443"},
	} {
		if got := f.find(name); got != want {
			t.Errorf("%s is at %+v, not %+v", name, got, want)
		}
	}
}

func TestHomeserversAreAsked(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(r.Host + r.URL.Path)
	}))
	defer server.Close()
	name := matrix.ServerName(strings.TrimPrefix(server.URL, "https://"))
	authorities := x509.NewCertPool()
	authorities.AddCert(server.Certificate())
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	ask := func(o Options, name matrix.ServerName) (string, error) {
		o.Timeout = time.Minute
		client, base, err := New(o).Homeserver(t.Context(), name)
		if err != nil {
			return "", err
		}
		response, err := client.Get(base + "/version")
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		raw, err := io.ReadAll(response.Body)
		return strings.TrimSpace(string(raw)), err
	}
	if got, err := ask(Options{Allow: local, Authorities: authorities}, name); got != `"`+string(name)+`/version"` {
		t.Errorf("it answers %s %v", got, err)
	}
	for what, o := range map[string]Options{"a private address": {Authorities: authorities}, "a certificate of nobody's": {Allow: local}} {
		if got, err := ask(o, name); err == nil {
			t.Errorf("%s is taken: %s", what, got)
		}
	}
	if _, err := ask(Options{}, "elsewhere.example/path"); err == nil {
		t.Error("that is no name")
	}
}

// FuzzFind finds only what can be connected to.
func FuzzFind(f *testing.F) {
	f.Add("example.org", "matrix.example.org:443")
	f.Add("[::1]:8448", "")
	f.Fuzz(func(t *testing.T, name, delegated string) {
		if _, err := matrix.ParseServerName(name); err != nil {
			return
		}
		to := finder{
			delegated: func(string) string { return delegated },
			service:   func(string, string) (string, uint16, bool) { return "", 0, false },
		}.find(matrix.ServerName(name))
		if _, err := matrix.ParseServerName(to.host); err != nil || !strings.Contains(to.address, ":") {
			t.Errorf("%q, %q: %+v", name, delegated, to)
		}
	})
}
