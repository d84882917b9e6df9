package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"trestle/internal/matrix"
)

var (
	rawMessageType  = reflect.TypeFor[json.RawMessage]()
	unmarshalerType = reflect.TypeFor[json.Unmarshaler]()

	// The identifiers with a grammar; device and key IDs are opaque.
	grammars = map[reflect.Type]func(string) error{
		reflect.TypeFor[matrix.UserID]():     func(s string) error { _, err := matrix.ParseUserID(s); return err },
		reflect.TypeFor[matrix.RoomID]():     func(s string) error { _, err := matrix.ParseRoomID(s); return err },
		reflect.TypeFor[matrix.RoomAlias]():  func(s string) error { _, err := matrix.ParseRoomAlias(s); return err },
		reflect.TypeFor[matrix.EventID]():    func(s string) error { _, err := matrix.ParseEventID(s); return err },
		reflect.TypeFor[matrix.ServerName](): func(s string) error { _, err := matrix.ParseServerName(s); return err },
	}
)

// textSetter is how a field of a type takes a path, query or header value.
func textSetter(t reflect.Type) (func(v reflect.Value, s string) error, error) {
	switch t.Kind() {
	case reflect.String:
		return stringSetter(t), nil
	case reflect.Int64:
		return func(v reflect.Value, s string) error {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return fmt.Errorf("%.40q is not an integer", s)
			}
			v.SetInt(n)
			return nil
		}, nil
	case reflect.Bool:
		return setBoolText, nil
	case reflect.Pointer:
		set, err := textSetter(t.Elem())
		return func(v reflect.Value, s string) error {
			p := reflect.New(t.Elem())
			v.Set(p)
			return set(p.Elem(), s)
		}, err
	case reflect.Slice:
		if t.Elem().Kind() != reflect.String {
			break
		}
		set := stringSetter(t.Elem())
		return func(v reflect.Value, s string) error {
			e := reflect.New(t.Elem()).Elem()
			if err := set(e, s); err != nil {
				return err
			}
			v.Set(reflect.Append(v, e))
			return nil
		}, nil
	}
	return nil, fmt.Errorf("a field of type %s cannot be bound", t)
}

func setBoolText(v reflect.Value, s string) error {
	switch s {
	case "true":
		v.SetBool(true)
	case "false":
		v.SetBool(false)
	default:
		return fmt.Errorf("%.40q is neither true nor false", s)
	}
	return nil
}

// stringSetter checks identifiers by their grammar, and keeps NUL, which no
// identifier has and PostgreSQL's TEXT refuses, out of everything else.
func stringSetter(t reflect.Type) func(v reflect.Value, s string) error {
	check, ok := grammars[t]
	if !ok {
		check = checkText
	}
	return func(v reflect.Value, s string) error {
		if err := check(s); err != nil {
			return err
		}
		v.SetString(s)
		return nil
	}
}

func checkText(s string) error {
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return errors.New("it has characters that are not allowed")
	}
	return nil
}

// jsonSetter is how a field of a type takes a JSON value, which is known to be
// well formed. null leaves the field alone, as encoding/json does.
func jsonSetter(t reflect.Type) func(v reflect.Value, data []byte) error {
	switch {
	case t == rawMessageType:
		return func(v reflect.Value, data []byte) error {
			v.SetBytes(append([]byte(nil), data...))
			return nil
		}
	case reflect.PointerTo(t).Implements(unmarshalerType):
	case t.Kind() == reflect.String:
		set := stringSetter(t)
		_, isID := grammars[t]
		return func(v reflect.Value, data []byte) error {
			if string(data) == "null" {
				return nil
			}
			if data[0] != '"' {
				return &json.UnmarshalTypeError{Value: jsonKind(data), Type: t}
			}
			text, err := unquote(data)
			if err == nil {
				err = set(v, string(text))
			}
			if err != nil && isID {
				return matrix.InvalidParam("%v.", err)
			}
			return err
		}
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.String:
		set := jsonSetter(t.Elem())
		return func(v reflect.Value, data []byte) error {
			if string(data) == "null" {
				return nil
			}
			v.Set(reflect.New(t.Elem()))
			return set(v.Elem(), data)
		}
	}
	checks := holdsText(t, 0)
	return func(v reflect.Value, data []byte) error {
		if err := json.Unmarshal(data, v.Addr().Interface()); err != nil {
			return err
		}
		if checks {
			return checkValue(v)
		}
		return nil
	}
}

// holdsText reports whether values of a type can hold strings that need the
// check of [checkValue].
func holdsText(t reflect.Type, depth int) bool {
	if depth > 8 || t == rawMessageType {
		return false
	}
	switch t.Kind() {
	case reflect.String:
		return true
	case reflect.Slice, reflect.Array, reflect.Pointer:
		return holdsText(t.Elem(), depth+1)
	case reflect.Map:
		return holdsText(t.Key(), depth+1) || holdsText(t.Elem(), depth+1)
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsText(t.Field(i).Type, depth+1) {
				return true
			}
		}
	}
	return false
}

// checkValue checks every string inside a decoded value as [stringSetter]
// does for one.
func checkValue(v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if check, ok := grammars[v.Type()]; ok {
			if v.Len() == 0 {
				return nil // absent, as far as anyone can tell here
			}
			if err := check(v.String()); err != nil {
				return matrix.InvalidParam("%v.", err)
			}
			return nil
		}
		return checkText(v.String())
	case reflect.Slice, reflect.Array:
		if v.Type() == rawMessageType {
			return nil
		}
		for i := range v.Len() {
			if err := checkValue(v.Index(i)); err != nil {
				return err
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return checkValue(v.Elem())
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if err := errors.Join(checkValue(it.Key()), checkValue(it.Value())); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if err := checkValue(v.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// jsonKind names the kind of a JSON value for an error message.
func jsonKind(data []byte) string {
	switch data[0] {
	case '{':
		return "object"
	case '[':
		return "array"
	case '"':
		return "string"
	case 't', 'f':
		return "bool"
	case 'n':
		return "null"
	}
	return "number"
}

// kindName names, in JSON's words, what a Go type wants.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	case reflect.Pointer:
		return kindName(t.Elem())
	case reflect.Float32, reflect.Float64:
		return "a number"
	}
	return "an integer"
}
