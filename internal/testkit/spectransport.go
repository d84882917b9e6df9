package testkit

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// SpecTransport holds every exchange to the specification and fails the test
// at those that break it. The exchange itself goes on as if nothing had been
// wrong. Without the specification's files it lets everything pass, except
// where CI is "true": there they have to be.
func SpecTransport(t testing.TB, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	judge := newSpecJudge(t)
	if judge == nil {
		return next
	}
	return &specTransport{judge: judge, next: next}
}

type specTransport struct {
	judge *specJudge
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (st *specTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	sent, err := peekRequest(request)
	if err != nil {
		return nil, err
	}
	response, err := st.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	if closeErr := response.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	x := Exchange{
		Method:        request.Method,
		URL:           request.URL,
		RequestHeader: request.Header,
		Request:       sent,
		Status:        response.StatusCode,
		Header:        response.Header,
		Response:      body,
	}
	op, err := st.judge.spec.validate(x)
	if err != nil {
		st.judge.report(x, err)
	}
	if op != nil && response.StatusCode < 400 {
		st.judge.succeeded(op)
	}
	return response, nil
}

// peekRequest reads a JSON body and puts it back; media streams through.
func peekRequest(request *http.Request) ([]byte, error) {
	if request.Body == nil || !strings.HasPrefix(request.Header.Get("Content-Type"), "application/json") {
		return nil, nil
	}
	body, err := io.ReadAll(request.Body)
	if closeErr := request.Body.Close(); err == nil {
		err = closeErr
	}
	request.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}
