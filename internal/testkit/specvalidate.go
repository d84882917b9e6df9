package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// An Exchange is a request and what was answered.
type Exchange struct {
	Method        string
	URL           *url.URL
	RequestHeader http.Header
	Request       []byte // empty if it was not JSON
	Status        int
	Header        http.Header
	Response      []byte
}

// ValidateExchange holds an exchange to the specification: the operation
// exists; the status is one that it has, or an error; the response has the
// content type, the headers and the shape that belong to it; and a request
// that was accepted had the right shape too. Paths that the specification
// does not speak of are not its business. Without the specification's files
// it returns an error.
func ValidateExchange(x Exchange) error {
	spec, err := loadSpecification()
	if err != nil {
		return err
	}
	_, err = spec.validate(x)
	return err
}

// validate also returns the operation that it was, if it was one.
func (s *specification) validate(x Exchange) (*operation, error) {
	path := x.URL.EscapedPath()
	if !covered(path) || x.Method == http.MethodOptions || x.Method == http.MethodHead {
		return nil, nil
	}
	operations := s.match(x.Method, path)
	if len(operations) == 0 {
		if x.Status < 400 {
			return nil, errors.New("the specification has no such operation, but it was answered")
		}
		return nil, s.checkStandardError(x)
	}
	var problems []error
	for _, op := range operations {
		err := s.checkResponse(op, x)
		if x.Status < 300 {
			err = errors.Join(err, s.checkRequest(op, x))
		}
		if err == nil {
			return op, nil
		}
		problems = append(problems, err)
	}
	return nil, errors.Join(problems...)
}

// checkRequest looks at JSON bodies. A request without one is let through:
// clients leave out bodies in which nothing is required.
func (s *specification) checkRequest(op *operation, x Exchange) error {
	schema, ok := op.request["application/json"]
	if !ok || len(x.Request) == 0 {
		return nil
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(x.Request))
	if err != nil {
		return fmt.Errorf("the request is not JSON: %w", err)
	}
	if err := s.schemas.check(schema, body); err != nil {
		return fmt.Errorf("the request is not what %s says: %w", op.File, shorten(err))
	}
	return nil
}

func (s *specification) checkResponse(op *operation, x Exchange) error {
	declared, ok := op.responses[strconv.Itoa(x.Status)]
	if !ok {
		declared, ok = op.responses["default"]
	}
	if !ok {
		if x.Status < 400 {
			return fmt.Errorf("%s has no answer with status %d", op.File, x.Status)
		}
		return s.checkStandardError(x)
	}
	err := s.checkBody(op, declared, x)
	if err != nil && x.Status >= 400 && x.Status != http.StatusTooManyRequests && s.checkStandardError(x) == nil {
		// A status may have a shape of its own for one reason, such as 401 for
		// interactive authentication, and still mean the usual thing for others.
		err = nil
	}
	return errors.Join(err, s.checkHeaders(declared, x))
}

func (s *specification) checkBody(op *operation, declared response, x Exchange) error {
	schema, ok := declared.content["application/json"]
	if !ok {
		return checkOpaqueBody(op, declared, x)
	}
	body, err := readJSON(x)
	if err != nil {
		return err
	}
	if err := s.schemas.check(schema, body); err != nil {
		return fmt.Errorf("the response is not what %s says for %d: %w", op.File, x.Status, shorten(err))
	}
	if x.Status >= 300 {
		return nil
	}
	compiled, err := s.schemas.compile(schema)
	if err != nil {
		return err
	}
	if names := unknownMembers(compiled, body); len(names) > 0 {
		return fmt.Errorf("the response has members that %s does not know: %s", op.File, strings.Join(names, ", "))
	}
	if op.Path == "/_matrix/client/v3/sync" {
		return s.checkSyncEvents(body)
	}
	return nil
}

// checkOpaqueBody is for media and redirects, whose bytes are nobody's
// business. A response that may have any type of content is declared as
// application/octet-stream.
func checkOpaqueBody(op *operation, declared response, x Exchange) error {
	if len(declared.content) == 0 || len(x.Response) == 0 {
		return nil
	}
	kind := x.Header.Get("Content-Type")
	parsed, _, err := mime.ParseMediaType(kind)
	if err != nil {
		return fmt.Errorf("the response has the content type %q: %w", kind, err)
	}
	if _, any := declared.content["application/octet-stream"]; any {
		return nil
	}
	if _, known := declared.content[parsed]; !known {
		return fmt.Errorf("the response has the content type %q, which %s does not know", kind, op.File)
	}
	return nil
}

func (s *specification) checkHeaders(declared response, x Exchange) error {
	var problems []error
	for name, header := range declared.headers {
		value := x.Header.Get(name)
		switch {
		case value == "" && header.required:
			problems = append(problems, fmt.Errorf("the response has no header %s", name))
		case value != "" && header.schema.value != nil && field(header.schema.value, "type") == "string":
			if name == "Content-Type" {
				value, _, _ = strings.Cut(value, ";")
			}
			if err := s.schemas.check(header.schema, value); err != nil {
				problems = append(problems, fmt.Errorf("the header %s: %w", name, shorten(err)))
			}
		}
	}
	return errors.Join(problems...)
}

// checkStandardError is for every error that an operation does not declare
// (Client-Server API § Standard error response).
func (s *specification) checkStandardError(x Exchange) error {
	body, err := readJSON(x)
	if err != nil {
		return err
	}
	if x.Status == http.StatusUnauthorized && field(body, "flows") != nil {
		// Operations that only sometimes want user-interactive authentication
		// do not declare it.
		return s.checkDefinition("auth_response.yaml", body)
	}
	name := "errors/error.yaml"
	if x.Status == http.StatusTooManyRequests {
		name = "errors/rate_limited.yaml"
	}
	if err := s.checkDefinition(name, body); err != nil {
		return err
	}
	code, _ := field(body, "errcode").(string)
	if code == "" || !strings.HasPrefix(code, "M_") && !strings.Contains(code, ".") {
		return fmt.Errorf("the error code %q is neither M_… nor one of a namespace", code)
	}
	if text, _ := field(body, "error").(string); text == "" {
		return fmt.Errorf("the error %s says nothing for people", code)
	}
	return nil
}

// checkDefinition holds an error to one of the shared definitions.
func (s *specification) checkDefinition(name string, body any) error {
	file := filepath.Join(s.root, "api", "client-server", "definitions", filepath.FromSlash(name))
	document, err := s.document(file)
	if err != nil {
		return err
	}
	if err := s.schemas.check(node{file: file, value: document}, body); err != nil {
		return fmt.Errorf("the error is not a standard error: %w", shorten(err))
	}
	return nil
}

func readJSON(x Exchange) (any, error) {
	kind := x.Header.Get("Content-Type")
	if parsed, _, err := mime.ParseMediaType(kind); err != nil || parsed != "application/json" {
		return nil, fmt.Errorf("the response has the content type %q, not application/json", kind)
	}
	body, err := jsonschema.UnmarshalJSON(bytes.NewReader(x.Response))
	if err != nil {
		return nil, fmt.Errorf("the response is not JSON: %w", err)
	}
	return body, nil
}

// shorten leaves out where on this machine the schema is.
func shorten(err error) error {
	text := err.Error()
	if _, rest, found := strings.Cut(text, "\n"); found {
		text = rest
	}
	return errors.New(strings.TrimSpace(text))
}
