package database

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"unicode/utf8"
)

// arguments checks the number of arguments and turns them into the few types
// that both engines take: nil, int64, float64, bool, string, []byte, []int64
// and []string.
func (s *Statement) arguments(args []any) ([]any, error) {
	if len(args) != s.placeholders() {
		return nil, fmt.Errorf("%d arguments for %d placeholders", len(args), s.placeholders())
	}
	plain := make([]any, len(args))
	for i, arg := range args {
		v, err := plainArg(arg)
		if err != nil {
			return nil, fmt.Errorf("argument $%d: %w", i+1, err)
		}
		plain[i] = v
	}
	return plain, nil
}

func (s *Statement) argumentRows(argRows [][]any) ([][]any, error) {
	plain := make([][]any, len(argRows))
	for i, args := range argRows {
		var err error
		if plain[i], err = s.arguments(args); err != nil {
			return nil, fmt.Errorf("row %d: %w", i, err)
		}
	}
	return plain, nil
}

func plainArg(arg any) (any, error) {
	switch v := arg.(type) {
	case nil, int64, bool, float64:
		return v, nil
	case string:
		return plainText(v)
	case []byte:
		if v == nil {
			return nil, nil
		}
		return v, nil
	case int:
		return int64(v), nil
	case []int64:
		if v == nil {
			return []int64{}, nil
		}
		return v, nil
	case []string:
		return plainTexts(v)
	case json.RawMessage:
		if v == nil {
			return nil, nil
		}
		return []byte(v), nil
	case driver.Valuer:
		if p := reflect.ValueOf(arg); p.Kind() == reflect.Pointer && p.IsNil() {
			return nil, nil
		}
		value, err := v.Value()
		if err != nil {
			return nil, err
		}
		return plainArg(value)
	}
	return plainByKind(reflect.ValueOf(arg))
}

// plainText refuses what PostgreSQL cannot store and SQLite would cut short.
func plainText(s string) (any, error) {
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return nil, ErrText
	}
	return s, nil
}

func plainTexts(list []string) (any, error) {
	for _, s := range list {
		if _, err := plainText(s); err != nil {
			return nil, err
		}
	}
	if list == nil {
		list = []string{}
	}
	return list, nil
}

// plainByKind handles named types, pointers and slices of named types.
func plainByKind(v reflect.Value) (any, error) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil, nil
		}
		return plainArg(v.Elem().Interface())
	case reflect.String:
		return plainText(v.String())
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return nil, fmt.Errorf("%d is more than a BIGINT holds", v.Uint())
		}
		return int64(v.Uint()), nil
	case reflect.Slice:
		return plainSlice(v)
	}
	return nil, fmt.Errorf("a %s cannot be an argument", v.Type())
}

func plainSlice(v reflect.Value) (any, error) {
	switch v.Type().Elem().Kind() {
	case reflect.Uint8:
		if v.IsNil() {
			return nil, nil
		}
		return v.Bytes(), nil
	case reflect.String:
		list := make([]string, v.Len())
		for i := range list {
			list[i] = v.Index(i).String()
		}
		return plainTexts(list)
	case reflect.Int, reflect.Int32, reflect.Int64:
		list := make([]int64, v.Len())
		for i := range list {
			list[i] = v.Index(i).Int()
		}
		return list, nil
	}
	return nil, fmt.Errorf("a %s cannot be an argument", v.Type())
}

// jsonArray writes a list as SQLite reads it by json_each.
func jsonArray(list any) (string, error) {
	text, err := json.Marshal(list)
	return string(text), err
}
