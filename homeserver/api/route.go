package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"time"
)

// Auth is what a route demands of its caller.
type Auth int

// The demands, from none to the strictest.
const (
	None        Auth = iota // no token is read
	Optional                // a token is verified when there is one
	Guest                   // any user, guests included
	User                    // any user but guests
	AppService              // an application service, by its own token
	Admin                   // a server administrator
	OtherServer             // another homeserver, by its signature
)

// DefaultBodyLimit is the largest request body, in bytes, where neither route
// nor server say anything else.
const DefaultBodyLimit = 1 << 20

// A Route is one operation: a method, a path in the specification's form
// ("/rooms/{roomId}/join"), and what runs there. [Endpoint], [Stream] and
// [Raw] make them.
type Route struct {
	Method string
	Path   string
	Auth   Auth
	// ForLocked serves the route to users whose account is locked, too, and
	// ForSuspended to those whose account is suspended; they may read anyway.
	ForLocked    bool
	ForSuspended bool
	// ForDelegated serves the route to application services that act for a
	// person who lets them.
	ForDelegated bool

	aliases   []string
	onlyV3    bool
	bucket    string
	bodyLimit int64
	timeout   time.Duration
	explain   func(w http.ResponseWriter, r *http.Request, err error) error
	serve     func(x *exchange) error
}

// An Option changes a route.
type Option func(*Route)

// Aliases serves the route under further paths, which must have the same
// parameters in the same order.
func Aliases(paths ...string) Option {
	return func(r *Route) { r.aliases = append(r.aliases, paths...) }
}

// OnlyV3 keeps a /v3 path from being served as /r0 too.
func OnlyV3() Option { return func(r *Route) { r.onlyV3 = true } }

// BodyLimit is the largest request body in bytes.
func BodyLimit(bytes int64) Option { return func(r *Route) { r.bodyLimit = bytes } }

// Limit counts the route's requests against a bucket of the server's limiter
// instead of [DefaultBucket].
func Limit(bucket string) Option { return func(r *Route) { r.bucket = bucket } }

// Timeout cancels the request's context after a while; the answer is 504.
func Timeout(d time.Duration) Option { return func(r *Route) { r.timeout = d } }

// Errors lets a route answer its errors itself, those included for which it
// is not run at all, such as too many requests. What explain returns instead of
// writing an answer is answered as usual.
func Errors(explain func(w http.ResponseWriter, r *http.Request, err error) error) Option {
	return func(r *Route) { r.explain = explain }
}

// Endpoint declares an operation that takes and answers JSON.
//
// Req is a struct; its exported fields have one of these tags:
//
//	path:"roomId"    a path parameter, unescaped; never empty, but for {stateKey}
//	query:"from"     a query parameter; slices take every occurrence
//	header:"If-Match"
//	json:"name"      a member of the body's object, compared case-sensitively
//	body:"raw"       the whole body, a JSON object
//	body:"raw,optional"  the same, nil if there is none
//
// Path, query and header fields are strings, *string, int64, *int64, bool,
// *bool, []string or the ID types of package matrix, which are parsed. A field
// of type [Credentials] receives what the caller presented, unverified.
// required:"true" beside a query or json tag makes absence M_MISSING_PARAM.
// A method Validate() error on *Req runs after binding.
//
// *Res is the answer's JSON; nil is {}. A Res with AppendJSON writes itself,
// and one with StatusCode() int chooses its status.
func Endpoint[Req, Res any](method, path string, auth Auth, fn func(ctx context.Context, who Caller, req *Req) (*Res, error), opts ...Option) Route {
	bind := newBinder(reflect.TypeFor[Req](), path)
	answer := newAnswerer[Res]()
	return newRoute(method, path, auth, opts, func(x *exchange) error {
		req := new(Req)
		if err := bind.bind(x, reflect.ValueOf(req)); err != nil {
			return err
		}
		res, err := fn(x.ctx(), x.who, req)
		if err != nil {
			return err
		}
		return answer(x, res)
	})
}

// Stream declares an operation that binds its request as [Endpoint] does and
// writes the response itself: long polls, redirects, downloads. An error that
// it returns before writing is answered as usual.
func Stream[Req any](method, path string, auth Auth, fn func(w http.ResponseWriter, r *http.Request, who Caller, req *Req) error, opts ...Option) Route {
	bind := newBinder(reflect.TypeFor[Req](), path)
	return newRoute(method, path, auth, opts, func(x *exchange) error {
		req := new(Req)
		if err := bind.bind(x, reflect.ValueOf(req)); err != nil {
			return err
		}
		return fn(x.w, x.request(), x.who, req)
	})
}

// Raw declares an operation that reads its request and writes its response
// itself; the body is limited but not read.
func Raw(method, path string, auth Auth, fn func(w http.ResponseWriter, r *http.Request, who Caller, params Params) error, opts ...Option) Route {
	names := parameterNames(path)
	return newRoute(method, path, auth, opts, func(x *exchange) error {
		params, err := newParams(names, x)
		if err != nil {
			return err
		}
		r := x.request()
		if r.Body != nil {
			r.Body = http.MaxBytesReader(x.w, r.Body, x.route.bodyLimit)
		}
		return fn(x.w, r, x.who, params)
	})
}

// Params are the parameters of a [Raw] route.
type Params struct {
	names  []string
	values []string
	query  string
}

func newParams(names []string, x *exchange) (Params, error) {
	p := Params{names: names, values: make([]string, len(names)), query: x.r.URL.RawQuery}
	for i, name := range names {
		value, err := x.pathValue(i, name)
		if err != nil {
			return p, err
		}
		p.values[i] = value
	}
	return p, nil
}

// Path is an unescaped path parameter; asking for one that the route does not
// have panics.
func (p Params) Path(name string) string {
	for i, n := range p.names {
		if n == name {
			return p.values[i]
		}
	}
	panic("api: the path has no parameter " + name)
}

// Query is the first occurrence of a query parameter, or empty.
func (p Params) Query(name string) string {
	value, _ := firstQuery(p.query, name)
	return value
}

// Validator is the optional method of request structs.
type Validator interface{ Validate() error }

func newRoute(method, path string, auth Auth, opts []Option, serve func(*exchange) error) Route {
	r := Route{Method: method, Path: path, Auth: auth, bucket: DefaultBucket, serve: serve}
	for _, opt := range opts {
		opt(&r)
	}
	for _, alias := range r.aliases {
		if len(parameterNames(alias)) != len(parameterNames(path)) {
			panic(fmt.Sprintf("api: %s and its alias %s differ in parameters", path, alias))
		}
	}
	return r
}

// At is the same operation under another path alone, which must have the same
// parameters in the same order.
func (r Route) At(path string) Route {
	if !slices.Equal(parameterNames(path), parameterNames(r.Path)) {
		panic(fmt.Sprintf("api: %s and %s differ in parameters", path, r.Path))
	}
	r.Path, r.aliases = path, nil
	return r
}

// An Appender is a response that writes its own JSON.
type Appender interface {
	AppendJSON(dst []byte) ([]byte, error)
}

// newAnswerer chooses once how responses of a type are written.
func newAnswerer[Res any]() func(x *exchange, res *Res) error {
	var zero *Res
	_, appends := any(zero).(Appender)
	_, raw := any(zero).(*json.RawMessage)
	_, chooses := any(zero).(interface{ StatusCode() int })
	return func(x *exchange, res *Res) error {
		if res == nil {
			return x.writeJSON(http.StatusOK, emptyObject)
		}
		status := http.StatusOK
		if chooses {
			status = any(res).(interface{ StatusCode() int }).StatusCode()
		}
		switch {
		case appends:
			return x.writeAppended(status, any(res).(Appender))
		case raw:
			return x.writeJSON(status, *any(res).(*json.RawMessage))
		default:
			return x.encodeJSON(status, res)
		}
	}
}
