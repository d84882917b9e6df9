package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// A leaf is one setting: a value that the environment or a flag can replace.
type leaf struct {
	key   string        // "media.max_upload"
	value reflect.Value // settable
	kind  string        // the tag config:"…"
	usage string        // the tag flag:"…"
}

func (f leaf) flagName() string { return strings.ReplaceAll(f.key, "_", "-") }

func (f leaf) envName() string { return envName(f.key) }

func (f leaf) isSecret() bool { return isSecret(f.value.Type()) }

func envName(key string) string {
	return "TRESTLE_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(key))
}

var (
	secretType   = reflect.TypeFor[Secret]()
	secretsType  = reflect.TypeFor[[]Secret]()
	durationType = reflect.TypeFor[Duration]()
	sizeType     = reflect.TypeFor[Size]()
	networkType  = reflect.TypeFor[IRCNetwork]()
	providerType = reflect.TypeFor[SSOProvider]()
	contactType  = reflect.TypeFor[Contact]()
)

// defaultOf is what an element of a map or a list is that says nothing.
func defaultOf(t reflect.Type) reflect.Value {
	switch t {
	case networkType:
		return reflect.ValueOf(DefaultIRCNetwork())
	case providerType:
		return reflect.ValueOf(DefaultSSOProvider())
	case contactType:
		return reflect.ValueOf(DefaultContact())
	}
	return reflect.Zero(t)
}

func isSecret(t reflect.Type) bool { return t == secretType || t == secretsType }

// isText says whether a type is written as plain text in the environment and
// in flags: scalars and lists of strings. The others are written in YAML.
func isText(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return false
	case reflect.Slice:
		return t.Elem().Kind() == reflect.String
	default:
		return true
	}
}

// fields are the keys of a section.
func fields(section reflect.Value, prefix string) []leaf {
	list := make([]leaf, 0, section.NumField())
	for i := range section.NumField() {
		field := section.Type().Field(i)
		name := field.Tag.Get("yaml")
		if name == "-" {
			continue
		}
		list = append(list, leaf{
			key:   join(prefix, name),
			value: section.Field(i),
			kind:  field.Tag.Get("config"),
			usage: field.Tag.Get("flag"),
		})
	}
	return list
}

// walk visits every setting under a section: the fields of structures, maps and
// lists as a whole, and then what they hold at this moment.
func walk(section reflect.Value, prefix string, visit func(leaf)) {
	for _, f := range fields(section, prefix) {
		switch f.value.Kind() {
		case reflect.Struct:
			walk(f.value, f.key, visit)
		case reflect.Map:
			visit(f)
			walkMap(f, visit)
		case reflect.Slice:
			visit(f)
			walkList(f, visit)
		default:
			visit(f)
		}
	}
}

// walkMap visits a copy of each element and puts it back, because what a map
// holds cannot be changed in place.
func walkMap(f leaf, visit func(leaf)) {
	for _, name := range sortedKeys(f.value) {
		element := reflect.New(f.value.Type().Elem()).Elem()
		element.Set(f.value.MapIndex(reflect.ValueOf(name)))
		walk(element, join(f.key, name), visit)
		f.value.SetMapIndex(reflect.ValueOf(name), element)
	}
}

// walkList visits the elements of a list of sections.
func walkList(f leaf, visit func(leaf)) {
	if f.value.Type().Elem().Kind() != reflect.Struct {
		return
	}
	for i := range f.value.Len() {
		walk(f.value.Index(i), fmt.Sprintf("%s[%d]", f.key, i), visit)
	}
}

func sortedKeys(m reflect.Value) []string {
	names := make(map[string]bool, m.Len())
	for _, key := range m.MapKeys() {
		names[key.String()] = true
	}
	return slices.Sorted(maps.Keys(names))
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}
