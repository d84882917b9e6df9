package testkit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A SpecOperation is an operation of the specification as a test that sends
// nonsense wants to know it.
type SpecOperation struct {
	API    string
	Method string
	Path   string // with {parameters}
	Token  bool   // it needs an access token
	JSON   bool   // it takes a JSON object
	Fields []SpecField
	Query  []string // parameters that the query must have
}

// A SpecField is a member of the object that an operation takes.
type SpecField struct {
	Name     string
	Types    []string // of JSON Schema; empty: anything
	Required bool
}

// SpecOperations is the lines of the specification's endpoints.tsv, of the APIs
// that a homeserver has a part in. Without the specification's files the test
// is skipped, except where CI is "true".
func SpecOperations(t testing.TB) []SpecOperation {
	t.Helper()
	spec, err := loadSpecification()
	if errors.Is(err, errNoSpecification) && os.Getenv("CI") != "true" && os.Getenv("TRESTLE_SPEC") == "" {
		t.Skipf("the operations are not known: %v", err)
	}
	if err != nil {
		t.Fatalf("read the specification: %v", err)
	}
	table, err := os.ReadFile(filepath.Join(spec.root, "endpoints.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	var list []SpecOperation
	for _, line := range strings.Split(strings.TrimSpace(string(table)), "\n")[1:] {
		columns := strings.Split(line, "\t")
		if len(columns) < 3 {
			t.Fatalf("endpoints.tsv: %q", line)
		}
		if !slices.Contains(specAPIs, columns[0]) {
			continue
		}
		op, err := spec.describe(columns[0], columns[1], columns[2])
		if err != nil {
			t.Fatalf("%s %s: %v", columns[1], columns[2], err)
		}
		list = append(list, op)
	}
	return list
}

func (s *specification) describe(api, method, path string) (SpecOperation, error) {
	described := SpecOperation{API: api, Method: method, Path: path, Token: true}
	found := false
	for _, op := range s.operations {
		if op.API != api || op.Method != method || op.Path != path {
			continue
		}
		found = true
		described.Token, described.Query = described.Token && op.token, op.query
		schema, ok := op.request["application/json"]
		if !ok {
			continue
		}
		described.JSON = true
		if err := s.fields(schema, &described.Fields, 0); err != nil {
			return described, err
		}
	}
	if !found {
		return described, errors.New("in endpoints.tsv, but in none of the files")
	}
	return described, nil
}

// needsToken reads an operation's security: it needs a token if there is no
// way without. Where the files have a server's signature, which no client can
// give, they are wrong, and nothing is known.
func needsToken(operation any) bool {
	ways, _ := field(operation, "security").([]any)
	for _, way := range ways {
		if !slices.ContainsFunc(keysOf(way), func(name string) bool { return strings.HasPrefix(name, "accessToken") }) {
			return false
		}
	}
	return len(ways) > 0
}

// needsSignature reads an operation's security: it is for servers.
func needsSignature(operation any) bool {
	ways, _ := field(operation, "security").([]any)
	return len(ways) > 0 && slices.ContainsFunc(ways, func(way any) bool { return slices.Contains(keysOf(way), "signedRequest") })
}

// requiredQuery is the parameters that an operation's query must have.
func requiredQuery(operation any) []string {
	var names []string
	parameters, _ := field(operation, "parameters").([]any)
	for _, parameter := range parameters {
		name, _ := field(parameter, "name").(string)
		if field(parameter, "in") == "query" && field(parameter, "required") == true {
			names = append(names, name)
		}
	}
	return names
}

// fields adds the members that a schema of an object names.
func (s *specification) fields(at node, fields *[]SpecField, depth int) error {
	if depth > 20 {
		return errors.New("the schema is too deep")
	}
	if ref, ok := field(at.value, "$ref").(string); ok {
		target, err := s.follow(at.file, ref)
		if err != nil {
			return err
		}
		return s.fields(target, fields, depth+1)
	}
	parts, _ := field(at.value, "allOf").([]any)
	for i, value := range parts {
		part := at.down("allOf", fmt.Sprint(i))
		part.value = value
		if err := s.fields(part, fields, depth+1); err != nil {
			return err
		}
	}
	required, _ := field(at.value, "required").([]any)
	properties := at.down("properties")
	properties.value = field(at.value, "properties")
	for _, name := range keysOf(properties.value) {
		member, err := s.child(properties, name)
		if err != nil {
			return err
		}
		*fields = append(*fields, SpecField{
			Name: name, Types: typesOf(member.value), Required: slices.Contains(required, any(name)),
		})
	}
	return nil
}

func typesOf(schema any) []string {
	switch types := field(schema, "type").(type) {
	case string:
		return []string{types}
	case []any:
		var names []string
		for _, name := range types {
			names = append(names, fmt.Sprint(name))
		}
		return names
	}
	return nil
}

// Wrong is JSON values that the field does not take.
func (f SpecField) Wrong() []string {
	if len(f.Types) == 0 {
		return nil
	}
	var wrong []string
	for _, c := range []struct {
		text  string
		types []string
	}{
		{"1.5", []string{"number"}}, {`"\u0000"`, []string{"string"}}, {"true", []string{"boolean"}}, {"[1]", []string{"array"}}, {`{"x":[]}`, []string{"object"}},
	} {
		if !slices.ContainsFunc(c.types, func(kind string) bool { return slices.Contains(f.Types, kind) }) {
			wrong = append(wrong, c.text)
		}
	}
	return wrong
}
