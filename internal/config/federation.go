package config

import (
	"strings"

	"trestle/internal/matrix"
)

// Federation is with whom this server has to do, if it has addresses for other homeservers
// (federation_listen).
type Federation struct {
	AllowServers      []string `yaml:"allow_servers"`   // these only; empty: all
	DenyServers       []string `yaml:"deny_servers"`    // host names, *.example.org for all below as well
	AllowAddresses    []string `yaml:"allow_addresses"` // ranges, though private
	DenyAddresses     []string `yaml:"deny_addresses"`  // ranges, though public
	TrustedKeyServers []string `yaml:"trusted_key_servers"`
}

// Allowed reports whether this server has to do with another.
func (f Federation) Allowed(server matrix.ServerName) bool {
	host := string(server)
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host = host[:i]
	}
	return !MatchHost(f.DenyServers, host) && (len(f.AllowServers) == 0 || MatchHost(f.AllowServers, host))
}

// Notaries are the servers that are believed about the keys of others.
func (f Federation) Notaries() []matrix.ServerName {
	var names []matrix.ServerName
	for _, name := range f.TrustedKeyServers {
		names = append(names, matrix.ServerName(name))
	}
	return names
}

func (l *loader) validateFederation() {
	f := l.cfg.Federation
	for key, list := range map[string][]string{"allow_addresses": f.AllowAddresses, "deny_addresses": f.DenyAddresses} {
		for i, text := range list {
			if _, err := parseProxy(text); err != nil {
				l.invalidf(item("federation."+key, i), "%q is not an address or a range such as 10.0.0.0/8", text)
			}
		}
	}
	for key, list := range map[string][]string{"allow_servers": f.AllowServers, "deny_servers": f.DenyServers} {
		for i, text := range list {
			host := strings.TrimPrefix(text, "*.")
			if _, err := matrix.ParseServerName(host); err != nil || strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
				l.invalidf(item("federation."+key, i), "%.80q is not a server's name without a port, nor *. and one", text)
			}
		}
	}
	for i, name := range f.TrustedKeyServers {
		if _, err := matrix.ParseServerName(name); err != nil {
			l.invalidf(item("federation.trusted_key_servers", i), "%v", err)
		}
	}
}
