package cluster

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// RoundTrip implements http.RoundTripper for the proxy. It tries until a leader
// has answered. A request that may have reached one which then did not answer
// is tried again only if it changes nothing.
func (f *Forwarder) RoundTrip(r *http.Request) (*http.Response, error) {
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
	deadline := time.Now().Add(f.options.Patience)
	failed := Leader{}
	streamed := r.Body != nil && r.GetBody == nil
	for begun := 0; ; {
		leader, reign, err := f.await(r.Context(), failed, deadline)
		if err != nil {
			return nil, err
		}
		a := &attempt{forwarder: f, leader: leader, reads: reads}
		response, err := a.do(r, reign)
		if err == nil {
			f.reached(leader)
			return response, nil
		}
		if r.Context().Err() != nil || f.stopping.Err() != nil && reads {
			return nil, err
		}
		if a.sent.Load() && !a.refused {
			begun++
			deadline = time.Now().Add(f.options.Patience) // it has not waited for a leader so far
		}
		if begun > 0 && !reads || begun == maxBegun || a.sent.Load() && streamed {
			return nil, &lostError{err}
		}
		failed = leader
		f.missed(leader, err)
	}
}

// maxBegun is how often a leader may begin to answer a request that reads: it may
// be the request that ends the connection.
const maxBegun = 4

// A lostError is that of a request of which nobody knows what became.
type lostError struct{ err error }

func (e *lostError) Error() string { return "the leader was lost: " + e.err.Error() }
func (e *lostError) Unwrap() error { return e.err }

// An unclosed body stays open after an attempt: if nothing has been sent, there
// is another. The proxy closes it in the end.
type unclosed struct{ io.Reader }

// Close implements io.Closer.
func (unclosed) Close() error { return nil }

// await returns the leader, as soon as there is one. One that has just failed
// is given a moment.
func (f *Forwarder) await(ctx context.Context, failed Leader, deadline time.Time) (Leader, context.Context, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.leader.Address != "" && f.leader != failed {
		return f.leader, f.reign, nil
	}
	if f.waiting >= maxWaiting {
		return Leader{}, nil, errTooMany
	}
	f.waiting++
	f.metrics.waiting.Inc()
	defer func() { f.waiting--; f.metrics.waiting.Dec() }()
	end := time.NewTimer(time.Until(deadline))
	defer end.Stop()
	for {
		changed, moment := f.changed, (<-chan time.Time)(nil)
		if f.leader.Address != "" {
			moment = time.After(again)
		}
		f.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-moment:
			failed = Leader{}
		case <-end.C:
			err = errNobody
		case <-ctx.Done():
			err = ctx.Err()
		case <-f.stopping.Done():
			err = errStopping
		}
		f.mu.Lock()
		if err != nil {
			return Leader{}, nil, err
		}
		if f.leader.Address != "" && f.leader != failed {
			return f.leader, f.reign, nil
		}
	}
}

// reached and missed note whether the leader is there.
func (f *Forwarder) reached(leader Leader) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if leader == f.leader {
		f.since = time.Time{}
	}
}

func (f *Forwarder) missed(leader Leader, err error) {
	f.mu.Lock()
	first := leader == f.leader && f.since.IsZero()
	if first {
		f.since = time.Now()
	}
	f.mu.Unlock()
	if first {
		f.options.Log.Warn("the leader does not answer", "address", leader.Address, "err", err)
	}
}

// An attempt is one request to one leader.
type attempt struct {
	forwarder *Forwarder
	leader    Leader
	reads     bool
	sent      atomic.Bool // something has been, and the body may be read even now
	refused   bool        // but nothing has been done
}

var errRefused = errors.New("the process does not lead")

// do ends when the leader's time does.
func (a *attempt) do(r *http.Request, reign context.Context) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteHeaders: func() { a.sent.Store(true) },
	}))
	unfollow := context.AfterFunc(reign, func() { cancel(context.Cause(reign)) })
	goOn := func() bool { return true }
	if a.reads {
		goOn = context.AfterFunc(a.forwarder.stopping, func() { cancel(errStopping) })
	}
	end := func() { unfollow(); goOn(); cancel(nil) }
	out := r.Clone(ctx)
	switch {
	case r.GetBody != nil:
		out.Body, _ = r.GetBody() // from memory
	case r.Body != nil:
		out.Body = unclosed{r.Body}
	}
	out.URL.Host = a.leader.Address
	out.Header.Set(secretHeader, a.leader.Secret)
	response, err := a.forwarder.http.RoundTrip(out)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		end()
		return nil, err
	}
	if response.Header.Get(refusedHeader) != "" {
		_ = response.Body.Close()
		end()
		a.refused = true
		return nil, errRefused
	}
	// What has begun may end, but a stream of events has no end.
	if kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")); kind != "text/event-stream" {
		goOn()
	}
	response.Body = &body{response.Body, end}
	return response, nil
}

// A body lets go of the attempt at its end.
type body struct {
	io.ReadCloser
	end func()
}

// Close implements io.Closer.
func (b *body) Close() error {
	defer b.end()
	return b.ReadCloser.Close()
}
