package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"maunium.net/go/mautrix"
)

// Backoff says how long to wait between attempts: it doubles from First to
// Max, each with up to a quarter less, so that many waiters do not come back at once.
type Backoff struct {
	First time.Duration
	Max   time.Duration
}

// DefaultBackoff suits a homeserver on the same machine or continent.
var DefaultBackoff = Backoff{First: 100 * time.Millisecond, Max: 15 * time.Second}

// Delay is the wait after the given number of failures, from 1.
func (b Backoff) Delay(failures int) time.Duration {
	d := b.Max
	if shift := failures - 1; shift < 20 {
		d = min(b.First<<max(shift, 0), b.Max)
	}
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// Retry repeats a request until it works, fails for good, or ctx ends. A
// homeserver that is away is not a failure, however long it is. failing, if
// not nil, is told of each attempt that will be repeated.
func Retry(ctx context.Context, failing func(err error, failures int), request func(context.Context) error) error {
	for failures := 1; ; failures++ {
		err := request(ctx)
		if err == nil || ctx.Err() != nil || !Temporary(err) {
			return err
		}
		if failing != nil {
			failing(err, failures)
		}
		wait := max(DefaultBackoff.Delay(failures), retryAfter(err))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// Temporary reports whether the same request may well work later: the
// homeserver was not reached, was busy or broken, did not know our token (it may be
// about to read our registration), or something in front of it answered.
func Temporary(err error) bool {
	var failure mautrix.HTTPError
	if !errors.As(err, &failure) {
		return false
	}
	if failure.Response == nil {
		return !errors.Is(err, context.Canceled)
	}
	switch status := failure.Response.StatusCode; {
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusUnauthorized:
		return true
	case failure.RespError == nil && (status == http.StatusForbidden || status == http.StatusNotFound):
		return true // no homeserver talks like that
	}
	return Is(err, "M_UNKNOWN_TOKEN") || Is(err, "M_LIMIT_EXCEEDED")
}

// Is tells whether the homeserver answered with an error code.
func Is(err error, code string) bool {
	var failure mautrix.HTTPError
	return errors.As(err, &failure) && failure.RespError != nil && failure.RespError.ErrCode == code
}

// retryAfter is what the homeserver asks for with M_LIMIT_EXCEEDED.
func retryAfter(err error) time.Duration {
	var failure mautrix.HTTPError
	if !errors.As(err, &failure) || failure.Response == nil {
		return 0
	}
	if seconds, err := strconv.Atoi(failure.Response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		return min(time.Duration(seconds)*time.Second, time.Minute)
	}
	if failure.RespError != nil {
		if ms, ok := failure.RespError.ExtraData["retry_after_ms"].(float64); ok && ms > 0 {
			return min(time.Duration(ms)*time.Millisecond, time.Minute)
		}
	}
	return 0
}
