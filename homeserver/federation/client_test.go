package federation_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/federation"
	"trestle/internal/discovery"
	"trestle/internal/matrix"
	"trestle/internal/outbound"
	"trestle/internal/testkit"
)

const here matrix.ServerName = "here.example"

// A world has an authority that signs certificates, and a clock.
type world struct {
	t         *testing.T
	authority *testkit.Authority
	key       matrix.SigningKey

	mu  sync.Mutex
	now time.Time
}

func newWorld(t *testing.T) *world {
	return &world{t: t, authority: testkit.NewAuthority(t), key: newKey(t), now: time.Now()}
}

func newKey(t *testing.T) matrix.SigningKey {
	t.Helper()
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (w *world) time() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// A peer is another server, which answers as a test wants.
type peer struct {
	name matrix.ServerName
	key  matrix.SigningKey
	http *httptest.Server

	mu       sync.Mutex
	answer   http.HandlerFunc
	requests int
}

func (p *peer) set(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *peer) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.requests++
	answer := p.answer
	p.mu.Unlock()
	answer(w, r)
}

func (w *world) peer(answer http.HandlerFunc) *peer {
	w.t.Helper()
	p := &peer{key: newKey(w.t), answer: answer}
	p.http = httptest.NewUnstartedServer(p)
	p.http.TLS = &tls.Config{Certificates: []tls.Certificate{w.authority.Certificate("127.0.0.1")}}
	p.http.StartTLS()
	w.t.Cleanup(p.http.Close)
	p.name = matrix.ServerName(p.http.Listener.Addr().String())
	return p
}

func (w *world) client(change ...func(*federation.ClientOptions)) *federation.Client {
	o := federation.ClientOptions{
		ServerName: here, Key: w.key, Now: w.time,
		Transport: discovery.NewTransport(discovery.Options{Guard: outbound.New(outbound.Options{
			Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Authorities: w.authority.Pool(),
		})}),
	}
	for _, c := range change {
		c(&o)
	}
	return federation.NewClient(o)
}

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func get(p *peer) federation.Request {
	return federation.Request{To: p.name, Method: http.MethodGet, URI: "/_matrix/federation/v1/version?x=%2F"}
}

func TestRequestsAreSigned(t *testing.T) {
	w := newWorld(t)
	var seen *http.Request
	var body []byte
	p := w.peer(func(w http.ResponseWriter, r *http.Request) {
		seen = r
		body, _ = io.ReadAll(r.Body)
		answers(200, `{"server":{"name":"Other"}}`)(w, r)
	})
	client := w.client()
	var answer struct{ Server struct{ Name string } }
	request := get(p)
	request.Method, request.Content = http.MethodPost, map[string]any{"b": 1, "a": "é<"}
	if err := client.JSON(t.Context(), request, &answer); err != nil || answer.Server.Name != "Other" {
		t.Fatalf("%+v %v", answer, err)
	}
	a, err := federation.ParseAuthorization(seen.Header.Get("Authorization"))
	if err != nil || a.Origin != here || a.Destination != p.name || a.Key != w.key.ID {
		t.Fatalf("%+v %v", a, err)
	}
	// By the specification's words, and not by the code that has signed.
	object := fmt.Sprintf(`{"method":"POST","uri":%q,"origin":%q,"destination":%q,"content":%s,"signatures":{%q:{%q:%q}}}`,
		seen.RequestURI, here, p.name, body, here, a.Key, a.Signature)
	if err := matrix.VerifyJSON([]byte(object), here, w.key.ID, w.key.Public()); err != nil || seen.RequestURI != request.URI || string(body) != `{"a":"é<","b":1}` {
		t.Errorf("%v: %s", err, object)
	}
	request.Unsigned = true
	if err := client.JSON(t.Context(), request, &answer); err != nil || seen.Header.Get("Authorization") != "" {
		t.Errorf("what anybody may ask is signed: %v %q", err, seen.Header.Get("Authorization"))
	}
}

func TestAnswersOfOthers(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	client := w.client()
	var refusal *federation.Refusal
	var away *federation.Unreachable
	ask := func(answer http.HandlerFunc) error {
		p.set(answer)
		return client.JSON(t.Context(), get(p), &struct{ X string }{})
	}
	if err := ask(answers(404, `{"errcode":"M_NOT_FOUND","error":"It\u0000is\ngone"}`)); !errors.As(err, &refusal) || refusal.Code != "M_NOT_FOUND" || refusal.Message != "It is gone" || refusal.Status != 404 {
		t.Errorf("not found: %v", err)
	}
	if err := ask(answers(429, `{"errcode":"M_LIMIT_EXCEEDED","error":"","retry_after_ms":1500}`)); !errors.As(err, &refusal) || refusal.RetryAfter != 1500*time.Millisecond {
		t.Errorf("too many: %v", err)
	}
	if err := ask(answers(500, `{"errcode":"M_UNKNOWN","error":"Oh"}`)); !errors.As(err, &refusal) || errors.As(err, &away) {
		t.Errorf("an error of Matrix: %v", err)
	}
	for what, answer := range map[string]http.HandlerFunc{
		"another type": answers(200, `{"X":[]}`),
		"no JSON":      answers(200, `{"X":`),
		"too much":     answers(200, `{"X":"`+strings.Repeat("x", 2<<20)+`"}`),
	} {
		if err := ask(answer); !errors.Is(err, federation.ErrAnswer) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := ask(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }); !errors.As(err, &refusal) || refusal.Status != 302 {
		t.Errorf("a redirect: %v", err)
	}
	if err := ask(answers(400, `{"errcode":"<script>","error":"x"}`)); !errors.As(err, &refusal) || refusal.Code != "" {
		t.Errorf("no code: %v", err)
	}
	before := p.asked()
	for what, to := range map[string]matrix.ServerName{"this server": here, "nobody": "a/b"} {
		r := get(p)
		r.To = to
		if err := client.JSON(t.Context(), r, nil); !errors.Is(err, federation.ErrDenied) {
			t.Errorf("%s: %v", what, err)
		}
	}
	denying := w.client(func(o *federation.ClientOptions) { o.Allowed = func(s matrix.ServerName) bool { return s != p.name } })
	if err := denying.JSON(t.Context(), get(p), nil); !errors.Is(err, federation.ErrDenied) || p.asked() != before {
		t.Errorf("a server that is not allowed: %v", err)
	}
}

// A server that is away is left alone for longer and longer, until it is heard from.
func TestServersThatAreAway(t *testing.T) {
	w := newWorld(t)
	p := w.peer(answers(502, `<h1>Bad gateway</h1>`))
	client := w.client()
	ask := func() (tried bool, err error) {
		before := p.asked()
		err = client.JSON(t.Context(), get(p), &json.RawMessage{})
		return p.asked() > before, err
	}
	var away *federation.Unreachable
	for try := range 14 {
		tried, err := ask()
		if !tried || !errors.As(err, &away) {
			t.Fatalf("try %d: %v %v", try, tried, err)
		}
		next := away.Until.Sub(w.time())
		if next < min(2*time.Second<<try, time.Hour)*3/4 || next > time.Hour {
			t.Errorf("after %d failures it is left alone for %s", try+1, next)
		}
		if tried, err := ask(); tried || !errors.As(err, &away) || away.Err != nil {
			t.Errorf("it is not left alone: %v", err)
		}
		w.pass(next)
	}
	p.set(answers(502, ``))
	_, _ = ask()
	p.set(answers(200, `{}`))
	if tried, _ := ask(); tried {
		t.Error("it is tried too early")
	}
	urgent := get(p)
	urgent.Urgent = true
	if err := client.JSON(t.Context(), urgent, &json.RawMessage{}); err != nil {
		t.Errorf("what is urgent is not tried: %v", err)
	}
	if tried, err := ask(); !tried || err != nil {
		t.Errorf("it has answered: %v", err)
	}
	p.set(answers(503, ``))
	_, _ = ask()
	client.Heard(p.name)
	if tried, _ := ask(); !tried {
		t.Error("it has been heard from")
	}
	// A caller that goes away says nothing about the server.
	w.pass(2 * time.Hour)
	client.Heard(p.name)
	ctx, cancel := context.WithCancel(t.Context())
	p.set(func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if err := client.JSON(ctx, get(p), &json.RawMessage{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	p.set(answers(200, `{}`))
	if tried, err := ask(); !tried || err != nil {
		t.Errorf("it is held against the server: %v", err)
	}
}

// What takes too long ends.
func TestSlowServers(t *testing.T) {
	w := newWorld(t)
	p := w.peer(nil)
	client := w.client()
	r := get(p)
	r.Timeout = 200 * time.Millisecond
	var away *federation.Unreachable
	p.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	if err := client.JSON(t.Context(), r, &json.RawMessage{}); !errors.As(err, &away) {
		t.Errorf("no answer: %v", err)
	}
	client.Heard(p.name)
	p.set(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, " ")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	if err := client.JSON(t.Context(), r, &json.RawMessage{}); !errors.As(err, &away) || away.Err == nil {
		t.Errorf("an answer without end: %v", err)
	}
	if err := client.JSON(t.Context(), r, &json.RawMessage{}); !errors.As(err, &away) || away.Err != nil {
		t.Errorf("it is not left alone: %v", err)
	}
}

// Nothing is said to a server whose certificate is not its own.
func TestCertificatesAreChecked(t *testing.T) {
	w := newWorld(t)
	p := w.peer(answers(200, `{}`))
	stranger := newWorld(t)
	stranger.key = w.key
	var away *federation.Unreachable
	if err := stranger.client().JSON(t.Context(), get(p), &json.RawMessage{}); !errors.As(err, &away) || p.asked() != 0 {
		t.Errorf("%v after %d requests", err, p.asked())
	}
}

// Whoever waits for a server is told when it is heard from, be it by what it answers or by what it asks.
func TestServersThatAreHeard(t *testing.T) {
	w := newWorld(t)
	p := w.peer(answers(502, ``))
	var heard []matrix.ServerName
	client := w.client(func(o *federation.ClientOptions) {
		o.Heard = func(server matrix.ServerName) { heard = append(heard, server) }
	})
	if err := client.JSON(t.Context(), get(p), &json.RawMessage{}); err == nil || len(heard) > 0 {
		t.Errorf("%v is heard, %v", heard, err)
	}
	client.Heard(p.name)
	p.set(answers(200, `{}`))
	_ = client.JSON(t.Context(), get(p), &json.RawMessage{})
	p.set(answers(404, `{"errcode":"M_NOT_FOUND","error":""}`))
	_ = client.JSON(t.Context(), get(p), &json.RawMessage{})
	if len(heard) != 3 || heard[0] != p.name || heard[2] != p.name {
		t.Errorf("%v is heard", heard)
	}
}
