package testkit

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// SpecTransport holds every exchange to the specification and fails the test
// at those that break it. The exchange itself goes on as if nothing had been
// wrong. Without the specification's files it lets everything pass, except
// where CI is "true": there they have to be.
func SpecTransport(t testing.TB, next http.RoundTripper) http.RoundTripper {
	t.Helper()
	spec, err := loadSpecification()
	switch {
	case err == nil:
	case errors.Is(err, errNoSpecification) && os.Getenv("CI") != "true" && os.Getenv("TRESTLE_SPEC") == "":
		t.Logf("responses are not validated: %v", err)
		return next
	default:
		t.Fatalf("read the specification: %v", err)
	}
	transport := &specTransport{spec: spec, next: next, t: t, told: map[string]bool{}}
	t.Cleanup(transport.close)
	return transport
}

type specTransport struct {
	spec *specification
	next http.RoundTripper

	mu    sync.Mutex
	t     testing.TB // nil once the test is over
	told  map[string]bool
	first []*operation // that nobody had seen succeed
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
	op, err := st.spec.validate(Exchange{
		Method:        request.Method,
		URL:           request.URL,
		RequestHeader: request.Header,
		Request:       sent,
		Status:        response.StatusCode,
		Header:        response.Header,
		Response:      body,
	})
	if err != nil {
		st.report(request, sent, response.StatusCode, body, err)
	}
	if op != nil && response.StatusCode < 400 && coverage.first(op) {
		st.mu.Lock()
		st.first = append(st.first, op)
		st.mu.Unlock()
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

// report fails the test, once for each problem: a client that polls would say
// the same thing again and again. A test that is over cannot fail any more.
func (st *specTransport) report(request *http.Request, sent []byte, status int, body []byte, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	key := request.Method + err.Error()
	if st.t == nil || st.told[key] {
		return
	}
	st.told[key] = true
	st.t.Errorf("%s %s → %d breaks the specification: %v\nsent %s\ngot  %s",
		request.Method, request.URL.EscapedPath(), status, err, clip(sent), clip(body))
}

func (st *specTransport) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if line := seenLine(st.first); line != "" {
		st.t.Log(line)
	}
	st.t = nil
}

func clip(body []byte) string {
	const most = 2000
	if len(body) == 0 {
		return "nothing"
	}
	if len(body) > most {
		return string(body[:most]) + "…"
	}
	return string(body)
}
