package irc_test

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"trestle/bridges/irc"
	"trestle/internal/discovery"
	"trestle/internal/outbound"
)

// Users of other homeservers show who they are by theirs, which speaks for nobody else.
func TestProvisioningForUsersOfOthers(t *testing.T) {
	t.Parallel()
	subject := ""
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_matrix/federation/v1/openid/userinfo" || r.FormValue("access_token") != "hers" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprintf(w, `{"sub":%q}`, subject)
	}))
	defer other.Close()
	name := strings.TrimPrefix(other.URL, "https://")
	authorities := x509.NewCertPool()
	authorities.AddCert(other.Certificate())
	options := outbound.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Authorities: authorities, Timeout: time.Minute}
	h, room, _, api := provisioned(t, func(c *irc.Config) {
		c.Federation = discovery.NewTransport(discovery.Options{Guard: outbound.New(options)})
	})

	dora, token := "@dora:"+name, map[string]string{"openIdToken": "hers", "matrixServer": name}
	for _, lie := range []string{"@dora:localhost", "@dora:elsewhere.example", "dora", ""} {
		subject = lie
		api.refused("POST", "exchange_openid", token, 403, "M_FORBIDDEN")
	}
	subject = dora
	api.refused("POST", "exchange_openid", map[string]string{"openIdToken": "another", "matrixServer": name}, 403, "M_FORBIDDEN")
	api.refused("POST", "exchange_openid", map[string]string{"openIdToken": "hers", "matrixServer": "not a name"}, 400, "M_INVALID_PARAM")
	status, answer, _ := api.call("POST", "exchange_openid", token)
	if status != 200 || answer["userId"] != dora {
		t.Fatalf("dora's token: %d %v", status, answer)
	}
	api.token = answer["token"].(string)
	api.refused("GET", "listlinks/"+room, nil, 403, "M_FORBIDDEN")
	h.Member(room, dora, dora, "join", "")
	if status, answer, _ := api.call("GET", "listlinks/"+room, nil); status != 200 {
		t.Errorf("dora's links: %d %v", status, answer)
	}

	// A private address is none of the bridge's business.
	options.Allow = nil
	_, _, _, closed := provisioned(t, func(c *irc.Config) {
		c.Federation = discovery.NewTransport(discovery.Options{Guard: outbound.New(options)})
	})
	closed.refused("POST", "exchange_openid", token, 502, "M_CONNECTION_FAILED")
}
