package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"trestle/internal/matrix"
)

// An exchange is one request and its response.
type exchange struct {
	server  *Server
	route   *Route
	w       gin.ResponseWriter
	r       *http.Request
	params  gin.Params
	who     Caller
	number  uint64
	context context.Context
	started time.Time
	waited  time.Time // until when it wants to wait, if it has waited already
	parked  bool      // the connection is not the server's any more
}

var (
	emptyObject     = []byte("{}")
	jsonContentType = []string{"application/json"}
)

// run takes the request through its stages: who, how often, what.
func (x *exchange) run() {
	defer x.recover()
	if x.route.timeout > 0 {
		ctx, cancel := context.WithTimeout(x.ctx(), x.route.timeout)
		defer cancel()
		x.context = ctx
	}
	if err := x.authenticate(); err != nil {
		x.fail(err)
		return
	}
	if err := x.limit(); err != nil {
		x.fail(err)
		return
	}
	if err := x.route.serve(x); err != nil {
		x.fail(err)
	}
}

// ctx is the request's context; it knows the request's number.
func (x *exchange) ctx() context.Context {
	if x.context == nil {
		x.context = requestContext{Context: x.r.Context(), server: x.server, route: x.route, number: x.number, request: x.r, waited: x.waited}
	}
	return x.context
}

// request is the HTTP request with that context.
func (x *exchange) request() *http.Request { return x.r.WithContext(x.ctx()) }

// pathValue is a parameter of the path, unescaped here rather than by gin,
// whose unescaping turns + into a space.
func (x *exchange) pathValue(place int, name string) (string, error) {
	var escaped string
	if place < len(x.params) {
		escaped = x.params[place].Value
	}
	value := escaped
	if strings.IndexByte(escaped, '%') >= 0 {
		var err error
		if value, err = url.PathUnescape(escaped); err != nil {
			return "", matrix.InvalidParam("%s in the path is not well escaped.", name)
		}
	}
	if value == "" && name != emptyParameter {
		return "", matrix.InvalidParam("%s in the path is empty.", name)
	}
	if err := checkText(value); err != nil {
		return "", matrix.InvalidParam("%s in the path is wrong: %v.", name, err)
	}
	return value, nil
}

// maxPromised is how much room a body gets before it is there.
const maxPromised = 64 << 10

// BodyTimeout is the answer where a body has stalled.
func BodyTimeout() error {
	return matrix.NewError(http.StatusRequestTimeout, "M_UNKNOWN", "The request body did not arrive in time.")
}

// maxDropped is how much is read of a body that nobody wants.
const maxDropped = 1 << 20

// hangUp ends the connection with the answer, where it is this request's alone:
// nobody reads the rest of the body. By HTTP/2 there are others on it, and a client that is
// still sending may not see the answer; what is not much is read to its end.
func (x *exchange) hangUp() {
	if x.r.ProtoMajor == 1 {
		x.w.Header().Set("Connection", "close")
		return
	}
	_, _ = io.CopyN(io.Discard, x.r.Body, maxDropped)
}

// readBody reads the whole body into buf, up to the route's limit.
func (x *exchange) readBody(buf *bytes.Buffer) error {
	limit := x.route.bodyLimit
	if x.r.Body == nil || x.r.ContentLength == 0 {
		return nil
	}
	if x.r.ContentLength > limit {
		x.hangUp()
		return matrix.TooLarge("The request body is larger than %d bytes.", limit)
	}
	if n := x.r.ContentLength; n > 0 {
		// More is made room for once it has come: a promise costs the client nothing.
		buf.Grow(int(min(n, maxPromised)) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(http.MaxBytesReader(x.w, x.r.Body, limit)); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return matrix.TooLarge("The request body is larger than %d bytes.", limit)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			x.hangUp()
			return BodyTimeout()
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return matrix.NotJSON("The request body ended early.")
		}
		return matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "The request body could not be read.")
	}
	return nil
}

// remoteAddr is the address of the peer or, behind a trusted proxy, of whom
// the proxy speaks for.
func (x *exchange) remoteAddr() string {
	host, _, err := net.SplitHostPort(x.r.RemoteAddr)
	if err != nil {
		host = x.r.RemoteAddr
	}
	if len(x.server.options.TrustedProxies) == 0 {
		return host
	}
	return x.server.forwardedFor(host, x.r.Header)
}

// limit counts the request against its bucket. Application services are exempt
// where no token is asked for, too: they register and log in users in bulk.
func (x *exchange) limit() error {
	limiter, bucket := x.server.options.Limiter, x.route.bucket
	if limiter == nil || x.who.Unlimited || bucket == "" || !x.waited.IsZero() {
		return nil
	}
	if x.route.Auth == None && bucket != DefaultBucket {
		presented := x.credentials()
		presented.AssertedUser, presented.AssertedDevice, presented.UserToken = "", "", ""
		if presented.Token != "" {
			who, err := x.server.options.Authenticator.Authenticate(x.ctx(), presented)
			if err == nil && who.AppService != "" {
				return nil
			}
		}
	}
	return limiter.Allow(bucket, x.who)
}

// An Answer is an error with a response of its own, such as the list of
// stages of user-interactive authentication.
type Answer interface {
	error
	Answer() (status int, body any)
}

// fail answers an error. What is no Matrix error is logged here, once.
func (x *exchange) fail(err error) {
	if x.route.explain != nil && !x.w.Written() {
		if err = x.route.explain(x.w, x.request(), err); err == nil {
			return
		}
	}
	var answer Answer
	var known *matrix.Error
	var parked *Parked
	switch {
	case x.w.Written():
		x.log(slog.LevelWarn, "response broken off", err)
		return
	case errors.As(err, &parked):
		if err = x.park(parked); err != nil {
			x.log(slog.LevelError, "request cannot wait", err)
			err = x.writeError(matrix.Unknown())
		}
	case errors.As(err, &answer):
		status, body := answer.Answer()
		err = x.encodeJSON(status, body)
	case errors.As(err, &known):
		err = x.writeError(known)
	case errors.Is(err, context.Canceled) && x.r.Context().Err() != nil:
		x.w.WriteHeader(statusClientClosed)
		return
	case errors.Is(err, context.DeadlineExceeded):
		x.log(slog.LevelWarn, "request timed out", err)
		err = x.writeError(matrix.NewError(http.StatusGatewayTimeout, "M_UNKNOWN", "The server did not finish in time."))
	default:
		x.log(slog.LevelError, "request failed", err)
		err = x.writeError(matrix.Unknown())
	}
	if err != nil {
		x.log(slog.LevelDebug, "response not written", err)
	}
}

// statusClientClosed stands in metrics and logs for requests whose client went
// away; nobody is there to see it.
const statusClientClosed = 499

func (x *exchange) recover() {
	cause := recover()
	if cause == nil {
		return
	}
	if cause == http.ErrAbortHandler {
		panic(cause)
	}
	x.server.options.Logger.Error("panic in an endpoint", "panic", cause, "method", x.r.Method,
		"route", x.route.Path, "request", x.number, "stack", string(debug.Stack()))
	if !x.w.Written() {
		_ = x.writeError(matrix.Unknown())
	}
}

func (x *exchange) log(level slog.Level, message string, err error) {
	x.server.options.Logger.Log(x.ctx(), level, message, "err", err, "method", x.r.Method,
		"route", x.route.Path, "user", x.who.UserID, "request", x.number)
}

func (x *exchange) writeError(e *matrix.Error) error {
	header := x.w.Header()
	for name, values := range e.Header {
		header[name] = values
	}
	if e.Status >= http.StatusInternalServerError {
		header.Set("X-Request-ID", strconv.FormatUint(x.number, 10))
	}
	return x.encodeJSON(e.Status, e)
}

func (x *exchange) encodeJSON(status int, v any) error {
	buf := takeBuffer()
	defer giveBuffer(buf)
	encoder := json.NewEncoder(buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	return x.writeJSON(status, bytes.TrimSuffix(buf.Bytes(), []byte("\n")))
}

func (x *exchange) writeAppended(status int, v Appender) error {
	buf := takeBuffer()
	defer giveBuffer(buf)
	data, err := v.AppendJSON(buf.AvailableBuffer())
	if err != nil {
		return err
	}
	err = x.writeJSON(status, data)
	if cap(data) > buf.Cap() {
		*buf = *bytes.NewBuffer(data[:0]) // keep the larger memory
	}
	return err
}

// sniffedLength is the size below which net/http finds the length by itself.
const sniffedLength = 2048

func (x *exchange) writeJSON(status int, data []byte) error {
	header := x.w.Header()
	header["Content-Type"] = jsonContentType
	if len(data) >= sniffedLength {
		header["Content-Length"] = []string{strconv.Itoa(len(data))}
	}
	x.w.WriteHeader(status)
	_, err := x.w.Write(data)
	return err
}

// WriteJSON answers JSON from a [Stream] or [Raw] endpoint.
func WriteJSON(w http.ResponseWriter, status int, data []byte) error {
	w.Header()["Content-Type"] = jsonContentType
	w.Header()["Content-Length"] = []string{strconv.Itoa(len(data))}
	w.WriteHeader(status)
	_, err := w.Write(data)
	return err
}

// keptBuffer is the largest buffer that goes back to the pool.
const keptBuffer = 1 << 20

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func takeBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func giveBuffer(b *bytes.Buffer) {
	if b.Cap() <= keptBuffer {
		b.Reset()
		buffers.Put(b)
	}
}
