package oauth

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// loopbacks are where native applications on the user's own machine listen.
var loopbacks = []string{"http://localhost", "http://127.0.0.1", "http://[::1]"}

// checkRedirect holds a redirect URI of a client whose pages are on a host
// against Client-Server API § Redirect URI validation.
func checkRedirect(redirect, host, applicationType string) error {
	if len(redirect) > maxURI || !plain(redirect) || strings.Contains(redirect, "#") {
		return invalidRedirect("Redirect URIs are ASCII, have at most %d bytes and no fragment.", maxURI)
	}
	if u, ok := parseWeb(redirect); ok && below(u.Hostname(), host) {
		return nil
	}
	if applicationType != "native" {
		return invalidRedirect("%.200q is not an https URL on %s or below.", redirect, host)
	}
	if isLoopback(redirect) || isPrivateUse(redirect, host) {
		return nil
	}
	return invalidRedirect("%.200q is neither on %s, nor of a scheme that begins with that name reversed, nor http on loopback without a port.", redirect, host)
}

func isLoopback(redirect string) bool {
	u, err := url.Parse(redirect)
	return err == nil && u.User == nil && slices.Contains(loopbacks, u.Scheme+"://"+u.Host) && strings.HasPrefix(redirect, u.Scheme+"://"+u.Host)
}

// isPrivateUse reports whether the scheme belongs to an application of a host:
// com.example.app of example.com. A domain has a dot, so that no scheme that
// browsers know can pass.
func isPrivateUse(redirect, host string) bool {
	scheme, rest, ok := strings.Cut(redirect, ":")
	if !ok || strings.HasPrefix(rest, "//") {
		return false
	}
	u, err := url.Parse(redirect)
	if err != nil || u.Host != "" || u.User != nil || u.Scheme != scheme {
		return false
	}
	labels := strings.Split(host, ".")
	slices.Reverse(labels)
	reversed := strings.Join(labels, ".")
	return scheme == reversed || strings.HasPrefix(scheme, reversed+".")
}

// MayRedirectTo reports whether a redirect URI is one that the client has
// registered: the same text, but that native applications have any port on
// loopback.
func (c *Client) MayRedirectTo(given string) bool {
	if slices.Contains(c.Redirects, given) {
		return true
	}
	if c.ApplicationType != "native" {
		return false
	}
	for _, loopback := range loopbacks {
		rest, ok := strings.CutPrefix(given, loopback+":")
		if !ok {
			continue
		}
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(rest)
		}
		if _, err := strconv.ParseUint(rest[:end], 10, 16); err == nil && slices.Contains(c.Redirects, loopback+rest[end:]) {
			return true
		}
	}
	return false
}

// plain texts have only the characters that URIs are made of.
func plain(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7F || r == '\\' })
}

// below reports whether a host is another one, or a subdomain of it.
func below(host, base string) bool {
	return host == base || strings.HasSuffix(host, "."+base)
}

// isDomain accepts names in small letters of at least two labels, the last of
// which is no number: neither addresses nor hosts of the local network.
func isDomain(host string) bool {
	labels := strings.Split(host, ".")
	if len(host) > 253 || len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return strings.Trim(labels[len(labels)-1], "0123456789") != ""
}
