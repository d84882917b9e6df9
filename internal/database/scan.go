package database

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"reflect"
)

// assign stores a value read from SQLite (nil, int64, float64, string or
// []byte) in a scan target, as strictly as pgx does.
func assign(dest, value any) error {
	switch d := dest.(type) {
	case *int64:
		if v, ok := value.(int64); ok {
			*d = v
			return nil
		}
	case *int:
		if v, ok := value.(int64); ok && int64(int(v)) == v {
			*d = int(v)
			return nil
		}
	case *string:
		if v, ok := value.(string); ok {
			*d = v
			return nil
		}
	case *[]byte:
		return assignBytes(d, value)
	case *json.RawMessage:
		return assignBytes((*[]byte)(d), value)
	case *bool:
		if v, ok := value.(int64); ok && (v == 0 || v == 1) {
			*d = v == 1
			return nil
		}
	case sql.Scanner:
		return d.Scan(value)
	default:
		return assignByKind(reflect.ValueOf(dest), value)
	}
	return mismatch(dest, value)
}

func assignBytes(dest *[]byte, value any) error {
	switch v := value.(type) {
	case nil:
		*dest = nil
	case []byte:
		if v == nil {
			v = []byte{} // so the driver returns one that is empty
		}
		*dest = v
	case string:
		*dest = []byte(v)
	default:
		return mismatch(dest, value)
	}
	return nil
}

// assignByKind handles pointers for NULL and named types.
func assignByKind(dest reflect.Value, value any) error {
	if dest.Kind() != reflect.Pointer || dest.IsNil() {
		return fmt.Errorf("a %T is no scan target", dest.Interface())
	}
	target := dest.Elem()
	switch v := value.(type) {
	case nil:
		if target.Kind() == reflect.Pointer {
			target.SetZero()
			return nil
		}
	case int64:
		switch {
		case target.CanInt() && !target.OverflowInt(v):
			target.SetInt(v)
			return nil
		case target.CanUint() && v >= 0 && !target.OverflowUint(uint64(v)):
			target.SetUint(uint64(v))
			return nil
		case target.Kind() == reflect.Bool && (v == 0 || v == 1):
			target.SetBool(v == 1)
			return nil
		}
	case float64:
		if target.CanFloat() {
			target.SetFloat(v)
			return nil
		}
	case string:
		if target.Kind() == reflect.String {
			target.SetString(v)
			return nil
		}
	}
	if target.Kind() == reflect.Slice && target.Type().Elem().Kind() == reflect.Uint8 {
		var b []byte
		if err := assignBytes(&b, value); err != nil {
			return err
		}
		target.SetBytes(b)
		return nil
	}
	if target.Kind() == reflect.Pointer && value != nil {
		target.Set(reflect.New(target.Type().Elem()))
		return assign(target.Interface(), value)
	}
	return mismatch(dest.Interface(), value)
}

func mismatch(dest, value any) error {
	if value == nil {
		return fmt.Errorf("NULL cannot be stored in a %T", dest)
	}
	return fmt.Errorf("a %T cannot be stored in a %T", value, dest)
}
