package discovery_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trestle/internal/discovery"
	"trestle/internal/matrix"
	"trestle/internal/outbound"
	"trestle/internal/testkit"
)

// A world is an Internet of one test: names, addresses, and who listens there.
type world struct {
	t         *testing.T
	authority *testkit.Authority
	guard     outbound.Options

	mu        sync.Mutex
	now       time.Time
	addresses map[string][]netip.Addr
	services  map[string][]*net.SRV // "matrix-fed example.org"
	listeners map[string]string     // 198.51.100.1:8448 → where it is really
	dialed    []string
	lookups   int
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, authority: testkit.NewAuthority(t), now: time.Now(),
		addresses: map[string][]netip.Addr{}, services: map[string][]*net.SRV{}, listeners: map[string]string{},
	}
}

func (w *world) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if found := w.addresses[host]; found != nil {
		return found, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (w *world) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lookups++
	if found := w.services[service+" "+name]; found != nil && proto == "tcp" {
		return "", found, nil
	}
	return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dialed = append(w.dialed, address)
	to, ok := w.listeners[address]
	w.mu.Unlock()
	if !ok {
		return nil, errors.New("connection refused")
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}

// serve has a handler answer at addresses, with a certificate for hosts.
func (w *world) serve(handler http.HandlerFunc, hosts []string, addresses ...string) {
	w.t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{w.authority.Certificate(hosts...)}}
	server.Config.ErrorLog = nil
	server.StartTLS()
	w.t.Cleanup(server.Close)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, address := range addresses {
		w.listeners[address] = server.Listener.Addr().String()
	}
}

// host gives a name an address.
func (w *world) host(name, address string) {
	w.addresses[name] = append(w.addresses[name], netip.MustParseAddr(address))
}

func (w *world) delegate(host, server string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/matrix/server" || r.Host != host {
			rw.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintf(rw, `{"m.server":%q}`, server)
	}
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) transport() *discovery.Transport {
	w.guard.Authorities = w.authority.Pool()
	return discovery.NewTransport(discovery.Options{
		Guard: outbound.New(w.guard), DNS: w, Dial: w.dial,
		Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now
		},
	})
}

func ask(t *testing.T, transport http.RoundTripper, server string) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+server+"/_matrix/federation/v1/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	return string(raw), err
}

// whoami answers with the host that was asked for, and the name of the TLS handshake.
func whoami(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s", r.Host, r.TLS.ServerName, r.URL.Path)
}

// Every step of the specification, with the Host header and the certificate that belong to it.
func TestServersAreFound(t *testing.T) {
	w := newWorld(t)
	srv := func(target string, port uint16) []*net.SRV { return []*net.SRV{{Target: target, Port: port}} }
	for name, address := range map[string]string{
		"plain.example": "198.51.100.1", "delegates.example": "198.51.100.2", "matrix.delegates.example": "198.51.100.3",
		"port.example": "198.51.100.4", "new.example": "198.51.100.5", "old.example": "198.51.100.6", "target.example": "198.51.100.7",
		"chain.example": "198.51.100.8", "service.example": "198.51.100.9", "nonsense.example": "198.51.100.10", "address.example": "198.51.100.11",
	} {
		w.host(name, address)
	}
	w.services["matrix-fed new.example"], w.services["matrix old.example"] = srv("target.example.", 4443), srv("target.example.", 4444)
	w.services["matrix-fed sub.service.example"] = srv("target.example.", 4445)
	w.services["matrix-fed delegates.example"] = srv("target.example.", 1) // the file comes first
	w.serve(whoami, []string{"plain.example"}, "198.51.100.1:8448", "198.51.100.1:1234")
	w.serve(w.delegate("delegates.example", "matrix.delegates.example"), []string{"delegates.example"}, "198.51.100.2:443")
	w.serve(whoami, []string{"matrix.delegates.example"}, "198.51.100.3:8448", "198.51.100.3:99")
	w.serve(w.delegate("port.example", "matrix.delegates.example:99"), []string{"port.example"}, "198.51.100.4:443")
	w.serve(whoami, []string{"new.example"}, "198.51.100.7:4443")
	w.serve(whoami, []string{"old.example"}, "198.51.100.7:4444")
	w.serve(whoami, []string{"sub.service.example"}, "198.51.100.7:4445")
	w.serve(w.delegate("chain.example", "delegates.example:8448"), []string{"chain.example"}, "198.51.100.8:443")
	w.serve(whoami, []string{"delegates.example"}, "198.51.100.2:8448")
	w.serve(w.delegate("service.example", "sub.service.example"), []string{"service.example"}, "198.51.100.9:443")
	w.serve(w.delegate("nonsense.example", "not a name"), []string{"nonsense.example"}, "198.51.100.10:443")
	w.serve(whoami, []string{"nonsense.example"}, "198.51.100.10:8448")
	w.serve(w.delegate("address.example", "198.51.100.12"), []string{"address.example"}, "198.51.100.11:443")
	w.serve(whoami, []string{"198.51.100.12"}, "198.51.100.12:8448", "198.51.100.12:77")
	w.serve(whoami, []string{"2001:db8::7"}, "[2001:db8::7]:8448", "[2001:db8::7]:88")
	transport := w.transport()
	for name, want := range map[string]string{
		"plain.example":      "plain.example plain.example",
		"plain.example:1234": "plain.example:1234 plain.example",
		"198.51.100.12":      "198.51.100.12 ",
		"198.51.100.12:77":   "198.51.100.12:77 ",
		"[2001:db8::7]":      "[2001:db8::7] ",
		"[2001:db8::7]:88":   "[2001:db8::7]:88 ",
		"delegates.example":  "matrix.delegates.example matrix.delegates.example",
		"port.example":       "matrix.delegates.example:99 matrix.delegates.example",
		"new.example":        "new.example new.example",
		"old.example":        "old.example old.example",
		"chain.example":      "delegates.example:8448 delegates.example", // one step only
		"service.example":    "sub.service.example sub.service.example",
		"nonsense.example":   "nonsense.example nonsense.example",
		"address.example":    "198.51.100.12 ",
	} {
		if got, err := ask(t, transport, name); err != nil || got != want+" /_matrix/federation/v1/version" {
			t.Errorf("%s answers %q %v, want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"nowhere.example", "plain.example:7", "198.51.100.1"} { // the last has no certificate for its address
		if got, err := ask(t, transport, name); err == nil {
			t.Errorf("%s answers %q", name, got)
		}
	}
}

// The target of an SRV record has to have the certificate of the name that was asked for.
func TestCertificatesAreForTheName(t *testing.T) {
	w := newWorld(t)
	w.host("target.example", "198.51.100.7")
	w.services["matrix-fed victim.example"] = []*net.SRV{{Target: "target.example.", Port: 8448}}
	w.serve(whoami, []string{"target.example"}, "198.51.100.7:8448")
	if got, err := ask(t, w.transport(), "victim.example"); err == nil {
		t.Errorf("somebody else answers %q", got)
	}
	var wrong *tls.CertificateVerificationError
	if _, err := ask(t, w.transport(), "victim.example"); !errors.As(err, &wrong) {
		t.Errorf("the error is %v", err)
	}
}

func TestTheNextTargetIsTried(t *testing.T) {
	w := newWorld(t)
	w.host("one.example", "198.51.100.1")
	w.host("two.example", "198.51.100.2")
	w.host("two.example", "2001:db8::2")
	w.services["matrix-fed many.example"] = []*net.SRV{{Target: "gone.example.", Port: 1}, {Target: "one.example.", Port: 1}, {Target: "two.example.", Port: 2}}
	w.services["matrix-fed none.example"] = []*net.SRV{{Target: "."}}
	w.host("none.example", "198.51.100.3")
	w.serve(whoami, []string{"none.example"}, "198.51.100.3:8448")
	w.serve(whoami, []string{"many.example"}, "[2001:db8::2]:2")
	transport := w.transport()
	if got, err := ask(t, transport, "many.example"); err != nil || !strings.HasPrefix(got, "many.example ") {
		t.Errorf("%q %v", got, err)
	}
	if got, err := ask(t, transport, "none.example"); !errors.Is(err, discovery.ErrNotFound) {
		t.Errorf("a server that says it is not there answers %q %v", got, err)
	}
}

// A connection is used again, but not for a server that has moved.
func TestConnectionsStay(t *testing.T) {
	w := newWorld(t)
	w.host("example.org", "198.51.100.1")
	w.serve(whoami, []string{"example.org"}, "198.51.100.1:8448", "198.51.100.2:8448")
	transport := w.transport()
	count := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		n := 0
		for _, address := range w.dialed {
			if strings.HasSuffix(address, ":8448") {
				n++
			}
		}
		return n
	}
	for range 3 {
		if _, err := ask(t, transport, "example.org"); err != nil {
			t.Fatal(err)
		}
	}
	if count() != 1 {
		t.Errorf("%d connections for three requests", count())
	}
	w.services["matrix-fed example.org"] = []*net.SRV{{Target: "elsewhere.example.", Port: 8448}}
	w.host("elsewhere.example", "198.51.100.2")
	w.pass(time.Hour)
	if _, err := ask(t, transport, "example.org"); err != nil || count() != 2 {
		t.Errorf("%d connections after a move, %v", count(), err)
	}
}

// What is behind a name is guarded where it is connected to.
func TestPrivateAddressesAreNotReached(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(whoami))
	defer server.Close()
	name := strings.TrimPrefix(server.URL, "https://")
	w := newWorld(t)
	w.host("inside.example", "127.0.0.1")
	port := name[strings.LastIndexByte(name, ':'):]
	for _, allowed := range []bool{true, false} {
		o := outbound.Options{Authorities: w.authority.Pool()}
		o.Authorities.AddCert(server.Certificate())
		if allowed {
			o.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}
		transport := discovery.NewTransport(discovery.Options{Guard: outbound.New(o), DNS: w})
		_, err := ask(t, transport, name)
		if allowed && err != nil || !allowed && !errors.Is(err, outbound.ErrRefused) {
			t.Errorf("allowed is %v: %v", allowed, err)
		}
		if _, err := ask(t, transport, "inside.example"+port); !allowed && !errors.Is(err, outbound.ErrRefused) {
			t.Errorf("by its name: %v", err)
		}
	}
}

// A file that is no good is as good as none, whoever wrote it.
func TestHostileWellKnownFiles(t *testing.T) {
	for what, handler := range map[string]http.HandlerFunc{
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"m.server":"evil.example","x":%q}`, strings.Repeat("x", 1<<20))
		},
		"a redirect to itself": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"?"+r.URL.RawQuery+"x", http.StatusFound)
		},
		"a redirect to plain HTTP": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://evil.example/", http.StatusFound)
		},
		"no JSON":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `m.server = evil.example`) },
		"another type": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"m.server":["evil.example"]}`) },
		"another case": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"M.Server":"evil.example"}`) },
		"a path":       func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"m.server":"evil.example/x"}`) },
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			fmt.Fprint(w, `{"m.server":"evil.example"}`)
		},
		"not there": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(404)
			fmt.Fprint(w, `{"m.server":"evil.example"}`)
		},
		"huge headers": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) },
		"a broken body": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"m.server":`)
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.host("example.org", "198.51.100.1")
			w.host("evil.example", "198.51.100.6")
			w.serve(handler, []string{"example.org"}, "198.51.100.1:443")
			w.serve(whoami, []string{"example.org"}, "198.51.100.1:8448")
			w.serve(whoami, []string{"evil.example"}, "198.51.100.6:8448")
			plain := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, `{"m.server":"evil.example"}`) }))
			defer plain.Close()
			w.listeners["198.51.100.6:80"] = plain.Listener.Addr().String()
			if got, err := ask(t, w.transport(), "example.org"); err != nil || !strings.HasPrefix(got, "example.org ") {
				t.Errorf("%q %v", got, err)
			}
		})
	}
}

// Redirects without end are followed a few times.
func TestRedirectsEnd(t *testing.T) {
	w := newWorld(t)
	w.host("example.org", "198.51.100.1")
	var asked atomic.Int32
	w.serve(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, fmt.Sprintf("/%d", asked.Add(1)), http.StatusFound)
	}, []string{"example.org"}, "198.51.100.1:443")
	w.serve(whoami, []string{"example.org"}, "198.51.100.1:8448")
	if got, err := ask(t, w.transport(), "example.org"); err != nil || !strings.HasPrefix(got, "example.org ") || asked.Load() > 6 {
		t.Errorf("%q %v after %d requests", got, err, asked.Load())
	}
}

func TestRedirectsOfWellKnownFilesAreFollowed(t *testing.T) {
	w := newWorld(t)
	w.host("example.org", "198.51.100.1")
	w.host("www.example.org", "198.51.100.2")
	w.host("matrix.example.org", "198.51.100.3")
	w.serve(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://www.example.org"+r.URL.Path, http.StatusMovedPermanently)
	}, []string{"example.org"}, "198.51.100.1:443")
	w.serve(w.delegate("www.example.org", "matrix.example.org:443"), []string{"www.example.org"}, "198.51.100.2:443")
	w.serve(whoami, []string{"matrix.example.org"}, "198.51.100.3:443")
	if got, err := ask(t, w.transport(), "example.org"); err != nil || !strings.HasPrefix(got, "matrix.example.org:443 ") {
		t.Errorf("%q %v", got, err)
	}
}

// Files are kept as long as they say, within bounds, and longer only while nobody answers.
func TestWellKnownFilesAreKept(t *testing.T) {
	w := newWorld(t)
	w.host("example.org", "198.51.100.1")
	var mu sync.Mutex
	asked, status, cacheControl, server := 0, http.StatusOK, "", "one.example:1"
	set := func(s int, c, name string) {
		mu.Lock()
		defer mu.Unlock()
		status, cacheControl, server = s, c, name
	}
	w.serve(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if cacheControl != "" {
			w.Header().Set("Cache-Control", cacheControl)
		}
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"m.server":%q}`, server)
	}, []string{"example.org"}, "198.51.100.1:443")
	transport := w.transport()
	step := func(what string, after time.Duration, requests int, want string) {
		t.Helper()
		mu.Lock()
		before := asked
		mu.Unlock()
		w.pass(after)
		place, err := transport.Find(t.Context(), "example.org")
		mu.Lock()
		defer mu.Unlock()
		if err != nil || place.Host != want || asked-before != requests {
			t.Errorf("%s: at %s after %d requests, %v; want %s after %d", what, place.Host, asked-before, err, want, requests)
		}
	}
	step("the first time", 0, 1, "one.example:1")
	step("the same day", 20*time.Hour, 0, "one.example:1")
	set(http.StatusOK, "public, max-age=3600", "two.example:2")
	step("the next day", 5*time.Hour, 1, "two.example:2")
	step("within the hour", 50*time.Minute, 0, "two.example:2")
	set(http.StatusOK, "max-age=99999999", "three.example:3")
	step("after the hour", 11*time.Minute, 1, "three.example:3")
	step("the next day", 40*time.Hour, 0, "three.example:3")
	set(http.StatusOK, "no-store", "four.example:4")
	step("after two days", 9*time.Hour, 1, "four.example:4")
	step("at once", time.Minute, 0, "four.example:4")
	set(http.StatusBadGateway, "", "five.example:5")
	step("it is broken", 6*time.Minute, 1, "four.example:4")
	step("and is asked seldom", 30*time.Second, 0, "four.example:4")
	step("for two days at most", 48*time.Hour, 1, "example.org")
	set(http.StatusNotFound, "", "")
	step("it is gone", 2*time.Hour, 1, "example.org")
	step("and stays so", 50*time.Minute, 0, "example.org")
}

// Many who look for one server ask once.
func TestOneLookUpForMany(t *testing.T) {
	w := newWorld(t)
	w.host("example.org", "198.51.100.1")
	w.serve(whoami, []string{"example.org"}, "198.51.100.1:8448")
	transport := w.transport()
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := transport.Find(t.Context(), "example.org"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if w.lookups > 2 { // one for each of the two names of the service
		t.Errorf("%d look-ups", w.lookups)
	}
	if i := slices.IndexFunc(w.dialed, func(a string) bool { return strings.HasSuffix(a, ":443") }); i < 0 || len(w.dialed) != 1 {
		t.Errorf("connections to %v", w.dialed)
	}
}

func TestNamesThatAreNone(t *testing.T) {
	transport := newWorld(t).transport()
	for _, name := range []matrix.ServerName{"", "a/b", "a b", "[::1", "a:b", "user@host"} {
		if _, err := transport.Find(t.Context(), name); !errors.Is(err, discovery.ErrNotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
