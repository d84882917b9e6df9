package api

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"trestle/internal/listeners"
)

// Parked is what an endpoint answers instead of waiting long: the connection
// waits without a goroutine of the server's, and the request is served anew
// when the wait is over. Only where [Parks] says so.
type Parked struct {
	// Until is when the endpoint wants to answer in any case.
	Until time.Time
	// Subscribe is called once; wake ends the wait and may be called at any time,
	// from under locks too. leave is called when the wait is over, for whatever
	// reason.
	Subscribe func(wake func()) (leave func())
	// Body is the request's, of a POST.
	Body []byte
}

// maxParkedBody bounds the body of a request that is kept while it waits.
const maxParkedBody = 16 << 10

// Error implements error, so that an endpoint can return it.
func (*Parked) Error() string { return "the request waits" }

// Parks reports whether a request may be answered with [Parked]: it came by
// HTTP/1.1, as a GET without a body or a POST with a small one, on a connection
// that stays open.
func Parks(ctx context.Context) bool {
	c, ok := ctx.Value(requestKey{}).(requestContext)
	if !ok {
		return false
	}
	select {
	case <-c.server.draining:
		return false
	default:
	}
	r := c.request
	keeps := r.Method == http.MethodGet && r.ContentLength == 0 ||
		r.Method == http.MethodPost && r.ContentLength > 0 && r.ContentLength <= maxParkedBody
	return keeps && r.ProtoMajor == 1 && r.ProtoMinor == 1 && !r.Close && listeners.LotOf(r.Context()) != nil
}

// Waited is until when a request wants to wait that has waited already.
func Waited(ctx context.Context) (until time.Time, ok bool) {
	c, _ := ctx.Value(requestKey{}).(requestContext)
	return c.waited, !c.waited.IsZero()
}

// park hands the connection over.
func (x *exchange) park(p *Parked) error {
	lot := listeners.LotOf(x.r.Context())
	conn, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		p.Subscribe(func() {})()
		return err
	}
	x.parked = true
	var request bytes.Buffer
	request.WriteString(x.r.Method + " " + x.r.RequestURI + " HTTP/1.1\r\nHost: " + x.r.Host + "\r\n")
	if len(p.Body) > 0 {
		x.r.Header.Set("Content-Length", strconv.Itoa(len(p.Body)))
	}
	_ = x.r.Header.Write(&request) // a Buffer takes everything
	request.WriteString("\r\n")
	request.Write(p.Body)
	if n := buffered.Reader.Buffered(); n > 0 {
		more, err := buffered.Reader.Peek(n)
		if err != nil {
			x.log(slog.LevelDebug, "response not written", err)
			p.Subscribe(func() {})()
			return conn.Close()
		}
		request.Write(more)
	}
	lot.Park(conn, bytes.Clone(request.Bytes()), p.Until, p.Subscribe)
	return nil
}
