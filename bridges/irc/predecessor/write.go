package predecessor

import (
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"

	"trestle/internal/config"
)

// defaultBot is the bridge's user in a configuration of ours that says nothing.
const defaultBot = "irc_bot"

// YAML is the configuration as one of ours, in which each line says what it was made of. botUser is the
// local part of the bridge's own user: that of the registration that the homeserver has had.
func (c *Config) YAML(botUser string) ([]byte, error) {
	var b strings.Builder
	b.WriteString("# Made of a configuration of matrix-appservice-irc. Each comment names what a line was made\n" +
		"# of. What is not here has its default; configs/trestle.yaml explains all settings.\n")
	fmt.Fprintf(&b, "server_name: %s\n\nbridges:\n  irc:\n", scalar(string(c.ServerName)))
	if botUser != defaultBot {
		fmt.Fprintf(&b, "    bot_user: %s # sender_localpart of the registration\n", scalar(botUser))
	}
	if c.Identd != "" {
		fmt.Fprintf(&b, "    identd: %s # ident\n", scalar(c.Identd))
	}
	b.WriteString("    networks:\n")
	for _, n := range c.Networks {
		n.write(&b)
	}
	text := []byte(b.String())
	if _, err := config.Parse("the new configuration", text); err != nil {
		return text, fmt.Errorf("the new configuration has to be put right by hand: %w", err)
	}
	return text, nil
}

func (n *Network) write(b *strings.Builder) {
	fmt.Fprintf(b, "\n      %s: # %s\n        address: %s # %s\n", scalar(n.ID), oneLine(n.Domain), scalar(n.Settings.Address), n.from["address"])
	last := ""
	for _, key := range config.Differences(config.DefaultIRCNetwork(), n.Settings) {
		key, _, _ = strings.Cut(key, ".") // sections are written whole
		if key == "address" || key == last {
			continue
		}
		last = key
		fmt.Fprintf(b, "        %s: %s%s\n", key, value(field(reflect.ValueOf(n.Settings), key)), n.comment(key))
	}
}

func (n *Network) comment(key string) string {
	if n.from[key] == "" {
		return ""
	}
	return " # " + n.from[key]
}

// field is the setting with a key.
func field(section reflect.Value, key string) reflect.Value {
	for i := range section.NumField() {
		if section.Type().Field(i).Tag.Get("yaml") == key {
			return section.Field(i)
		}
	}
	return reflect.Value{}
}

// value writes a setting in one line. Secrets are written: they are what is carried over.
func value(v reflect.Value) string {
	switch of := v.Interface().(type) {
	case config.Secret:
		return scalar(of.Reveal())
	case config.Duration:
		return of.String()
	}
	switch v.Kind() {
	case reflect.String:
		return scalar(v.String())
	case reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = value(v.Index(i))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case reflect.Struct:
		var parts []string
		for i := range v.NumField() {
			if f := v.Field(i); !f.IsZero() || f.Kind() == reflect.Int {
				parts = append(parts, v.Type().Field(i).Tag.Get("yaml")+": "+value(f))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v.Interface())
}

// scalar writes a text so that it is read as the same text, also inside of brackets.
func scalar(text string) string {
	node := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text, Style: yaml.DoubleQuotedStyle}
	raw, err := yaml.Marshal(&node)
	if err != nil {
		return `""`
	}
	return strings.TrimSuffix(string(raw), "\n")
}
