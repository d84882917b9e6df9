package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"trestle/internal/matrix"
)

var (
	// A name stands between underscores in aliases and user IDs.
	networkName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,31}$`)
	ircNick     = regexp.MustCompile("^[A-Za-z\\[\\]\\\\`_^{|}][A-Za-z0-9\\[\\]\\\\`_^{|}-]{0,29}$")
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
)

// templates are the settings of a network that have words in braces: those
// that may stand in each, and the one that must.
var templates = []struct {
	key     string
	text    func(IRCNetwork) string
	allowed []string
	must    string
}{
	{"nick", func(n IRCNetwork) string { return n.Nick }, []string{"{localpart}", "{display}", "{mxid}"}, ""},
	{"realname", func(n IRCNetwork) string { return n.Realname }, []string{"{localpart}", "{display}", "{mxid}"}, ""},
	{"alias", func(n IRCNetwork) string { return n.Alias }, []string{"{network}", "{channel}"}, "{channel}"},
	{"user", func(n IRCNetwork) string { return n.User }, []string{"{network}", "{nick}"}, "{nick}"},
	{"display_name", func(n IRCNetwork) string { return n.DisplayName }, []string{"{network}", "{nick}"}, "{nick}"},
}

func (l *loader) validateIRC() {
	irc := l.cfg.Bridges.IRC
	if err := checkDatabase(irc.Database.Reveal()); err != nil {
		l.invalidf("bridges.irc.database", "%s", err)
	}
	if !matrix.ValidLocalpart(irc.BotUser) {
		l.invalidf("bridges.irc.bot_user", "%q is not the local part of a user ID", irc.BotUser)
	}
	l.validateLinks(irc.Links)
	if _, err := splitAddress(irc.Identd); irc.Identd != "" && err != nil {
		l.invalidf("bridges.irc.identd", "%q is not host:port", irc.Identd)
	}
	l.validatePlumbing(irc.Plumbing)
	aliases, users := map[string]string{}, []claimed{}
	for _, name := range sortedKeys(reflect.ValueOf(irc.Networks)) {
		network, key := irc.Networks[name], "bridges.irc.networks."+name
		if !networkName.MatchString(name) {
			l.invalidf(key, "a network's name is made of a-z, 0-9, dots and dashes")
			continue
		}
		l.validateNetwork(key, network)
		l.distinct(aliases, key+".alias", strings.ReplaceAll(network.Alias, "{network}", name))
		users = l.apart(users, key+".user", strings.ReplaceAll(network.User, "{network}", name))
	}
	for _, user := range users {
		// Another name is found for whoever on IRC would be called so, but for one that needs escapes as it is.
		if user.claims(irc.BotUser) && strings.HasPrefix(irc.BotUser[len(user.before):], "=") {
			l.invalidf("bridges.irc.bot_user", "could be somebody on IRC, by %s", user.key)
		}
	}
}

// A claimed is what a template of user IDs claims: all with this before a nick, and that behind it.
type claimed struct{ key, before, after string }

func (c claimed) claims(localpart string) bool {
	return len(localpart) > len(c.before)+len(c.after) && strings.HasPrefix(localpart, c.before) && strings.HasSuffix(localpart, c.after)
}

// apart makes sure that no user ID can be somebody's of two networks.
func (l *loader) apart(seen []claimed, key, template string) []claimed {
	before, after, ok := strings.Cut(template, "{nick}")
	if !ok {
		return seen
	}
	for _, other := range seen {
		if (strings.HasPrefix(before, other.before) || strings.HasPrefix(other.before, before)) &&
			(strings.HasSuffix(after, other.after) || strings.HasSuffix(other.after, after)) {
			l.invalidf(key, "can mean the same users as %s", other.key)
		}
	}
	return append(seen, claimed{key, before, after})
}

func (l *loader) validatePlumbing(plumbing IRCPlumbing) {
	for i, admin := range plumbing.Admins {
		if _, err := matrix.ParseUserID(admin); err != nil {
			l.invalidf(item("bridges.irc.plumbing.admins", i), "%s", err)
		}
	}
	for i, text := range plumbing.AllowAddresses {
		if _, err := parseProxy(text); err != nil {
			l.invalidf(item("bridges.irc.plumbing.allow_addresses", i), "%q is not an address or a range such as 10.0.0.0/8", text)
		}
	}
	if secret := plumbing.Secret.Reveal(); secret != "" && len(secret) < 16 {
		l.invalidf("bridges.irc.plumbing.secret", "must have 16 characters or more")
	}
}

func (l *loader) validateLinks(links IRCLinks) {
	if u, err := url.Parse(links.PublicURL); links.PublicURL != "" && (err != nil || u.Host == "" ||
		u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "") {
		l.invalidf("bridges.irc.links.public_url", "%q is not an http:// or https:// URL", links.PublicURL)
	}
	if links.Lifetime.Std() < time.Minute || links.Lifetime.Std() > 10*365*24*time.Hour {
		l.invalidf("bridges.irc.links.lifetime", "must be from a minute to ten years")
	}
	if links.MaxSize < 1 {
		l.invalidf("bridges.irc.links.max_size", "must be at least 1 byte")
	}
}

// distinct makes sure that two networks do not claim the same names.
func (l *loader) distinct(seen map[string]string, key, template string) {
	if other, taken := seen[template]; taken {
		l.invalidf(key, "means the same names as %s; use {network}", other)
		return
	}
	seen[template] = key
}

func (l *loader) validateNetwork(key string, n IRCNetwork) {
	host, err := splitAddress(n.Address)
	if err != nil || host == "" || strings.HasSuffix(n.Address, ":0") {
		l.invalidf(key+".address", "%q is not host:port", n.Address)
	}
	l.oneOf(key+".direct_messages", n.DirectMessages, "all", "common", "none")
	l.within(key+".lazy_members", n.LazyMembers, 0, 1_000_000)
	l.oneOf(key+".history", n.History, "joined", "shared")
	l.within(key+".plumb_power", n.PlumbPower, 1, 1_000_000)
	if wait := n.PlumbWait.Std(); wait < time.Minute || wait > 7*24*time.Hour {
		l.invalidf(key+".plumb_wait", "must be from 1m to 7d")
	}
	if hold := n.Hold.Std(); hold < time.Second || hold > time.Hour {
		l.invalidf(key+".hold", "must be from 1s to 1h")
	}
	if split := n.Netsplit.Std(); split < time.Second || split > 24*time.Hour {
		l.invalidf(key+".netsplit", "must be from 1s to 1d")
	}
	if !ircNick.MatchString(n.BotNick) {
		l.invalidf(key+".bot_nick", "%q is not a nick that IRC servers accept", n.BotNick)
	}
	for _, t := range templates {
		if err := checkTemplate(t.text(n), t.allowed, t.must); err != nil {
			l.invalidf(key+"."+t.key, "%s", err)
		}
	}
	l.validateNames(key, n)
	if u, err := url.Parse(n.Icon); n.Icon != "" && (err != nil || u.Scheme != "mxc" || u.Host == "" || len(u.Path) < 2) {
		l.invalidf(key+".icon", "%.80q is not an address such as mxc://example.org/abc", n.Icon)
	}
	l.validateExternalURL(key, n)
	if hasControl(n.Name) || hasControl(n.Password.Reveal()) {
		l.invalidf(key, "name and password must be one line of text")
	}
	l.within(key+".max_connections", n.MaxConnections, 1, 1_000_000)
	l.validateConnects(key, n)
	l.within(key+".flood_burst", n.FloodBurst, 1, 1000)
	l.within(key+".scrollback", n.Scrollback, 0, 10_000)
	l.within(key+".max_lines", n.MaxLines, 1, 1000)
	l.oneOf(key+".edits", n.Edits, "difference", "text", "off")
	l.oneOf(key+".reactions", n.Reactions, "auto", "tags", "lines", "off")
	l.oneOf(key+".undelivered", n.Undelivered, "reply", "reaction", "off")
	l.oneOf(key+".encryption", n.Encryption, "off", "bot", "users")
	for i, channel := range n.Channels {
		if channel == "" || strings.ContainsAny(channel, " ,\a") || hasControl(channel) {
			l.invalidf(item(key+".channels", i), "%q is not a channel", channel)
		}
	}
	l.validateSASL(key, host, n)
	l.validateModeration(key, n)
	l.validateRelay(key, n)
}

// validateExternalURL looks at where messages can be read: what comes from IRC may be
// in the path, the query or the fragment, and not in the name of the host.
func (l *loader) validateExternalURL(key string, n IRCNetwork) {
	if n.ExternalURL == "" {
		return
	}
	words := []string{"{network}", "{channel}", "{name}", "{date}", "{time}", "{year}", "{month}", "{day}"}
	if err := checkTemplate(n.ExternalURL, words, ""); err != nil {
		l.invalidf(key+".external_url", "%s", err)
		return
	}
	u, err := url.Parse(strings.NewReplacer("{", "", "}", "").Replace(n.ExternalURL))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil ||
		!strings.HasPrefix(n.ExternalURL, u.Scheme+"://"+u.Host) || len(n.ExternalURL) > 1000 {
		l.invalidf(key+".external_url", "%.80q is not an address such as https://logs.example.org/{channel}/{date}", n.ExternalURL)
	}
}

// validateRelay looks at how people are spoken for.
func (l *loader) validateRelay(key string, n IRCNetwork) {
	l.oneOf(key+".relay", n.Relay, "off", "on", "only")
	if err := checkTemplate(n.RelayPrefix, []string{"{nick}"}, "{nick}"); err != nil {
		l.invalidf(key+".relay_prefix", "%s", err)
	}
	if len(n.RelayPrefix) > 40 {
		l.invalidf(key+".relay_prefix", "has more than 40 bytes, which each line would lack")
	}
	for i, m := range n.Mappings {
		l.oneOf(item(key+".mappings", i)+".relay", m.Relay, "", "off", "on", "only")
	}
}

// validateConnects looks at how connections are made.
func (l *loader) validateConnects(key string, n IRCNetwork) {
	for i, server := range n.Servers {
		if host, err := splitAddress(server); err != nil || host == "" || strings.HasSuffix(server, ":0") {
			l.invalidf(item(key+".servers", i), "%q is not host:port", server)
		}
	}
	l.within(key+".connect_burst", n.ConnectBurst, 1, 1000)
	if n.ConnectInterval.Std() > time.Minute {
		l.invalidf(key+".connect_interval", "is longer than a minute")
	}
	if n.IPv6Prefix != "" {
		prefix, err := netip.ParsePrefix(n.IPv6Prefix)
		if err != nil || !prefix.Addr().Is6() || prefix.Addr().Is4In6() || prefix.Masked() != prefix {
			l.invalidf(key+".ipv6_prefix", "%q is not an IPv6 prefix such as 2001:db8:1:2::/64", n.IPv6Prefix)
		}
	}
	nick, _, _ := strings.Cut(n.NickServ, "@")
	if n.NickServ != "" && (!ircNick.MatchString(nick) || strings.ContainsAny(n.NickServ, " ,:!*?") || hasControl(n.NickServ)) {
		l.invalidf(key+".nickserv", "%q is not a nick, or nick@server", n.NickServ)
	}
	if n.Ghost == "" || hasControl(n.Ghost) {
		l.invalidf(key+".ghost", "must be a word that NickServ understands")
	}
}

// validateNames looks at the two templates that claim a namespace.
func (l *loader) validateNames(key string, n IRCNetwork) {
	for name, template := range map[string]string{".alias": n.Alias, ".user": n.User} {
		if strings.HasPrefix(strings.ReplaceAll(template, "{network}", "x"), "{") {
			l.invalidf(key+name, "would claim every name: it needs {network} or some text at its beginning")
		}
	}
	if strings.ContainsAny(placeholder.ReplaceAllString(n.Alias, ""), ":# ") {
		l.invalidf(key+".alias", "is the part of an alias between # and :, without these two")
	}
	if literal := placeholder.ReplaceAllString(n.User, ""); literal != "" && !matrix.ValidLocalpart(literal) {
		l.invalidf(key+".user", "has characters that a user ID cannot have")
	}
}

func (l *loader) validateSASL(key, host string, n IRCNetwork) {
	sasl := n.SASL
	l.oneOf(key+".sasl.mechanism", sasl.Mechanism, "", "PLAIN", "EXTERNAL")
	if hasControl(sasl.Username) || hasControl(sasl.Password.Reveal()) {
		l.invalidf(key+".sasl", "username and password must be one line of text")
	}
	_, hasFile := l.pending[key+".sasl.password"]
	switch {
	case sasl.Mechanism == "PLAIN" && (sasl.Username == "" || sasl.Password == "" && !hasFile):
		l.invalidf(key+".sasl", "PLAIN needs username and password")
	case sasl.Mechanism == "EXTERNAL" && (!n.TLS || sasl.Cert == "" || sasl.Key == ""):
		l.invalidf(key+".sasl", "EXTERNAL needs tls, and cert and key to show")
	case sasl.Mechanism == "PLAIN" && n.Enabled && !n.TLS && !isLoopback(host):
		l.cfg.Warnings = append(l.cfg.Warnings, key+": the SASL password goes over the network without TLS")
	}
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// checkTemplate makes sure that a template has only words that are known,
// and the one without which all names would be the same.
func checkTemplate(template string, allowed []string, must string) error {
	if template == "" || hasControl(template) {
		return fmt.Errorf("must be one line of text")
	}
	for _, word := range placeholder.FindAllString(template, -1) {
		if !slices.Contains(allowed, word) {
			return fmt.Errorf("%s is not known here; known are %s", word, strings.Join(allowed, ", "))
		}
	}
	if strings.ContainsAny(placeholder.ReplaceAllString(template, ""), "{}") {
		return fmt.Errorf("has a brace without its partner")
	}
	if must != "" && strings.Count(template, must) != 1 {
		return fmt.Errorf("must have %s in it, once", must)
	}
	return nil
}

func hasControl(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}
