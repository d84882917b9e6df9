package config

import (
	"flag"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	for _, f := range everyday() {
		if f.isBool {
			to.Var(&boolValue{flags, f.name}, f.name, f.usage)
		} else {
			remember(f.name, f.usage)
		}
		if f.isSecret {
			remember(f.name+"-file", "read --"+f.name+" from this `FILE`")
		}
	}
	return flags
}

// An everydaySetting has a flag.
type everydaySetting struct {
	name, usage      string
	isBool, isSecret bool
}

// everyday looks for the settings that have flags, once for all commands.
var everyday = sync.OnceValue(func() (found []everydaySetting) {
	walk(reflect.ValueOf(Default()).Elem(), "", func(f leaf) {
		if f.usage != "" {
			found = append(found, everydaySetting{f.flagName(), quoteMetavar(f.usage), f.value.Kind() == reflect.Bool, f.isSecret()})
		}
	})
	return found
})

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
// first part, for [Init]; the data folder is not among them.
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
	at := origin{where: "--irc-network", layer: layerFlag}
	l.addNetworks(func(int) origin { return at }, "", flags.set["irc-network"])
	walk(reflect.ValueOf(l.cfg).Elem(), "", func(f leaf) {
		name := f.flagName()
		if values := flags.set[name+"-file"]; len(values) > 0 && f.isSecret() {
			at := origin{where: "--" + name + "-file", layer: layerFlag}
			l.setSecretFile(at, f.key, absolute(values[len(values)-1]))
		}
		if values := flags.set[name]; len(values) > 0 && f.usage != "" && f.kind != "networks" {
			text := values[len(values)-1]
			if f.value.Kind() == reflect.Slice {
				text = strings.Join(values, ",")
			}
			l.setFromText(origin{where: "--" + name, layer: layerFlag}, f, text)
		}
	})
}

// addNetworks adds IRC networks, or gives known ones a new address and
// switches them on. at says where each stands.
func (l *loader) addNetworks(at func(i int) origin, key string, networks []string) {
	for i, text := range networks {
		at := at(i)
		name, rest, ok := strings.Cut(text, "=")
		address, option, hasOption := strings.Cut(rest, ",")
		if !ok || name == "" || address == "" || hasOption && option != "tls" {
			l.problemf(at, key, "%q is not NAME=HOST:PORT or NAME=HOST:PORT,tls", text)
			continue
		}
		l.cfg.IRCNetwork = append(l.cfg.IRCNetwork, text)
		network, known := l.cfg.Bridges.IRC.Networks[name]
		if !known {
			network = DefaultIRCNetwork()
			network.Name = name
		}
		network.Enabled, network.Address, network.TLS = true, address, hasOption
		l.cfg.Bridges.IRC.Networks[name] = network
		section := "bridges.irc.networks." + name
		l.origins[section], l.origins[section+".address"] = at, at
	}
}
