package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"trestle/internal/matrix"
)

// A binder fills request structs of one type. It is built when the route is
// declared, so that a request costs no look at types.
type binder struct {
	path        []boundField // by the parameter's place in the path
	query       []boundField
	header      []boundField
	members     []boundField
	credentials []int // index of a field of type Credentials
	raw         *boundField
	optional    bool // the whole body may be missing
	validates   bool
}

// A boundField is one field of a request struct and how to fill it.
type boundField struct {
	name     string
	index    []int
	place    int // of a path parameter
	required bool
	text     func(v reflect.Value, s string) error    // path, query, header
	json     func(v reflect.Value, data []byte) error // body
}

var (
	credentialsType = reflect.TypeFor[Credentials]()
	validatorType   = reflect.TypeFor[Validator]()
)

// newBinder panics when the struct does not fit the path or has a field of a
// kind that it cannot bind: a programmer's mistake at start-up.
func newBinder(t reflect.Type, path string) *binder {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("api: %s: request type %s is not a struct", path, t))
	}
	b := &binder{validates: reflect.PointerTo(t).Implements(validatorType)}
	names := parameterNames(path)
	b.addFields(t, nil, names, path)
	if len(b.members) > 0 && b.raw != nil {
		panic(fmt.Sprintf("api: %s: %s wants the body both whole and by members", path, t))
	}
	return b
}

func (b *binder) addFields(t reflect.Type, parent []int, names []string, path string) {
	for i := range t.NumField() {
		f := t.Field(i)
		index := append(slices.Clone(parent), i)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && f.Type != credentialsType {
			b.addFields(f.Type, index, names, path)
			continue
		}
		if !f.IsExported() {
			continue
		}
		if err := b.addField(f, index, names); err != nil {
			panic(fmt.Sprintf("api: %s: %s.%s: %v", path, t, f.Name, err))
		}
	}
}

func (b *binder) addField(f reflect.StructField, index []int, names []string) error {
	field := boundField{index: index, required: f.Tag.Get("required") == "true"}
	var err error
	if f.Type == credentialsType {
		b.credentials = index
		return nil
	}
	if name, ok := f.Tag.Lookup("path"); ok {
		field.name, field.place = name, slices.Index(names, name)
		if field.place < 0 {
			return errors.New("the path has no such parameter")
		}
		field.text, err = textSetter(f.Type)
		b.path = append(b.path, field)
		return err
	}
	if name, ok := f.Tag.Lookup("query"); ok {
		field.name = name
		field.text, err = textSetter(f.Type)
		b.query = append(b.query, field)
		return err
	}
	if name, ok := f.Tag.Lookup("header"); ok {
		field.name = name
		field.text, err = textSetter(f.Type)
		b.header = append(b.header, field)
		return err
	}
	if kind, ok := f.Tag.Lookup("body"); ok {
		if kind == "raw,optional" {
			kind, b.optional = "raw", true
		}
		if kind != "raw" {
			return fmt.Errorf("unknown kind of body %q", kind)
		}
		field.json = jsonSetter(f.Type)
		b.raw = &field
		return nil
	}
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	if name == "" {
		return errors.New("the field has no path, query, header, json or body tag")
	}
	if name != "-" {
		field.name, field.json = name, jsonSetter(f.Type)
		b.members = append(b.members, field)
	}
	return nil
}

// bind fills the struct that target points to from the request.
func (b *binder) bind(x *exchange, target reflect.Value) error {
	v := target.Elem()
	for i := range b.path {
		if err := b.bindPath(x, v, &b.path[i]); err != nil {
			return err
		}
	}
	if len(b.query) > 0 {
		if err := b.bindQuery(x.r.URL.RawQuery, v); err != nil {
			return err
		}
	}
	for i := range b.header {
		f := &b.header[i]
		if value := x.r.Header.Get(f.name); value != "" {
			if err := f.text(v.FieldByIndex(f.index), value); err != nil {
				return matrix.InvalidParam("The header %s is wrong: %v.", f.name, err)
			}
		}
	}
	if b.credentials != nil {
		v.FieldByIndex(b.credentials).Set(reflect.ValueOf(x.credentials()))
	}
	if b.raw != nil || len(b.members) > 0 {
		if err := b.bindBody(x, v); err != nil {
			return err
		}
	}
	if b.validates {
		return target.Interface().(Validator).Validate()
	}
	return nil
}

func (b *binder) bindPath(x *exchange, v reflect.Value, f *boundField) error {
	value, err := x.pathValue(f.place, f.name)
	if err != nil {
		return err
	}
	if err := f.text(v.FieldByIndex(f.index), value); err != nil {
		return matrix.InvalidParam("%s in the path is wrong: %v.", f.name, err)
	}
	return nil
}

func (b *binder) bindQuery(raw string, v reflect.Value) error {
	var failed error
	var seen uint64 // fields that have a value; scalars keep their first
	eachQuery(raw, func(key, escaped string) {
		for i := range b.query {
			f := &b.query[i]
			if f.name != key || failed != nil {
				continue
			}
			field := v.FieldByIndex(f.index)
			if seen&(1<<i) != 0 && field.Kind() != reflect.Slice {
				continue
			}
			seen |= 1 << i
			if err := f.text(field, unescapeQuery(escaped)); err != nil {
				failed = matrix.InvalidParam("The query parameter %s is wrong: %v.", f.name, err)
			}
		}
	})
	if failed != nil {
		return failed
	}
	for i := range b.query {
		if f := &b.query[i]; f.required && seen&(1<<i) == 0 {
			return matrix.MissingParam("The query parameter %s is missing.", f.name)
		}
	}
	return nil
}

func (b *binder) bindBody(x *exchange, v reflect.Value) error {
	buf := takeBuffer()
	defer giveBuffer(buf)
	if err := x.readBody(buf); err != nil {
		return err
	}
	data := buf.Bytes()
	if len(data) == 0 {
		if b.raw != nil && !b.optional || slices.ContainsFunc(b.members, func(f boundField) bool { return f.required }) {
			return matrix.NotJSON("The request has no body; it needs a JSON object.")
		}
		return nil
	}
	if b.raw != nil {
		if err := scanObject(data, nil); err != nil {
			return bodyError(err)
		}
		return memberError("", b.raw.json(v.FieldByIndex(b.raw.index), data))
	}
	return b.bindMembers(data, v)
}

func (b *binder) bindMembers(data []byte, v reflect.Value) error {
	var seen uint64
	err := scanObject(data, func(key, value []byte) error {
		for i := range b.members {
			f := &b.members[i]
			if f.name != string(key) {
				continue
			}
			if string(value) != "null" {
				seen |= 1 << i
			}
			return memberError(f.name, f.json(v.FieldByIndex(f.index), value))
		}
		return nil
	})
	if err != nil {
		return bodyError(err)
	}
	for i := range b.members {
		if f := &b.members[i]; f.required && seen&(1<<i) == 0 {
			return matrix.MissingParam("%s is missing.", f.name)
		}
	}
	return nil
}

// bodyError puts a scanner's error in Matrix terms; others pass.
func bodyError(err error) error {
	switch {
	case errors.Is(err, errNotJSON):
		return matrix.NotJSON("The request body is not valid JSON.")
	case errors.Is(err, errNotObject):
		return matrix.BadJSON("The request body must be a JSON object.")
	case errors.Is(err, errTooDeep):
		return matrix.BadJSON("The request body nests deeper than %d levels.", MaxDepth)
	}
	return err
}

// memberError names the member whose value did not fit.
func memberError(name string, err error) error {
	if err == nil {
		return nil
	}
	var m *matrix.Error
	if errors.As(err, &m) {
		return m
	}
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		where := strings.Trim(name+"."+wrongType.Field, ".")
		if where == "" {
			where = "The body"
		}
		return matrix.BadJSON("%s must be %s, not %s.", where, kindName(wrongType.Type), wrongType.Value)
	}
	return matrix.BadJSON("%s: %v.", strings.TrimPrefix(name, "."), err)
}

// parameterNames are the names between braces in a path, in order.
func parameterNames(path string) []string {
	var names []string
	for segment := range strings.SplitSeq(path, "/") {
		if strings.HasPrefix(segment, "{") && strings.HasSuffix(segment, "}") {
			names = append(names, segment[1:len(segment)-1])
		}
	}
	return names
}
