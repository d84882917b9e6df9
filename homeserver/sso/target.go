package sso

import (
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"trestle/internal/matrix"
)

// maxTarget bounds an address to which a browser is sent, in bytes.
const maxTarget = 4096

// maxReturn bounds a path to which this server itself wants browsers back, in
// bytes: the request of an application may be in its query.
const maxReturn = 64 << 10

// executed are schemes whose addresses would run or show what the address
// itself says.
var executed = []string{"javascript", "data", "vbscript", "blob", "file", "about", "filesystem", "view-source"}

// parseTarget reads the address of a client: absolute, and one that every
// browser reads the same way. Applications have schemes of their own.
func parseTarget(address string) (*url.URL, error) {
	if address == "" {
		return nil, matrix.MissingParam("The query parameter redirectUrl is missing.")
	}
	strange := strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' })
	u, err := url.Parse(address)
	switch {
	case err != nil, strange, !utf8.ValidString(address), len(address) > maxTarget, u.Scheme == "", slices.Contains(executed, u.Scheme), u.User != nil,
		(u.Scheme == "http" || u.Scheme == "https") && u.Hostname() == "":
		return nil, matrix.InvalidParam("redirectUrl is not the address of an application.")
	}
	return u, nil
}

func webAddress(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != ""
}

// withLoginToken is the address with a login token, and with no other.
func withLoginToken(u *url.URL, token string) string {
	with := *u
	var kept []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); pair == "" || err == nil && plain == "loginToken" {
			continue
		}
		kept = append(kept, pair)
	}
	with.RawQuery = strings.Join(append(kept, "loginToken="+url.QueryEscape(token)), "&")
	return with.String()
}

// clientName is how people are told of the client at an address.
func clientName(u *url.URL) string {
	if u.Scheme == "http" || u.Scheme == "https" {
		return u.Host
	}
	return "the application for " + u.Scheme + ": links"
}

// trusts reports whether the operator trusts the client at an address: its
// scheme, host and port are those of a trusted one, and its path is that or
// one below. A trusted client that is nothing but a scheme ("element:") is all
// addresses of it.
func (s *Service) trusts(u *url.URL) bool {
	return slices.ContainsFunc(s.options.TrustedClients, func(trusted string) bool {
		t, err := url.Parse(trusted)
		if err != nil || t.Scheme != u.Scheme {
			return false
		}
		if t.Host == "" && t.Path == "" && t.Opaque == "" {
			return t.Scheme != "http" && t.Scheme != "https"
		}
		return u.Opaque == "" && strings.EqualFold(t.Host, u.Host) && below(u.Path, t.Path)
	})
}

// below reports whether a path is another one, or leads from there downwards.
func below(p, of string) bool {
	p, of = path.Clean("/"+p), strings.TrimSuffix(path.Clean("/"+of), "/")
	return p == of || strings.HasPrefix(p, of+"/")
}

// localPath reports whether a text is a path of this server, perhaps with a
// query, and that for every browser.
func localPath(text string) bool {
	u, err := url.Parse(text)
	strange := strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' || r == '#' })
	return err == nil && !strange && utf8.ValidString(text) && len(text) <= maxReturn && u.Scheme == "" && u.Host == "" && u.User == nil &&
		strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//")
}
