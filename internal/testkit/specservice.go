package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// SpecService stands before an application service of a test and holds to the
// specification what a homeserver asks of it, whatever is answered: a refusal
// does not make a wrong request right. What the service answers is the test's
// own business; an operation counts as seen if that is right as well. Requests
// that the specification does not know, of proposals and of former versions,
// pass.
func SpecService(t testing.TB, next http.Handler) http.Handler {
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
		op, err := judge.spec.validateAsked(x)
		switch {
		case err != nil:
			judge.report(x, err)
		case op != nil && x.Status < 300 && judge.spec.checkResponse(op, x) == nil:
			judge.succeeded(op)
		}
	})
}

// A tappedAnswer keeps what goes through it.
type tappedAnswer struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (a *tappedAnswer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *tappedAnswer) Write(text []byte) (int, error) {
	a.body.Write(text)
	return a.ResponseWriter.Write(text)
}

// validateAsked looks at what a homeserver asks of an application service, and
// returns the operation that it is, if it is one.
func (s *specification) validateAsked(x Exchange) (*operation, error) {
	path := x.URL.EscapedPath()
	if !strings.HasPrefix(path, servicePaths) || !covered(path) {
		return nil, nil
	}
	operations := s.match(x.Method, path)
	if len(operations) != 1 || operations[0].API != "application-service" {
		return nil, errors.New("the specification has no such operation")
	}
	op := operations[0]
	if token, ok := strings.CutPrefix(x.RequestHeader.Get("Authorization"), "Bearer "); !ok || token == "" {
		return op, errors.New("the request has no token in its header")
	}
	return op, s.checkAsked(op, x)
}

// servicePaths is where an application service serves.
const servicePaths = "/_matrix/app/v1/"

// checkAsked looks at the body more closely than at one of a client, which may
// be anybody's: it has to be there, and to have nothing of its own.
func (s *specification) checkAsked(op *operation, x Exchange) error {
	schema, ok := op.request["application/json"]
	if !ok {
		if len(x.Request) > 0 {
			return fmt.Errorf("the request has a body, and %s none", op.File)
		}
		return nil
	}
	if kind, _, err := mime.ParseMediaType(x.RequestHeader.Get("Content-Type")); err != nil || kind != "application/json" {
		return fmt.Errorf("the request has the content type %q", x.RequestHeader.Get("Content-Type"))
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(x.Request))
	if err != nil {
		return fmt.Errorf("the request is not JSON: %w", err)
	}
	if err := s.checkMembers(schema, body); err != nil {
		return fmt.Errorf("the request is not what %s says: %w", op.File, err)
	}
	if op.Path != servicePaths+"transactions/{txnId}" {
		return nil
	}
	return s.checkTransaction(body)
}

// checkMembers holds a value to a schema, and to the members that it names.
func (s *specification) checkMembers(schema node, value any) error {
	if err := s.schemas.check(schema, value); err != nil {
		return shorten(err)
	}
	compiled, err := s.schemas.compile(schema)
	if err != nil {
		return err
	}
	if names := unknownMembers(compiled, value); len(names) > 0 {
		return fmt.Errorf("there are members that it does not know: %s", strings.Join(names, ", "))
	}
	return nil
}

// checkTransaction holds the events to their own schemas (Application Service
// API § Pushing events and § Pushing ephemeral data).
func (s *specification) checkTransaction(body any) error {
	file := filepath.Join(s.root, "api", "client-server", "definitions", "client_event.yaml")
	document, err := s.document(file)
	if err != nil {
		return err
	}
	events, _ := field(body, "events").([]any)
	for _, event := range events {
		if err := s.checkMembers(node{file: file, value: document}, event); err != nil {
			return fmt.Errorf("the event %v: %w", field(event, "event_id"), err)
		}
	}
	ephemeral, _ := field(body, "ephemeral").([]any)
	for _, event := range ephemeral {
		kind, _ := field(event, "type").(string)
		room, _ := field(event, "room_id").(string)
		switch {
		case kind == "m.presence":
		case kind != "m.typing" && kind != "m.receipt":
			return fmt.Errorf("%q is no kind of ephemeral data", kind)
		case room == "":
			return fmt.Errorf("the event %s has no room", kind)
		}
		if err := s.checkEvent(kind, event); err != nil {
			return err
		}
	}
	return nil
}
