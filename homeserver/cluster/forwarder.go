package cluster

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// patience is how long a request waits for a leader.
	patience = 10 * time.Second
	// maxWaiting is how many do at the same time.
	maxWaiting = 2000
	// maxKept is the largest body that is kept so that it can be sent again to
	// a process that turned out not to lead.
	maxKept = 64 << 10
	// again is the pause before a leader is tried again that is not there.
	again = 100 * time.Millisecond
	// connecting is how long a leader may take to accept a connection.
	connecting = 2 * time.Second
)

// Options are what a [Forwarder] works with; all may be empty.
type Options struct {
	Log     *slog.Logger
	Metrics prometheus.Registerer
	// Patience is how long a request waits for a leader; 10 s if zero.
	Patience time.Duration
}

// A Forwarder passes requests on to the leader. While there is none they wait.
type Forwarder struct {
	options Options
	proxy   *httputil.ReverseProxy
	http    *http.Transport
	metrics *metrics

	mu      sync.Mutex
	leader  Leader
	changed chan struct{}   // closed, and replaced, when leader is
	reign   context.Context // ends with the leader's time
	depose  context.CancelCauseFunc
	since   time.Time // from when nobody could be reached; zero: somebody can
	waiting int

	stopping context.Context // ends when long polls have to
	stop     context.CancelCauseFunc
}

// NewForwarder makes a Forwarder that knows no leader yet.
func NewForwarder(options Options) *Forwarder {
	if options.Log == nil {
		options.Log = slog.Default()
	}
	if options.Patience == 0 {
		options.Patience = patience
	}
	f := &Forwarder{options: options, changed: make(chan struct{}), since: time.Now(), metrics: newMetrics(options.Metrics)}
	f.reign, f.depose = context.WithCancelCause(context.Background())
	f.stopping, f.stop = context.WithCancelCause(context.Background())
	dialer := &net.Dialer{
		Timeout:         connecting,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 2 * time.Second, Interval: time.Second, Count: 3},
	}
	f.http = &http.Transport{
		DialContext: dialer.DialContext, MaxIdleConnsPerHost: 512, IdleConnTimeout: time.Minute,
		DisableCompression: true, MaxResponseHeaderBytes: 1 << 20, ForceAttemptHTTP2: false,
	}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: f, ErrorHandler: f.failed,
		ErrorLog: slog.NewLogLogger(options.Log.Handler(), slog.LevelDebug),
	}
	return f
}

// Follow says who leads from now on. What the one before has not answered yet is
// given up: it may not even be able to break the connection.
func (f *Forwarder) Follow(leader Leader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if leader == f.leader {
		return
	}
	if leader.Epoch != f.leader.Epoch && leader.Address != "" {
		f.depose(errDeposed)
		f.reign, f.depose = context.WithCancelCause(context.Background())
		f.http.CloseIdleConnections()
	}
	f.leader = leader
	close(f.changed)
	f.changed = make(chan struct{})
	switch {
	case leader.Address != "":
		f.since = time.Time{}
	case f.since.IsZero():
		f.since = time.Now()
	}
}

// Drain ends what may take long: requests that wait for a leader, and those
// that read and have no answer yet.
func (f *Forwarder) Drain() { f.stop(errStopping) }

// Close drains, and gives all connections up.
func (f *Forwarder) Close() {
	f.Drain()
	f.mu.Lock()
	f.depose(errStopping)
	f.mu.Unlock()
	f.http.CloseIdleConnections()
}

// Check is an error if nobody could be reached for longer than a request waits,
// nor can be now.
func (f *Forwarder) Check(ctx context.Context) error {
	f.mu.Lock()
	leader, since := f.leader, f.since
	f.mu.Unlock()
	if since.IsZero() || time.Since(since) <= f.options.Patience {
		return nil
	}
	if leader.Address == "" {
		return errNobody
	}
	conn, err := f.http.DialContext(ctx, "tcp", leader.Address)
	if err != nil {
		return err
	}
	f.reached(leader)
	return conn.Close()
}

// Through is the handler of a listener.
func (f *Forwarder) Through(entrance Entrance) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := keepBody(r); err != nil {
			f.failed(w, r, err)
			return
		}
		f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), entranceKey{}, entrance)))
	})
}

type entranceKey struct{}

// keepBody makes a small body one that can be sent twice.
func keepBody(r *http.Request) error {
	if r.ContentLength <= 0 || r.ContentLength > maxKept {
		return nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return errBody
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	return nil
}

// rewrite says what the leader cannot see, and passes on the rest as it came:
// the leader looks at proxies in front as if they were its own.
func rewrite(p *httputil.ProxyRequest) {
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := p.In.Header[name]; ok {
			p.Out.Header[name] = values
		}
	}
	p.Out.URL.RawQuery = p.In.URL.RawQuery
	p.Out.URL.Scheme, p.Out.URL.Host = "http", "leader"
	p.Out.Header.Del("Expect")
	p.Out.Header.Set(peerHeader, p.In.RemoteAddr)
	p.Out.Header.Set(schemeHeader, "http")
	if p.In.TLS != nil {
		p.Out.Header.Set(schemeHeader, "https")
	}
	entrance, _ := p.In.Context().Value(entranceKey{}).(Entrance)
	p.Out.Header.Set(entranceHeader, string(entrance))
}

var (
	errNobody   = errors.New("no process leads")
	errTooMany  = errors.New("too many requests wait for a process that leads")
	errDeposed  = errors.New("another process leads now")
	errStopping = errors.New("this process stops")
	errBody     = errors.New("the request body ended early")
)
