package config

import (
	"flag"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Flags remember which settings were given on the command line.
type Flags struct {
	set map[string][]string // name → values, in order
}

// AddFlags declares --config and a flag for each everyday setting.
func AddFlags(to *flag.FlagSet) *Flags {
	flags := &Flags{set: map[string][]string{}}
	remember := func(name, usage string) {
		to.Func(name, usage, func(text string) error {
			flags.set[name] = append(flags.set[name], text)
			return nil
		})
	}
	remember("config", "the configuration `FILE` (default DATA/"+FileName+")")
	walk(reflect.ValueOf(Default()).Elem(), "", func(f leaf) {
		name, usage := f.flagName(), quoteMetavar(f.usage)
		switch {
		case f.usage == "":
			return
		case f.value.Kind() == reflect.Bool:
			to.Var(&boolValue{flags, name}, name, usage)
		default:
			remember(name, usage)
		}
		if f.isSecret() {
			remember(name+"-file", "read --"+name+" from this `FILE`")
		}
	})
	remember("irc-network", "bridge the IRC `NETWORK`: NAME=HOST:PORT[,tls] (repeatable)")
	return flags
}

// A boolValue is a flag that needs no value; its type gives help its shape.
type boolValue struct {
	flags *Flags
	name  string
}

func (b *boolValue) IsBoolFlag() bool { return true }

func (b *boolValue) String() string { return "false" }

func (b *boolValue) Set(text string) error {
	b.flags.set[b.name] = []string{text}
	_, err := strconv.ParseBool(text)
	return err
}

// quoteMetavar marks the word in capitals as the name of the flag's value,
// the way that package flag wants it.
func quoteMetavar(usage string) string {
	words := strings.Split(usage, " ")
	for i, word := range words {
		bare := strings.TrimRight(word, ":;,")
		if len(bare) >= 4 && bare == strings.ToUpper(bare) {
			words[i] = "`" + bare + "`" + word[len(bare):]
			break
		}
	}
	return strings.Join(words, " ")
}

// Values are the settings that were given as flags, by the keys of the file's
// first part, for [Init]; the data folder is not among them, nor are networks.
// Paths are absolute, because the file means others than the command line.
func (flags *Flags) Values() map[string][]string {
	values := map[string][]string{}
	for _, f := range fields(reflect.ValueOf(Default()).Elem(), "") {
		if given := flags.set[f.flagName()]; len(given) > 0 && f.usage != "" && f.key != "data" {
			if f.value.Kind() != reflect.Slice {
				given = given[len(given)-1:]
			}
			list := slices.Clone(given)
			for i, value := range list {
				if f.kind == "path" || f.kind == "database" && !isURL(value) {
					list[i] = absolute(value)
				}
			}
			values[f.key] = list
		}
		if given := flags.set[f.flagName()+"-file"]; len(given) > 0 && f.isSecret() {
			values[f.key+"_file"] = []string{absolute(given[len(given)-1])}
		}
	}
	return values
}

// readFlags lays the flags over everything else.
func (l *loader) readFlags(flags *Flags) {
	if flags == nil {
		return
	}
	if networks := flags.set["irc-network"]; len(networks) > 0 {
		l.addNetworks(origin{where: "--irc-network", layer: layerFlag}, networks)
	}
	walk(reflect.ValueOf(l.cfg).Elem(), "", func(f leaf) {
		name := f.flagName()
		if values := flags.set[name+"-file"]; len(values) > 0 && f.isSecret() {
			at := origin{where: "--" + name + "-file", layer: layerFlag}
			l.setSecretFile(at, f.key, absolute(values[len(values)-1]))
		}
		if values := flags.set[name]; len(values) > 0 && f.usage != "" {
			text := values[len(values)-1]
			if f.value.Kind() == reflect.Slice {
				text = strings.Join(values, ",")
			}
			l.setFromText(origin{where: "--" + name, layer: layerFlag}, f, text)
		}
	})
}

// addNetworks adds IRC networks, or gives known ones a new address and
// switches them on.
func (l *loader) addNetworks(at origin, networks []string) {
	for _, text := range networks {
		name, rest, ok := strings.Cut(text, "=")
		address, option, hasOption := strings.Cut(rest, ",")
		if !ok || name == "" || address == "" || hasOption && option != "tls" {
			l.problemf(at, "", "%q is not NAME=HOST:PORT or NAME=HOST:PORT,tls", text)
			continue
		}
		network, known := l.cfg.Bridges.IRC.Networks[name]
		if !known {
			network = DefaultIRCNetwork()
			network.Name = name
		}
		network.Enabled, network.Address, network.TLS = true, address, hasOption
		l.cfg.Bridges.IRC.Networks[name] = network
		key := "bridges.irc.networks." + name
		l.origins[key], l.origins[key+".address"] = at, at
	}
}
