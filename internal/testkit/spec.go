package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// A specification is the OpenAPI files of the Matrix specification: every
// operation with what may be sent and what may be answered.
type specification struct {
	root       string
	operations []*operation
	schemas    *schemaSet

	mu    sync.Mutex
	files map[string]any // absolute path → document, as JSON values
}

// An operation is a method and a path, with schemas for what is sent.
type operation struct {
	API    string // client-server, application-service, server-server, push-gateway
	Method string
	Path   string // with {parameters}
	File   string // in the specification, for messages

	token     bool     // it needs an access token
	signed    bool     // it needs the signature of a server
	query     []string // parameters that its query must have
	segments  []string
	request   map[string]node // content type → schema
	responses map[string]response
}

// A response is what may come with one status code.
type response struct {
	content map[string]node // content type → schema
	headers map[string]header
}

type header struct {
	required bool
	schema   node
}

// The APIs whose files are read.
var specAPIs = []string{"client-server", "application-service", "server-server", "push-gateway"}

// errNoSpecification says that there are no files to read.
var errNoSpecification = errors.New("the specification's files are not there")

// loadSpecification reads all files once for the process.
var loadSpecification = sync.OnceValues(func() (*specification, error) {
	root, err := specFolder()
	if err != nil {
		return nil, err
	}
	return readSpecification(root)
})

// specFolder is TRESTLE_SPEC, or shared/spec beside the checkout.
func specFolder() (string, error) {
	folder := os.Getenv("TRESTLE_SPEC")
	if folder == "" {
		module, err := moduleRoot()
		if err != nil {
			return "", err
		}
		folder = filepath.Join(module, "..", "shared", "spec")
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(folder, "api")); err != nil {
		return "", fmt.Errorf("%w: %w", errNoSpecification, err)
	}
	return folder, nil
}

// moduleRoot is the folder with go.mod, from the one in which a test runs.
func moduleRoot() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, nil
		}
		parent := filepath.Dir(folder)
		if parent == folder {
			return "", errors.New("there is no go.mod above the working directory")
		}
		folder = parent
	}
}

func readSpecification(root string) (*specification, error) {
	s := &specification{root: root, files: map[string]any{}}
	s.schemas = newSchemaSet(s)
	for _, api := range specAPIs {
		paths, err := filepath.Glob(filepath.Join(root, "api", api, "*.yaml"))
		if err != nil {
			return nil, err
		}
		if len(paths) == 0 {
			return nil, fmt.Errorf("%w: nothing in api/%s", errNoSpecification, api)
		}
		for _, path := range paths {
			if err := s.readOperations(api, path); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	slices.SortFunc(s.operations, func(a, b *operation) int {
		return strings.Compare(a.Path+" "+a.Method, b.Path+" "+b.Method)
	})
	return s, nil
}

func (s *specification) readOperations(api, path string) error {
	document, err := s.document(path)
	if err != nil {
		return err
	}
	file := node{file: path, value: document}
	base, err := basePath(file)
	if err != nil {
		return err
	}
	paths, err := s.child(file, "paths")
	if err != nil {
		return err
	}
	for _, name := range keysOf(paths.value) {
		item, err := s.child(paths, name)
		if err != nil {
			return err
		}
		for _, method := range keysOf(item.value) {
			if !slices.Contains([]string{"get", "put", "post", "delete", "patch", "head"}, method) {
				continue
			}
			// Two operations share method and path with another one, and tell
			// themselves apart by a space behind it.
			op := &operation{API: api, Method: strings.ToUpper(method), Path: base + strings.TrimSpace(name), File: filepath.Base(path)}
			op.segments = strings.Split(op.Path, "/")
			found, err := s.child(item, method)
			if err == nil {
				err = s.readOperation(op, found)
			}
			if err != nil {
				return fmt.Errorf("%s %s: %w", op.Method, op.Path, err)
			}
			s.operations = append(s.operations, op)
		}
	}
	return nil
}

// basePath is what stands before all paths of a file.
func basePath(file node) (string, error) {
	servers, _ := field(file.value, "servers").([]any)
	if len(servers) == 0 {
		return "", errors.New("no servers")
	}
	base, ok := field(field(field(servers[0], "variables"), "basePath"), "default").(string)
	if !ok {
		// Written into the URL: {protocol}://{hostname}/.well-known
		text, _ := field(servers[0], "url").(string)
		_, rest, found := strings.Cut(text, "://")
		slash := strings.IndexByte(rest, '/')
		if !found {
			return "", errors.New("no base path")
		}
		if slash < 0 {
			return "", nil
		}
		base = rest[slash:]
	}
	return strings.TrimRight(base, "/"), nil
}

func (s *specification) readOperation(op *operation, at node) (err error) {
	if field(at.value, "requestBody") != nil {
		body, err := s.child(at, "requestBody")
		if err != nil {
			return err
		}
		if op.request, err = s.readContent(body); err != nil {
			return err
		}
	}
	op.token, op.signed, op.query = needsToken(at.value), needsSignature(at.value), requiredQuery(at.value)
	op.responses = map[string]response{}
	responses, err := s.child(at, "responses")
	if err != nil {
		return err
	}
	for _, status := range keysOf(responses.value) {
		found, err := s.child(responses, status)
		if err != nil {
			return err
		}
		var r response
		if r.content, err = s.readContent(found); err != nil {
			return err
		}
		if r.headers, err = s.readHeaders(found); err != nil {
			return err
		}
		op.responses[status] = r
	}
	return nil
}

func (s *specification) readContent(at node) (map[string]node, error) {
	content := map[string]node{}
	for _, kind := range keysOf(field(at.value, "content")) {
		schema := at.down("content", kind, "schema")
		schema.value = field(field(field(at.value, "content"), kind), "schema")
		if schema.value != nil {
			content[kind] = schema
		}
	}
	return content, nil
}

func (s *specification) readHeaders(at node) (map[string]header, error) {
	headers := map[string]header{}
	if field(at.value, "headers") == nil {
		return headers, nil
	}
	list, err := s.child(at, "headers")
	if err != nil {
		return nil, err
	}
	for _, name := range keysOf(list.value) {
		found, err := s.child(list, name)
		if err != nil {
			return nil, err
		}
		required, _ := field(found.value, "required").(bool)
		h := header{required: required, schema: found.down("schema")}
		h.schema.value = field(found.value, "schema")
		headers[name] = h
	}
	return headers, nil
}
