package testkit

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
)

// SpecProxy is the URL of a proxy before a homeserver, for clients whose
// transport is not ours: it lets everything through, and fails the test at what
// breaks the specification, see [SpecTransport].
func SpecProxy(t testing.TB, homeserver string) string {
	t.Helper()
	target, err := url.Parse(homeserver)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:    SpecTransport(t, http.DefaultTransport),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(func() {
		// A client's last long poll may still wait.
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}
