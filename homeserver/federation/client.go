package federation

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"trestle/internal/matrix"
	"trestle/internal/telemetry"
)

const (
	// usualTime is how long a request may take that says nothing else.
	usualTime = 30 * time.Second
	// usualAnswer is how many bytes an answer may have, if nothing else is said.
	usualAnswer = 1 << 20
	// errorAnswer is how many bytes of an error are read.
	errorAnswer = 16 << 10
	// silence is how long a body may bring nothing.
	silence = 20 * time.Second
)

// ClientOptions are what a [Client] works with. All but Allowed, Heard, Now and Log are needed.
type ClientOptions struct {
	ServerName matrix.ServerName
	Key        matrix.SigningKey
	Transport  http.RoundTripper            // finds servers by their names, see package discovery
	Allowed    func(matrix.ServerName) bool // nil: all servers are
	Heard      func(matrix.ServerName)      // is told whenever a server is there, and must be quick; nil: nobody wants to know
	Now        func() time.Time
	Log        *slog.Logger
}

// A Client makes requests to other servers, signed by this one.
type Client struct {
	options ClientOptions
	backoff *backoff
}

// NewClient makes a client.
func NewClient(o ClientOptions) *Client {
	if o.Allowed == nil {
		o.Allowed = func(matrix.ServerName) bool { return true }
	}
	if o.Heard == nil {
		o.Heard = func(matrix.ServerName) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Client{options: o, backoff: newBackoff(o.Now)}
}

// A Request is one to another server.
type Request struct {
	To      matrix.ServerName
	Method  string
	URI     string        // path and query, escaped
	Content any           // encoded as JSON; nil: no body
	Limit   int64         // bytes of the answer; 0: 1 MiB
	Timeout time.Duration // of all of it, the answer's body included; 0: 30 s
	// Unsigned is for what anybody may ask.
	Unsigned bool
	// Urgent asks servers too that are left alone because they could not be reached.
	Urgent bool
}

// Heard is told that a server is there: it has made a request.
func (c *Client) Heard(server matrix.ServerName) {
	c.backoff.heard(server)
	c.options.Heard(server)
}

// Allowed reports whether the operator lets this server have to do with another.
func (c *Client) Allowed(server matrix.ServerName) bool { return c.options.Allowed(server) }

// JSON makes a request and decodes its answer. Errors: [ErrDenied], [Unreachable], [Refusal],
// [ErrAnswer], and that of a context that has ended.
func (c *Client) JSON(ctx context.Context, r Request, into any) error {
	raw, err := c.Bytes(ctx, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%w: %s %s: %w", ErrAnswer, r.To, path(r.URI), err)
	}
	return nil
}

// Bytes makes a request and reads its answer, which is JSON as far as its type says.
func (c *Client) Bytes(ctx context.Context, r Request) ([]byte, error) {
	if r.Limit <= 0 {
		r.Limit = usualAnswer
	}
	began := c.options.Now()
	response, err := c.Open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(response.Body, r.Limit+1))
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, &Unreachable{Server: r.To, Until: c.backoff.failed(r.To, began), Err: err}
	case int64(len(raw)) > r.Limit:
		return nil, fmt.Errorf("%w: %s %s has more than %d bytes", ErrAnswer, r.To, path(r.URI), r.Limit)
	}
	return raw, nil
}

// Open makes a request, and leaves the body of a good answer (status 200) to be read. It has to be
// closed; reading it fails when the time is over, or when nothing comes for a while.
func (c *Client) Open(ctx context.Context, r Request) (*http.Response, error) {
	if err := c.check(r); err != nil {
		return nil, err
	}
	began := c.options.Now()
	if until := c.backoff.until(r.To); !r.Urgent && !until.IsZero() {
		return nil, &Unreachable{Server: r.To, Until: until}
	}
	if r.Timeout <= 0 {
		r.Timeout = usualTime
	}
	limited, end := bounded(ctx, r.Timeout)
	request, err := c.request(limited, r)
	if err != nil {
		end(nil)
		return nil, err
	}
	response, err := c.options.Transport.RoundTrip(request)
	if err != nil {
		end(nil)
		if ctx.Err() != nil {
			return nil, ctx.Err() // whose request it was does not want it any more
		}
		until := c.backoff.failed(r.To, began)
		c.options.Log.DebugContext(ctx, "a server cannot be reached", "server", r.To, "until", until, "err", err)
		return nil, &Unreachable{Server: r.To, Until: until, Err: err}
	}
	response.Body = newPatient(limited, response.Body, end)
	if response.StatusCode == http.StatusOK {
		c.Heard(r.To)
		return response, nil
	}
	defer response.Body.Close()
	refusal := readRefusal(r.To, response)
	if refusal.Status >= http.StatusInternalServerError && refusal.Code == "" {
		// That is a proxy whose server is away.
		until := c.backoff.failed(r.To, began)
		return nil, &Unreachable{Server: r.To, Until: until, Err: refusal}
	}
	c.Heard(r.To)
	return nil, refusal
}

// check refuses requests that must not be made.
func (c *Client) check(r Request) error {
	if _, err := matrix.ParseServerName(string(r.To)); err != nil {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	if r.To == c.options.ServerName {
		return fmt.Errorf("%w: %s is this server", ErrDenied, r.To)
	}
	if !c.options.Allowed(r.To) {
		return fmt.Errorf("%w: %s", ErrDenied, r.To)
	}
	return nil
}

// request is the HTTP request, signed.
func (c *Client) request(ctx context.Context, r Request) (*http.Request, error) {
	var content []byte
	var body io.Reader
	if r.Content != nil {
		raw, err := matrix.MarshalCanonical(r.Content)
		if err != nil {
			return nil, fmt.Errorf("encode the request to %s: %w", r.To, err)
		}
		content, body = raw, bytes.NewReader(raw)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, "https://"+string(r.To)+r.URI, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "Trestle/"+telemetry.Build().Version)
	request.Header.Set("Accept", "application/json")
	if content != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if r.Unsigned {
		return request, nil
	}
	signed := SignedRequest{
		Method: r.Method, URI: request.URL.RequestURI(), // as it goes out
		Origin: c.options.ServerName, Destination: r.To, Content: content,
	}
	authorization, err := signed.sign(c.options.Key)
	if err != nil {
		return nil, fmt.Errorf("sign the request to %s: %w", r.To, err)
	}
	request.Header.Set("Authorization", authorization.String())
	return request, nil
}

// readRefusal reads an error, as far as it is one of Matrix.
func readRefusal(server matrix.ServerName, response *http.Response) *Refusal {
	refusal := &Refusal{Server: server, Status: response.StatusCode, Message: http.StatusText(response.StatusCode)}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return refusal
	}
	raw, err := io.ReadAll(io.LimitReader(response.Body, errorAnswer))
	if err != nil {
		return refusal
	}
	var said struct {
		Code       string      `json:"errcode"`
		Message    string      `json:"error"`
		RetryAfter json.Number `json:"retry_after_ms"`
		Version    any         `json:"room_version"`
	}
	if json.Unmarshal(raw, &said) != nil || !validCode(said.Code) {
		return refusal
	}
	refusal.Code, refusal.Message = said.Code, plain(said.Message)
	if version, ok := said.Version.(string); ok && len(version) <= maxVersion {
		refusal.RoomVersion = plain(version)
	}
	if ms, err := said.RetryAfter.Int64(); err == nil && ms > 0 {
		refusal.RetryAfter = time.Duration(min(ms, longestPause.Milliseconds())) * time.Millisecond
	} else if seconds, err := strconv.ParseInt(response.Header.Get("Retry-After"), 10, 32); err == nil && seconds > 0 {
		refusal.RetryAfter = min(time.Duration(seconds)*time.Second, longestPause)
	}
	return refusal
}

// validCode reports whether a text looks like an error code.
func validCode(code string) bool {
	if code == "" || len(code) > 100 {
		return false
	}
	return !strings.ContainsFunc(code, func(r rune) bool {
		return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '.'
	})
}

// path is a URI without its query, for messages.
func path(uri string) string {
	before, _, _ := strings.Cut(uri, "?")
	return before
}

// bounded is a context for one request, and the function that ends it.
func bounded(ctx context.Context, most time.Duration) (context.Context, context.CancelCauseFunc) {
	timed, cancel := context.WithTimeoutCause(ctx, most, errBrokenOff)
	limited, end := context.WithCancelCause(timed)
	return limited, func(cause error) {
		end(cause)
		cancel()
	}
}

// errBrokenOff is for answers that have taken too long.
var errBrokenOff = errors.New("the answer did not come to its end in time")

// patient is the body of an answer that may take its time, but not for ever.
type patient struct {
	body  io.ReadCloser
	ctx   context.Context // of the request
	end   context.CancelCauseFunc
	timer *time.Timer
}

func newPatient(ctx context.Context, body io.ReadCloser, end context.CancelCauseFunc) *patient {
	return &patient{body, ctx, end, time.AfterFunc(silence, func() { end(errBrokenOff) })}
}

// Read implements io.Reader. What ends because the time is over does not end well, even if the other side says so:
// that may be how it takes our going away.
func (p *patient) Read(b []byte) (int, error) {
	n, err := p.body.Read(b)
	p.timer.Reset(silence)
	if err != nil && p.ctx.Err() != nil {
		err = context.Cause(p.ctx)
	}
	return n, err
}

// Close implements io.Closer.
func (p *patient) Close() error {
	p.timer.Stop()
	err := p.body.Close()
	p.end(nil)
	return err
}
