package config

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"trestle/internal/claims"
)

// validateSSO checks the providers, as far as that goes without asking them.
func (l *loader) validateSSO() {
	c := l.cfg.SSO
	for i, client := range c.TrustedClients {
		u, err := url.Parse(client)
		web := err == nil && (u.Scheme == "http" || u.Scheme == "https")
		if err != nil || u.Scheme == "" || web && u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			l.invalidf(item("sso.trusted_clients", i), "%.80q is not an address such as https://app.example.org/ or element:", client)
		}
	}
	if len(c.Providers) > 0 && l.cfg.PublicBaseURL == "" {
		l.invalidf("sso.providers", "need public_base_url, to which providers send people back")
	}
	seen := map[string]bool{}
	for i, p := range c.Providers {
		key := item("sso.providers", i)
		l.validateProvider(key, p)
		if seen[p.ID] {
			l.invalidf(key+".id", "%q is another provider's already", p.ID)
		}
		seen[p.ID] = true
	}
}

// brands is the grammar of the specification for identifiers, without the
// namespace.
var brands = regexp.MustCompile(`^[a-z][a-z0-9_.-]{0,254}$`)

func (l *loader) validateProvider(key string, p SSOProvider) {
	if !isOpaque(p.ID) || p.ID == "." || p.ID == ".." {
		l.invalidf(key+".id", "must be 1 to 255 of A-Z a-z 0-9 . _ ~ -")
	}
	if p.Name == "" || len(p.Name) > 200 {
		l.invalidf(key+".name", "must be what people are shown, in at most 200 bytes")
	}
	if u, err := url.Parse(p.Icon); p.Icon != "" && (err != nil || u.Scheme != "mxc" || u.Host == "" || len(u.Path) < 2) {
		l.invalidf(key+".icon", "%.80q is not an address such as mxc://example.org/abc", p.Icon)
	}
	if p.Brand != "" && !brands.MatchString(p.Brand) {
		l.invalidf(key+".brand", "%.80q is not one of a-z 0-9 _ . -, beginning with a letter", p.Brand)
	}
	if !isIssuer(p.Issuer) {
		l.invalidf(key+".issuer", "%.80q is not an https:// URL without ? and #", p.Issuer)
	}
	if p.ClientID == "" {
		l.invalidf(key+".client_id", "is needed")
	}
	if !slices.Contains(p.Scopes, "openid") {
		l.invalidf(key+".scopes", "must have openid among them")
	}
	l.validateMapping(key, p)
}

func (l *loader) validateMapping(key string, p SSOProvider) {
	for name, text := range map[string]string{
		"local_part": p.UserMapping.LocalPart, "display_name": p.UserMapping.DisplayName, "email": p.UserMapping.Email,
	} {
		if _, err := claims.Parse(text); err != nil {
			l.invalidf(key+".user_mapping."+name, "%s", err)
		}
	}
	for i, r := range p.Require {
		if r.Claim == "" || r.Value == "" {
			l.invalidf(item(key+".require", i), "needs a claim and a value")
		}
	}
}

// isIssuer wants TLS: what a provider says is believed. Only on this machine
// it can do without.
func isIssuer(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || strings.ContainsAny(text, "?#") {
		return false
	}
	address, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && address.IsLoopback()
	return u.Scheme == "https" || u.Scheme == "http" && local
}
