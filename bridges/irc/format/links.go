package format

import (
	"net/url"
	"strings"
)

// escapeID is a Matrix ID as a part of a matrix.to link (Appendices § matrix.to navigation).
func escapeID(id string) string { return url.PathEscape(id) }

// target is what a link to something on Matrix leads to: a user ID, a room
// ID or an alias. ok is false for other links, and for links to single events.
func target(href string) (id string, ok bool) {
	rest, found := cutAnyPrefix(href, "https://matrix.to/#/", "http://matrix.to/#/")
	if found {
		rest, _, _ = strings.Cut(rest, "?")
		id, err := url.PathUnescape(rest)
		return id, err == nil && isID(id)
	}
	if rest, found = strings.CutPrefix(href, "matrix:"); !found {
		return "", false
	}
	rest, _, _ = strings.Cut(rest, "?")
	rest, err := url.PathUnescape(rest)
	if err != nil {
		return "", false
	}
	for prefix, sigil := range map[string]string{"u/": "@", "r/": "#", "roomid/": "!"} {
		if name, found := strings.CutPrefix(rest, prefix); found {
			return sigil + name, isID(sigil + name)
		}
	}
	return "", false
}

// isID tells whether a text has the outside of a user ID, room ID or alias.
func isID(id string) bool {
	return len(id) > 1 && len(id) <= 255 && strings.IndexByte("@#!", id[0]) >= 0 &&
		!strings.ContainsAny(id, "$ ") && (id[0] == '!' || strings.Contains(id, ":"))
}

func cutAnyPrefix(s string, prefixes ...string) (rest string, found bool) {
	for _, prefix := range prefixes {
		if rest, found = strings.CutPrefix(s, prefix); found {
			return rest, true
		}
	}
	return s, false
}

// linkable are the schemes that links may have (Client-Server API § m.room.message msgtypes).
func linkable(href string) bool {
	scheme, _, found := strings.Cut(href, ":")
	switch strings.ToLower(scheme) {
	case "https", "http", "ftp", "mailto", "magnet", "irc", "ircs", "matrix":
		return found && !strings.ContainsAny(href, " \t\r\n")
	}
	return false
}

// sameLink tells whether a link's text says where it leads.
func sameLink(text, href string) bool {
	return bare(text) == bare(href)
}

func bare(link string) string {
	link = strings.ToLower(strings.TrimSpace(link))
	link, _ = cutAnyPrefix(link, "https://", "http://", "mailto:", "ftp://")
	link, _ = strings.CutPrefix(link, "www.")
	return strings.TrimSuffix(link, "/")
}
