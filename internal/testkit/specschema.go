package testkit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path/filepath"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"trestle/internal/matrix"
)

// A schemaSet compiles the schemas in the specification's files when they are
// first needed.
type schemaSet struct {
	mu       sync.Mutex
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
}

func newSchemaSet(s *specification) *schemaSet {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(specLoader{s})
	compiler.AssertFormat()
	for name, check := range specFormats {
		compiler.RegisterFormat(&jsonschema.Format{Name: name, Validate: check})
	}
	return &schemaSet{compiler: compiler, compiled: map[string]*jsonschema.Schema{}}
}

func (set *schemaSet) compile(at node) (*jsonschema.Schema, error) {
	set.mu.Lock()
	defer set.mu.Unlock()
	location := at.location()
	if schema, ok := set.compiled[location]; ok {
		return schema, nil
	}
	schema, err := set.compiler.Compile(location)
	if err != nil {
		return nil, err
	}
	set.compiled[location] = schema
	return schema, nil
}

// check says how a value breaks a schema.
func (set *schemaSet) check(at node, value any) error {
	schema, err := set.compile(at)
	if err != nil {
		return fmt.Errorf("the specification's schema: %w", err)
	}
	return schema.Validate(value)
}

// A specLoader gives the compiler the documents as they were corrected.
type specLoader struct{ s *specification }

func (l specLoader) Load(location string) (any, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	return l.s.document(filepath.FromSlash(u.Path))
}

// specFormats are those that the files use, and JSON Schema does not know.
var specFormats = map[string]func(any) error{
	"mx-user-id":                 text(func(s string) error { _, err := matrix.ParseUserID(s); return err }),
	"mx-room-id":                 text(func(s string) error { _, err := matrix.ParseRoomID(s); return err }),
	"mx-room-alias":              text(func(s string) error { _, err := matrix.ParseRoomAlias(s); return err }),
	"mx-event-id":                text(func(s string) error { _, err := matrix.ParseEventID(s); return err }),
	"mx-server-name":             text(func(s string) error { _, err := matrix.ParseServerName(s); return err }),
	"mx-mxc-uri":                 text(checkMXC),
	"mx-unpadded-base64":         text(func(s string) error { _, err := base64.RawStdEncoding.DecodeString(s); return err }),
	"mx-urlsafe-unpadded-base64": text(func(s string) error { _, err := base64.RawURLEncoding.DecodeString(s); return err }),
	"int64":                      checkInt64,
	"float":                      func(any) error { return nil },
}

// text is a format of strings; other values are not its business.
func text(check func(string) error) func(any) error {
	return func(value any) error {
		if s, ok := value.(string); ok {
			return check(s)
		}
		return nil
	}
}

func checkMXC(s string) error {
	rest, ok := strings.CutPrefix(s, "mxc://")
	server, media, hasMedia := strings.Cut(rest, "/")
	if !ok || !hasMedia || media == "" || strings.Contains(media, "/") {
		return fmt.Errorf("%q is not mxc://server/media", s)
	}
	_, err := matrix.ParseServerName(server)
	return err
}

func checkInt64(value any) error {
	number, ok := value.(json.Number)
	if !ok {
		return nil
	}
	if _, err := number.Int64(); err == nil {
		return nil
	}
	// 1.0 and 1e3 are whole numbers as well.
	if f, err := number.Float64(); err != nil || f != math.Trunc(f) {
		return errors.New("is not a 64-bit integer")
	}
	return nil
}
