package sender

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"trestle/appservice"
	"trestle/registration"
)

const (
	dialTimeout = 10 * time.Second
	// maxAnswer is how much of an answer is read, unless a request asks for more.
	maxAnswer = 64 << 10
	// relearn is how long it is believed that a service is an old one.
	relearn = time.Hour
	// maxQueries is how many queries a service gets at once. Transactions have
	// a connection of their own.
	maxQueries = 32
)

// A link speaks HTTP to one service. It shares nothing with other links.
type link struct {
	base       string
	hsToken    string
	previous   registration.Previous // its HSToken is tried where the newer one is refused
	queryToken registration.QueryToken
	agent      string
	serves     func() bool // may be nil
	events     http.RoundTripper
	queries    http.RoundTripper

	// What the service was found to need, and until when (ms since 1970) that
	// is believed.
	legacyPaths atomic.Int64
	tokenInURL  atomic.Int64
	oldToken    atomic.Int64
}

func newLink(opts Options, reg *registration.Registration) *link {
	l := &link{base: reg.URL, hsToken: reg.HSToken, previous: reg.Previous, queryToken: reg.QueryToken, agent: opts.UserAgent, serves: opts.Serves}
	if opts.Transport != nil {
		l.events = opts.Transport(reg)
		l.queries = l.events
		return l
	}
	dial := (&net.Dialer{Timeout: dialTimeout}).DialContext
	if socket, ok := strings.CutPrefix(reg.URL, "unix://"); ok {
		l.base = "http://unix"
		dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", socket)
		}
	}
	transport := func(conns int) *http.Transport {
		return &http.Transport{
			DialContext: dial, TLSClientConfig: opts.TLS, TLSHandshakeTimeout: dialTimeout,
			MaxConnsPerHost: conns, MaxIdleConnsPerHost: conns, IdleConnTimeout: 90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
		}
	}
	l.events, l.queries = transport(2), transport(maxQueries)
	return l
}

func (l *link) close() {
	for _, rt := range []http.RoundTripper{l.events, l.queries} {
		if t, ok := rt.(*http.Transport); ok {
			t.CloseIdleConnections()
		}
	}
}

// A request is one call of the Application Service API.
type request struct {
	method string
	path   appservice.Path
	query  url.Values
	body   []byte
	limit  int64 // of the answer's bytes; 0 is maxAnswer
}

type answer struct {
	status int
	body   []byte
}

func (a answer) ok() bool { return a.status >= 200 && a.status < 300 }

// unknownRoute reports whether the service has no such endpoint, as opposed to
// no such user, alias or protocol (§ Unknown routes).
func (a answer) unknownRoute() bool {
	switch a.status {
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return true
	case http.StatusNotFound:
		var body struct{ ErrCode string }
		return json.Unmarshal(a.body, &body) != nil || body.ErrCode == "" || body.ErrCode == "M_UNRECOGNIZED"
	}
	return false
}

func (a answer) unauthorized() bool {
	return a.status == http.StatusUnauthorized || a.status == http.StatusForbidden
}

// do makes the request: first as the specification has it, and where the
// service turns out to be an old one, on the legacy route or with the token in
// the URL as well. What was found is remembered for a while.
func (l *link) do(ctx context.Context, r request) (answer, error) {
	if l.base == "" {
		return answer{}, errSilent
	}
	now := time.Now().UnixMilli()
	legacy := r.path.Legacy != "" && l.legacyPaths.Load() > now
	inURL := l.queryToken == registration.QueryTokenAlways ||
		l.queryToken == registration.QueryTokenAuto && l.tokenInURL.Load() > now
	a, err := l.authorized(ctx, r, legacy, inURL)
	if err != nil || r.path.Legacy == "" || !a.unknownRoute() {
		return a, err
	}
	other, err := l.authorized(ctx, r, !legacy, inURL)
	if err != nil || other.unknownRoute() || other.unauthorized() {
		return a, nil
	}
	if legacy {
		l.legacyPaths.Store(0)
	} else {
		l.legacyPaths.Store(now + relearn.Milliseconds())
	}
	return other, nil
}

// authorized makes the request with the token that the service knows. After a
// rotation that is the one from before until the service has read its own file
// again.
func (l *link) authorized(ctx context.Context, r request, legacy, inURL bool) (answer, error) {
	now := time.Now()
	if l.previous.HSToken == "" || !l.previous.Good(now) {
		return l.located(ctx, r, l.hsToken, legacy, inURL)
	}
	first, second := l.hsToken, l.previous.HSToken
	old := l.oldToken.Load() > now.UnixMilli()
	if old {
		first, second = second, first
	}
	a, err := l.located(ctx, r, first, legacy, inURL)
	if err != nil || !a.unauthorized() {
		return a, err
	}
	again, err := l.located(ctx, r, second, legacy, inURL)
	if err != nil || again.unauthorized() {
		return a, nil
	}
	if old {
		l.oldToken.Store(0)
	} else {
		l.oldToken.Store(l.previous.Until.UnixMilli())
	}
	return again, nil
}

// located makes the request with the token in the header and, if the service
// looks for it there, in the URL as well.
func (l *link) located(ctx context.Context, r request, token string, legacy, inURL bool) (answer, error) {
	a, err := l.once(ctx, r, token, legacy, inURL)
	if err != nil || inURL || !a.unauthorized() || l.queryToken != registration.QueryTokenAuto {
		return a, err
	}
	again, err := l.once(ctx, r, token, legacy, true)
	if err != nil || again.unauthorized() {
		return a, nil
	}
	l.tokenInURL.Store(time.Now().Add(relearn).UnixMilli())
	return again, nil
}

// once makes one HTTP request and reads a bounded part of its answer. Redirects
// are not followed: the service is where its registration says.
func (l *link) once(ctx context.Context, r request, token string, legacy, inURL bool) (answer, error) {
	if l.serves != nil && !l.serves() {
		return answer{}, errors.New("another process may serve this service by now")
	}
	path := r.path.Stable
	if legacy {
		path = r.path.Legacy
	}
	query := url.Values{}
	for key, values := range r.query {
		if key != "access_token" {
			query[key] = values
		}
	}
	if inURL {
		query.Set("access_token", token)
	}
	target := l.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, fmt.Errorf("the request cannot be made")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", l.agent)
	if r.method != http.MethodGet {
		req.Header.Set("Content-Type", "application/json")
	}
	transport := l.queries
	if r.method == http.MethodPut {
		transport = l.events
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusOK {
		// The connection speaks another protocol now. What comes on it is no
		// answer, and the context does not end the reading of it.
		return answer{status: resp.StatusCode}, nil
	}
	limit := r.limit
	if limit == 0 {
		limit = maxAnswer
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return answer{resp.StatusCode, body}, nil
}
