package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// setText sets a scalar or a list of strings from its text.
func setText(v reflect.Value, text string) error {
	if strings.ContainsRune(text, 0) {
		return errors.New("may not contain a NUL character")
	}
	switch v.Type() {
	case durationType:
		if text == "0" {
			text = "0s"
		}
		d, err := ParseDuration(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(d))
		return nil
	case sizeType:
		size, err := ParseSize(text)
		if err != nil {
			return err
		}
		v.SetInt(int64(size))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("wants true or false")
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 0, v.Type().Bits())
		if err != nil {
			return errors.New("wants a whole number")
		}
		v.SetInt(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New("wants a number")
		}
		v.SetFloat(n)
	case reflect.Slice:
		words := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\t' })
		list := reflect.MakeSlice(v.Type(), len(words), len(words))
		for i, word := range words {
			list.Index(i).SetString(word)
		}
		v.Set(list)
	default:
		return fmt.Errorf("a %s cannot be set from text", v.Type())
	}
	return nil
}

// wanted is a type in words.
func wanted(t reflect.Type) string {
	switch {
	case t == durationType:
		return "a duration such as 30s"
	case t == sizeType:
		return "a size such as 50 MiB"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return "a whole number"
	case t.Kind() == reflect.Float64:
		return "a number"
	default:
		return "text"
	}
}
