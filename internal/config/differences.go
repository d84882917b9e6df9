package config

import "reflect"

// Differences are the keys of the settings in which two sections differ, in the order of their
// type. A list, or a map, is one setting.
func Differences[T any](a, b T) []string {
	return differences(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem(), "")
}

func differences(a, b reflect.Value, prefix string) []string {
	var keys []string
	others := fields(b, prefix)
	for i, f := range fields(a, prefix) {
		switch {
		case f.value.Kind() == reflect.Struct:
			keys = append(keys, differences(f.value, others[i].value, f.key)...)
		case !same(f.value, others[i].value):
			keys = append(keys, f.key)
		}
	}
	return keys
}

// same takes a list that is missing for one that is empty.
func same(a, b reflect.Value) bool {
	if kind := a.Kind(); (kind == reflect.Slice || kind == reflect.Map) && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
