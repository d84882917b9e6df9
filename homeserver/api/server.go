package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"trestle/internal/listeners"
	"trestle/internal/matrix"
)

// Options are what a [Server] works with. Only Authenticator and Servers are needed, and
// those only by routes that authenticate users, or other homeservers.
type Options struct {
	Authenticator  Authenticator
	Servers        ServerAuthenticator
	Limiter        Limiter      // nil: no limits
	Metrics        Metrics      // nil: none
	Logger         *slog.Logger // nil: slog's default
	Now            func() time.Time
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-For is believed
	BodyLimit      int64          // of routes that set none, bytes; default [DefaultBodyLimit]
}

// Metrics learns of every request that a route served. The pattern is the
// route's path as declared, "" for requests that no route took.
type Metrics interface {
	Request(method, pattern string, status int, took time.Duration)
}

// A Limiter decides whether a caller may go on; it answers
// [matrix.LimitExceeded] otherwise. Callers without a user are told apart by
// their address.
type Limiter interface {
	Allow(bucket string, who Caller) error
}

// A Server serves routes.
type Server struct {
	options  Options
	engine   *gin.Engine
	requests atomic.Uint64

	drainOnce sync.Once
	draining  chan struct{}
}

// NewServer makes a server without routes.
func NewServer(options Options) *Server {
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.BodyLimit <= 0 {
		options.BodyLimit = DefaultBodyLimit
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.UseEscapedPath = true
	engine.UnescapePathValues = false
	engine.RedirectTrailingSlash = false
	engine.HandleMethodNotAllowed = true
	s := &Server{options: options, engine: engine, draining: make(chan struct{})}
	engine.NoRoute(s.refuse(matrix.Unrecognized("There is no such endpoint here.")))
	engine.NoMethod(s.refuse(matrix.MethodNotAllowed()))
	return s
}

// Handle adds routes. Two routes for one method and path are a mistake that
// panics.
func (s *Server) Handle(routes []Route) {
	for _, declared := range routes {
		route := &declared
		if route.bodyLimit <= 0 {
			route.bodyLimit = s.options.BodyLimit
		}
		for _, path := range servedPaths(route) {
			s.engine.Handle(route.Method, path, s.handler(route))
		}
	}
}

// Handler is the server as net/http wants it.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.serveHTTP) }

// Drain tells long polls, by [Draining], that the server wants to stop.
func (s *Server) Drain() { s.drainOnce.Do(func() { close(s.draining) }) }

var (
	corsOrigin  = []string{"*"}
	corsMethods = []string{"GET, POST, PUT, DELETE, OPTIONS"}
	corsHeaders = []string{"X-Requested-With, Content-Type, Authorization"}
	corsExposed = []string{"Retry-After"} // beside what scripts can read anyway
	corsMaxAge  = []string{"86400"}
)

// serveHTTP answers what needs no route (Client-Server API § Web Browser
// Clients) and serves HEAD as GET, whose body net/http keeps back.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header["Access-Control-Allow-Origin"] = corsOrigin
	header["Access-Control-Allow-Methods"] = corsMethods
	header["Access-Control-Allow-Headers"] = corsHeaders
	header["Access-Control-Expose-Headers"] = corsExposed
	switch r.Method {
	case http.MethodOptions:
		header["Access-Control-Max-Age"] = corsMaxAge
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodHead:
		get := *r
		get.Method = http.MethodGet
		get.Close = true // what is read again must be what was sent: it does not park
		r = &get
	}
	s.engine.ServeHTTP(w, r)
}

func (s *Server) handler(route *Route) gin.HandlerFunc {
	return func(c *gin.Context) {
		x := exchange{
			server: s, route: route, w: c.Writer, r: c.Request, params: c.Params,
			number: s.requests.Add(1), started: s.options.Now(),
		}
		x.waited, _ = listeners.TakeResumed(c.Request.Context())
		defer x.finished()
		x.run()
	}
}

func (s *Server) refuse(e *matrix.Error) gin.HandlerFunc {
	route := &Route{serve: func(*exchange) error { return e }}
	return s.handler(route)
}

func (x *exchange) finished() {
	if x.parked {
		return // it is counted when it is answered
	}
	took := x.server.options.Now().Sub(x.started)
	if m := x.server.options.Metrics; m != nil {
		m.Request(x.r.Method, x.route.Path, x.w.Status(), took)
	}
	if log := x.server.options.Logger; log.Enabled(x.r.Context(), slog.LevelDebug) {
		log.DebugContext(x.r.Context(), "request", "method", x.r.Method, "path", x.r.URL.Path, "status", x.w.Status(),
			"bytes", x.w.Size(), "took", took, "user", x.who.UserID, "server", x.who.Server, "from", x.remoteAddr(), "request", x.number)
	}
}

// forwardedFor walks X-Forwarded-For from its end, past the proxies that are
// trusted.
func (s *Server) forwardedFor(peer string, header http.Header) string {
	hops := strings.Split(strings.Join(header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0 && s.trusts(peer); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		peer = hop.Unmap().String()
	}
	return peer
}

func (s *Server) trusts(peer string) bool {
	addr, err := netip.ParseAddr(peer)
	if err != nil {
		return false
	}
	for _, prefix := range s.options.TrustedProxies {
		if prefix.Contains(addr.Unmap()) {
			return true
		}
	}
	return false
}

// A requestContext is a request's context that knows which request it is.
type requestContext struct {
	context.Context
	server  *Server
	route   *Route
	number  uint64
	request *http.Request
	waited  time.Time
}

type requestKey struct{}

// Value makes the context findable behind others.
func (c requestContext) Value(key any) any {
	if _, ok := key.(requestKey); ok {
		return c
	}
	return c.Context.Value(key)
}

// RequestNumber is the number under which a request appears in the log, or 0.
func RequestNumber(ctx context.Context) uint64 {
	c, _ := ctx.Value(requestKey{}).(requestContext)
	return c.number
}

// Draining is closed when the server wants to stop: long polls answer with
// what they have. It never closes for a context that is not a request's.
func Draining(ctx context.Context) <-chan struct{} {
	c, ok := ctx.Value(requestKey{}).(requestContext)
	if !ok {
		return nil
	}
	return c.server.draining
}
