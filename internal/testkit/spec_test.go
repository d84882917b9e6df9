package testkit

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testSpecification is the specification, where there is one.
func testSpecification(t *testing.T) *specification {
	t.Helper()
	spec, err := loadSpecification()
	if errors.Is(err, errNoSpecification) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestSpecificationIsWhole(t *testing.T) {
	spec := testSpecification(t)
	text, err := os.ReadFile(filepath.Join(spec.root, "endpoints.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, op := range spec.operations {
		found[op.API+"\t"+op.Method+"\t"+op.Path] = true
	}
	checked := 0
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		name := line[:strings.LastIndexByte(line, '\t')]
		if strings.HasPrefix(name, "identity\t") || strings.HasPrefix(name, "push-gateway\t") {
			continue
		}
		checked++
		if !found[name] {
			t.Errorf("not read: %s", name)
		}
	}
	if checked < 200 {
		t.Errorf("only %d operations in endpoints.tsv", checked)
	}
}

// Every schema compiles, and every example in the specification passes: the
// validator is not stricter than the text.
func TestSpecificationExamples(t *testing.T) {
	spec := testSpecification(t)
	responses := 0
	for _, op := range spec.operations {
		for kind, schema := range op.request {
			for _, body := range examples(t, spec, schema) {
				if err := spec.schemas.check(schema, body); err != nil {
					t.Errorf("%s %s: request as %s: %v", op.Method, op.Path, kind, err)
				}
			}
		}
		eachExample(t, spec, op, func(x Exchange, body any) {
			responses++
			if _, err := spec.validate(x); err != nil {
				t.Errorf("%s %s → %d: %v", op.Method, op.Path, x.Status, err)
			}
		})
		for status, response := range op.responses {
			for kind, schema := range response.content {
				if _, err := spec.schemas.compile(schema); err != nil {
					t.Errorf("%s %s → %s %s: %v", op.Method, op.Path, status, kind, err)
				}
			}
		}
	}
	if t.Logf("%d responses", responses); responses < 300 {
		t.Error("too few examples to mean anything")
	}
}

// And it is able to fail: what a schema requires is missed when it is gone,
// and a wrong type is seen.
func TestSpecificationExamplesBroken(t *testing.T) {
	spec := testSpecification(t)
	broken, members := 0, 0
	for _, op := range spec.operations {
		eachExample(t, spec, op, func(x Exchange, body any) {
			if x.Status != http.StatusOK {
				return
			}
			object, ok := body.(map[string]any)
			if !ok {
				return
			}
			required, _ := field(op.responses["200"].content["application/json"].value, "required").([]any)
			for _, name := range required {
				members++
				for _, change := range []func(map[string]any, string){
					func(object map[string]any, name string) { delete(object, name) },
					func(object map[string]any, name string) { object[name] = nil },
				} {
					changed := map[string]any{}
					for key, value := range object {
						changed[key] = value
					}
					change(changed, name.(string))
					x.Response, _ = json.Marshal(changed)
					if _, err := spec.validate(x); err == nil {
						t.Errorf("%s %s passes without %s", op.Method, op.Path, name)
					} else {
						broken++
					}
				}
			}
		})
	}
	if t.Logf("%d of %d broken responses seen", broken, 2*members); members < 50 {
		t.Error("too few members to mean anything")
	}
}

// eachExample makes an exchange of each example of a JSON response.
func eachExample(t *testing.T, spec *specification, op *operation, visit func(Exchange, any)) {
	t.Helper()
	for status, response := range op.responses {
		schema, ok := response.content["application/json"]
		if !ok || status == "default" {
			continue
		}
		for _, body := range examples(t, spec, schema) {
			encoded, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			code, err := json.Number(status).Int64()
			if err != nil {
				t.Fatal(err)
			}
			visit(Exchange{
				Method:   op.Method,
				URL:      &url.URL{Path: strings.NewReplacer("{", "", "}", "").Replace(op.Path)},
				Status:   int(code),
				Header:   http.Header{"Content-Type": {"application/json"}},
				Response: encoded,
			}, body)
		}
	}
}

// examples are those beside a schema.
func examples(t *testing.T, spec *specification, schema node) []any {
	t.Helper()
	value := spec.files[schema.file]
	pointer := schema.pointer[:len(schema.pointer)-1]
	for _, key := range pointer {
		value = field(value, key)
	}
	list, ok := field(value, "examples").(map[string]any)
	if !ok {
		return nil
	}
	media := node{file: schema.file, pointer: pointer, value: map[string]any{"examples": list}}
	all, err := spec.child(media, "examples")
	if err != nil {
		t.Fatal(err)
	}
	var bodies []any
	for name := range list {
		example, err := spec.child(all, name)
		if err != nil {
			t.Fatal(err)
		}
		body := expand(t, spec, example.file, field(example.value, "value"))
		if text, ok := body.(string); ok && strings.HasPrefix(strings.TrimSpace(text), "{") {
			if err := json.Unmarshal([]byte(text), &body); err != nil {
				t.Fatal(err)
			}
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// expand follows references inside an example; members beside one win.
func expand(t *testing.T, spec *specification, file string, value any) any {
	t.Helper()
	switch value := value.(type) {
	case []any:
		list := make([]any, len(value))
		for i, item := range value {
			list[i] = expand(t, spec, file, item)
		}
		return list
	case map[string]any:
		object := map[string]any{}
		if ref, ok := value["$ref"].(string); ok {
			target, err := spec.follow(file, ref)
			if err != nil {
				t.Fatal(err)
			}
			referred := expand(t, spec, target.file, target.value)
			if object, ok = referred.(map[string]any); !ok {
				return referred
			}
		}
		for key, member := range value {
			if key != "$ref" {
				object[key] = expand(t, spec, file, member)
			}
		}
		return object
	default:
		return value
	}
}
