package config

import (
	"maps"
	"net/mail"
	"net/url"
	"slices"
	"strings"

	"trestle/internal/matrix"
)

// validateIdentities checks who may register how, and how mails are sent.
func (l *loader) validateIdentities() {
	c := l.cfg
	l.validateMail()
	l.oneOf("registration.email", c.Registration.Email, "off", "optional", "required")
	if c.Registration.Email != "off" && c.Mail.Relay == "" {
		l.invalidf("registration.email", "needs mail.relay")
	}
	for _, id := range slices.Sorted(maps.Keys(c.Registration.Terms)) {
		l.validatePolicy("registration.terms."+id, id, c.Registration.Terms[id])
	}
	captcha := c.Registration.Captcha
	if captcha.SiteKey == "" {
		return
	}
	if captcha.Secret == "" {
		l.invalidf("registration.captcha.secret", "is needed by site_key")
	}
	for key, address := range map[string]string{"verifier": captcha.Verifier, "script": captcha.Script} {
		if !isWebAddress(address) {
			l.invalidf("registration.captcha."+key, "%.80q is not a URL", address)
		}
	}
}

func (l *loader) validateMail() {
	m := l.cfg.Mail
	l.within("accounts.max_devices", l.cfg.Accounts.MaxDevices, 1, 10_000)
	l.within("accounts.max_account_data", l.cfg.Accounts.MaxAccountData, 100, 100_000)
	for i, server := range l.cfg.Accounts.IdentityServers {
		if _, err := matrix.ParseServerName(server); err != nil {
			l.invalidf(item("accounts.identity_servers", i), "%s", err)
		}
	}
	l.oneOf("mail.security", m.Security, "starttls", "tls", "none")
	if m.Relay == "" {
		return
	}
	if host, err := splitAddress(m.Relay); err != nil || host == "" {
		l.invalidf("mail.relay", "%.80q is not host:port", m.Relay)
	}
	if _, err := mail.ParseAddress(m.From); err != nil {
		l.invalidf("mail.from", "%.80q is not an address such as Example <noreply@example.org>", m.From)
	}
	if m.Timeout <= 0 {
		l.invalidf("mail.timeout", "must be above 0")
	}
}

func (l *loader) validatePolicy(key, id string, p Policy) {
	if !isOpaque(id) {
		l.invalidf(key, "an ID has 1 to 255 of A-Z a-z 0-9 . _ ~ -")
	}
	if !isOpaque(p.Version) {
		l.invalidf(key+".version", "must be 1 to 255 of A-Z a-z 0-9 . _ ~ -")
	}
	if len(p.Languages) == 0 {
		l.invalidf(key+".languages", "needs at least one")
	}
	for _, language := range slices.Sorted(maps.Keys(p.Languages)) {
		document := p.Languages[language]
		where := key + ".languages." + language
		if language == "version" {
			l.invalidf(where, "is no language")
		}
		if document.Name == "" || !isWebAddress(document.URL) {
			l.invalidf(where, "needs a name and a url")
		}
	}
}

// isOpaque is Appendices § Opaque identifiers.
func isOpaque(id string) bool {
	for _, r := range id {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._~-", r) {
			return false
		}
	}
	return id != "" && len(id) <= 255
}

func isWebAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}
