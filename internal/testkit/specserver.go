package testkit

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// SpecServer stands before the Server-Server API of a homeserver and holds to the specification what
// it answers, and what others have asked that it does not refuse.
func SpecServer(t testing.TB, next http.Handler) http.Handler {
	t.Helper()
	judge := newSpecJudge(t)
	if judge == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent, err := peekRequest(r)
		if err != nil {
			return // broken off by the other end
		}
		answer := &tappedAnswer{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(answer, r)
		x := Exchange{
			Method: r.Method, URL: r.URL, RequestHeader: r.Header, Request: sent,
			Status: answer.status, Header: answer.Header(), Response: answer.body.Bytes(),
		}
		op, err := judge.spec.validate(x)
		if err == nil && op != nil && op.API == "server-server" && x.Status < 400 {
			err = judge.spec.checkAsked(op, x)
			if signed := strings.HasPrefix(r.Header.Get("Authorization"), "X-Matrix "); err == nil && signed != op.signed {
				err = errors.New("the request is signed though nobody asks for that, or is not though it has to be")
			}
		}
		switch {
		case err != nil:
			judge.report(x, err)
		case op != nil && x.Status < 300:
			judge.succeeded(op)
		}
	})
}
