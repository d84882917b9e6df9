package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// validate checks every value, and those that must fit together. It reads
// nothing but the configuration.
func (l *loader) validate() {
	l.validateServer()
	l.validateAddresses()
	l.validateAccounts()
	l.validateIdentities()
	l.validatePushers()
	l.validateSSO()
	l.validateRoomsAndMedia()
	l.validateCalls()
	l.validateWellKnown()
	l.validateFederation()
	l.validateOperator()
	l.validateRateLimits()
	l.validateTelemetry()
	l.validateIRC()
}

func (l *loader) validateServer() {
	c := l.cfg
	if _, err := matrix.ParseServerName(string(c.ServerName)); err != nil {
		l.invalidf("server_name", "%s", err)
	}
	if c.Data == "" {
		l.invalidf("data", "needs a folder")
	}
	if c.SigningKey == "" {
		l.invalidf("signing_key", "needs a file")
	}
	if (c.TLSCert == "") != (c.TLSKey == "") {
		l.invalidf("tls_cert", "tls_cert and tls_key need each other")
	}
	if err := checkDatabase(c.Database.Reveal()); err != nil {
		l.invalidf("database", "%s", err)
	}
	if c.PublicBaseURL != "" {
		u, err := url.Parse(c.PublicBaseURL)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			l.invalidf("public_base_url", "%q is not a URL such as https://matrix.example.org", c.PublicBaseURL)
		}
	}
	for i, proxy := range c.TrustedProxies {
		if _, err := parseProxy(proxy); err != nil {
			l.invalidf(item("trusted_proxies", i), "%q is not an address or a range such as 10.0.0.0/8", proxy)
		}
	}
	if c.MaxBody < 128<<10 || c.MaxBody > 1<<30 {
		l.invalidf("max_body", "must be from 128 KiB, because an event may have 64, to 1 GiB")
	}
}

// parseProxy reads a range of addresses, or one address.
func parseProxy(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

func checkDatabase(database string) error {
	scheme, _, ok := strings.Cut(database, "://")
	switch {
	case database == "":
		return fmt.Errorf("needs an SQLite file or a postgres:// URL")
	case !ok || scheme == "file":
		return nil
	case scheme != "postgres" && scheme != "postgresql":
		return fmt.Errorf("%.20q is not a kind of database that is known here; use a file or postgres://", scheme)
	}
	if u, err := url.Parse(database); err != nil || strings.Trim(u.Path, "/") == "" && u.Query().Get("dbname") == "" {
		// The text may hold a password, so it is not repeated.
		return fmt.Errorf("wants a URL such as postgres://user:password@host/name")
	}
	return nil
}

// item is the key of an element of a list.
func item(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }

func (l *loader) validateAddresses() {
	c := l.cfg
	if len(c.Listen) == 0 {
		l.invalidf("listen", "needs at least one address")
	}
	seen := map[string]string{}
	check := func(key, address string) {
		if address == "" {
			return
		}
		if err := checkListen(address); err != nil {
			l.invalidf(key, "%s", err)
		} else if strings.HasPrefix(address, "tls:") && c.TLSCert == "" {
			l.invalidf(key, "%s needs tls_cert and tls_key", address)
		} else if other, taken := seen[address]; taken && !strings.HasSuffix(address, ":0") {
			l.invalidf(key, "%s is in %s already", address, other)
		}
		seen[address] = key
	}
	for i, address := range c.Listen {
		check(item("listen", i), address)
	}
	for i, address := range c.FederationListen {
		check(item("federation_listen", i), address)
	}
	check("metrics.listen", c.Metrics.Listen)
	check("cluster", c.Cluster)
	isTLS := func(address string) bool { return strings.HasPrefix(address, "tls:") }
	if c.TLSCert != "" && len(c.FederationListen) == 0 && !slices.ContainsFunc(append(c.Listen, c.Metrics.Listen), isTLS) {
		c.Warnings = append(c.Warnings, "tls_cert is not used: write tls: before an address of listen to have it served with TLS")
	}
	l.validateCluster()
}

// validateCluster wants an address that means this process elsewhere, too.
func (l *loader) validateCluster() {
	c := l.cfg
	if c.Cluster == "" {
		return
	}
	host, _, err := net.SplitHostPort(c.Cluster)
	ip := net.ParseIP(host)
	if strings.HasPrefix(c.Cluster, "unix:") || strings.HasPrefix(c.Cluster, "tls:") || err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		l.invalidf("cluster", "%q is not an address under which others reach this process, such as 10.0.0.1:8010", c.Cluster)
	}
	if !isPostgres(c.Database.Reveal()) {
		l.invalidf("cluster", "several processes share a PostgreSQL database, see database; SQLite is for one")
	}
	if bridged := c.Bridges.IRC; !c.NoBridges && anyEnabled(bridged.Networks) && !isPostgres(bridged.Database.Reveal()) {
		c.Warnings = append(c.Warnings, "bridges.irc.database is a file: the bridge runs in whichever process leads, and forgets its rooms if that is on another machine")
	}
}

func anyEnabled(networks map[string]IRCNetwork) bool {
	for _, network := range networks {
		if network.Enabled {
			return true
		}
	}
	return false
}

func isPostgres(database string) bool {
	scheme, _, _ := strings.Cut(database, "://")
	return scheme == "postgres" || scheme == "postgresql"
}

// checkListen accepts host:port, :port, tls:host:port and unix:/path.
func checkListen(address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return fmt.Errorf("%q needs an absolute path: unix:/run/trestle.sock", address)
		}
		return nil
	}
	_, err := splitAddress(strings.TrimPrefix(address, "tls:"))
	return err
}

func splitAddress(address string) (host string, err error) {
	i := strings.LastIndexByte(address, ':')
	if i < 0 {
		return "", fmt.Errorf("%q is not host:port", address)
	}
	host, port := address[:i], address[i+1:]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
		if _, err := netip.ParseAddr(host); err != nil {
			return "", fmt.Errorf("%q holds no IPv6 address", address)
		}
	} else if strings.ContainsAny(host, ":/ \t\r\n") {
		return "", fmt.Errorf("%q is not host:port; IPv6 addresses want brackets", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return "", fmt.Errorf("%q has no port from 0 to 65535", address)
	}
	return host, nil
}

func (l *loader) validateAccounts() {
	for i, token := range l.cfg.Registration.Tokens {
		if !validToken(token.Reveal()) {
			l.invalidf(item("registration.tokens", i), "must be 1 to 64 of A-Z a-z 0-9 . _ ~ -")
		}
	}
	for i, token := range l.cfg.Registration.AppServices {
		if text := token.Reveal(); len(text) < 32 || len(text) > 1024 || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }) {
			l.invalidf(item("registration.appservice_tokens", i), "must be 32 to 1024 printable characters without spaces")
		}
	}
	if idle := l.cfg.Presence.IdleAfter.Std(); idle < time.Second {
		l.invalidf("presence.idle_after", "must be one second or more")
	}
	p := l.cfg.Passwords
	l.oneOf("passwords.hash", p.Hash, "argon2id", "bcrypt")
	if p.Memory < 8<<20 || p.Memory > 4<<30 {
		l.invalidf("passwords.memory", "must be from 8 MiB to 4 GiB")
	}
	l.within("passwords.iterations", p.Iterations, 1, 100)
	l.within("passwords.bcrypt_cost", p.BcryptCost, 10, 20)
	l.within("passwords.at_once", p.AtOnce, 1, 1024)
	l.within("passwords.min_length", p.MinLength, 1, 64)
}

// validToken holds a token to Client-Server API § Token-authenticated
// registration.
func validToken(token string) bool {
	for _, r := range token {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._~-", r) {
			return false
		}
	}
	return token != "" && len(token) <= 64
}

func (l *loader) validateRoomsAndMedia() {
	c := l.cfg
	var versions []string
	for _, version := range roomversion.All() {
		if version.Supported() {
			versions = append(versions, version.ID)
		}
	}
	l.oneOf("rooms.default_version", c.Rooms.DefaultVersion, versions...)
	if c.Media.Path == "" {
		l.invalidf("media.path", "needs a folder")
	}
	if c.Media.MaxUpload < 1 {
		l.invalidf("media.max_upload", "must be at least 1 byte")
	}
	if c.Media.MaxPixels < 1 || c.Media.MaxPixels > 1<<30 {
		l.invalidf("media.max_pixels", "must be from 1 to %d", 1<<30)
	}
	for i, size := range c.Media.Thumbnails {
		key := item("media.thumbnails", i)
		l.within(key+".width", size.Width, 1, 4096)
		l.within(key+".height", size.Height, 1, 4096)
		l.oneOf(key+".method", size.Method, "scale", "crop")
	}
}

func (l *loader) validateRateLimits() {
	for name, limit := range l.cfg.RateLimits {
		key := "rate_limits." + name
		// Written so that NaN does not pass.
		if !(limit.PerSecond > 0) || math.IsInf(limit.PerSecond, 0) {
			l.invalidf(key+".per_second", "must be above 0; no_rate_limits switches limits off")
		}
		l.within(key+".burst", limit.Burst, 1, 1_000_000)
	}
}

func (l *loader) validateTelemetry() {
	c := l.cfg
	l.oneOf("logging.level", c.Logging.Level, "debug", "info", "warn", "error")
	l.oneOf("logging.format", c.Logging.Format, "text", "json")
	if path := c.Metrics.Path; !strings.HasPrefix(path, "/") || path == "/" || strings.HasPrefix(path, "/_") || strings.ContainsAny(path, "*:{} ?#") {
		l.invalidf("metrics.path", "%q is not a path such as /metrics", path)
	}
}

func (l *loader) within(key string, n, low, high int) {
	if n < low || n > high {
		l.invalidf(key, "must be from %d to %d", low, high)
	}
}

func (l *loader) oneOf(key, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		l.invalidf(key, "%.40q is none of %s", value, strings.Join(allowed, ", "))
	}
}
