package outbound_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"trestle/internal/outbound"
)

func TestAllowed(t *testing.T) {
	guard := outbound.New(outbound.Options{
		Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")},
		Deny:  []netip.Prefix{netip.MustParsePrefix("8.8.8.0/24")},
		Ports: []int{80, 443},
	})
	for _, c := range []struct {
		address string
		allowed bool
	}{
		{"93.184.216.34:80", true},
		{"93.184.216.34:22", false},
		{"[2606:2800:220:1::1]:443", true},
		{"10.1.2.3:80", true},
		{"[::ffff:10.1.2.3]:80", true},
		{"10.2.2.3:80", false},
		{"8.8.8.8:443", false},
		{"127.0.0.1:80", false},
		{"0.0.0.0:80", false},
		{"169.254.169.254:80", false},
		{"100.64.0.1:80", false},
		{"224.0.0.1:80", false},
		{"255.255.255.255:80", false},
		{"[::1]:80", false},
		{"[::]:80", false},
		{"[::ffff:127.0.0.1]:80", false},
		{"[::127.0.0.1]:80", false},
		{"[64:ff9b::127.0.0.1]:80", false},
		{"[64:ff9b::8.8.4.4]:80", true},
		{"[2002:7f00:1::]:80", false},
		{"[fe80::1%eth0]:80", false},
		{"[fd00::1]:80", false},
	} {
		err := guard.Allowed(netip.MustParseAddrPort(c.address))
		if (err == nil) != c.allowed || err != nil && !errors.Is(err, outbound.ErrRefused) {
			t.Errorf("%s: %v", c.address, err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	guard := outbound.New(outbound.Options{Ports: []int{80}, Check: func(u *url.URL) error {
		if u.Hostname() == "bad.example" {
			return outbound.ErrRefused
		}
		return nil
	}})
	for text, fine := range map[string]bool{
		"http://example.org/": true, "https://example.org/": true, "http://example.org:80/": true,
		"http://example.org:81/": false, "ftp://example.org/": false, "file:///etc/passwd": false,
		"http://me@example.org/": false, "http:///x": false, "http://bad.example/": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := guard.CheckURL(u); (err == nil) != fine {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// The client checks where it connects to, not what a name stands for, and does
// so again after each redirect.
func TestClientReachesNothingPrivate(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "secret")
	}))
	defer target.Close()
	door := httptest.NewUnstartedServer(http.RedirectHandler(target.URL, http.StatusFound))
	door.Listener.Close()
	var err error
	if door.Listener, err = net.Listen("tcp", "127.0.0.2:0"); err != nil {
		t.Fatalf("a second address of this machine: %v", err)
	}
	door.Start()
	defer door.Close()
	port := target.URL[strings.LastIndexByte(target.URL, ':'):]

	closed := outbound.New(outbound.Options{Redirects: 3, Timeout: time.Minute}).Client()
	for _, at := range []string{target.URL, "http://localhost" + port} {
		if response, err := closed.Get(at); err == nil {
			response.Body.Close()
			t.Errorf("%s was reached", at)
		} else if !errors.Is(err, outbound.ErrRefused) {
			t.Errorf("%s: %v", at, err)
		}
	}
	ajar := outbound.New(outbound.Options{
		Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")}, Redirects: 3, Timeout: time.Minute,
	}).Client()
	if response, err := ajar.Get(door.URL); err == nil {
		response.Body.Close()
		t.Error("a redirect led to a private address")
	} else if !errors.Is(err, outbound.ErrRefused) {
		t.Error(err)
	}
	open := outbound.New(outbound.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Redirects: 1}).Client()
	response, err := open.Get(door.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, _ := io.ReadAll(response.Body); string(body) != "secret" {
		t.Errorf("%s", body)
	}
}

func TestRedirectsEnd(t *testing.T) {
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, server.URL+r.URL.Path+"x", http.StatusFound)
	}))
	defer server.Close()
	local := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if response, err := outbound.New(outbound.Options{Allow: local, Redirects: 3}).Client().Get(server.URL + "/"); err == nil {
		response.Body.Close()
		t.Error("it went round for ever")
	}
	response, err := outbound.New(outbound.Options{Allow: local}).Client().Get(server.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusFound {
		t.Error(response.Status)
	}
}
