package config

import (
	"errors"
	"fmt"
	"strings"
	"time"

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
	OldSigningKeys    []string `yaml:"old_signing_keys"` // "ed25519:ID BASE64 2026-01-31"
}

// An OldKey is what this server has signed with, until a time.
type OldKey struct {
	ID      matrix.KeyID
	Public  []byte
	Expired time.Time
}

// OldKeys are the keys with which this server signs no more.
func (f Federation) OldKeys() []OldKey {
	var keys []OldKey
	for _, text := range f.OldSigningKeys {
		if key, err := parseOldKey(text); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// parseOldKey reads an ID, a public key and the day on which it was used last, or the time.
func parseOldKey(text string) (OldKey, error) {
	parts := strings.Fields(text)
	if len(parts) != 3 {
		return OldKey{}, errors.New("wants an ID, a public key and a day, such as ed25519:a_AbCd BASE64 2026-01-31")
	}
	name, ok := strings.CutPrefix(parts[0], "ed25519:")
	if !ok || name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != "" {
		return OldKey{}, fmt.Errorf("%.40q is not the ID of a key, such as ed25519:a_AbCd", parts[0])
	}
	if !isPublicKey(parts[1]) {
		return OldKey{}, fmt.Errorf("%.60q is no ed25519 key in unpadded base64; it is the public one that is wanted", parts[1])
	}
	public, err := matrix.DecodeBase64(parts[1])
	if err != nil {
		return OldKey{}, err
	}
	expired, err := time.Parse(time.RFC3339, parts[2])
	if err != nil {
		if expired, err = time.Parse(time.DateOnly, parts[2]); err != nil {
			return OldKey{}, fmt.Errorf("%.40q is no day such as 2026-01-31", parts[2])
		}
		expired = expired.Add(24*time.Hour - time.Millisecond) // all of that day
	}
	return OldKey{matrix.KeyID(parts[0]), public, expired}, nil
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
	for i, text := range f.OldSigningKeys {
		if _, err := parseOldKey(text); err != nil {
			l.invalidf(item("federation.old_signing_keys", i), "%v", err)
		}
	}
	for i, name := range f.TrustedKeyServers {
		if _, err := matrix.ParseServerName(name); err != nil {
			l.invalidf(item("federation.trusted_key_servers", i), "%v", err)
		}
	}
}
