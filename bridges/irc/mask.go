package irc

import (
	"strings"

	"trestle/bridges/irc/wire"
)

// matchMask tells whether a ban's mask means somebody: "*" and "?" stand for
// anything, "\" before them for themselves. What is folded is compared. It takes time
// proportional to the product of the lengths at most.
func matchMask(mask, name string) bool {
	m, i, star, mark := 0, 0, -1, 0
	for i < len(name) {
		switch c, width := maskByte(mask, m); {
		case width > 0 && c == '*' && width == 1:
			star, mark = m, i
			m++
		case width > 0 && (c == name[i] || c == '?' && width == 1):
			m += width
			i++
		case star >= 0: // let the star have one more
			mark++
			m, i = star+1, mark
		default:
			return false
		}
	}
	for m < len(mask) && mask[m] == '*' {
		m++
	}
	return m == len(mask)
}

// maskByte is a mask's next byte, and how many bytes that is: 2 behind a backslash, 0 at the end.
func maskByte(mask string, at int) (c byte, width int) {
	switch {
	case at >= len(mask):
		return 0, 0
	case mask[at] == '\\' && at+1 < len(mask) && (mask[at+1] == '*' || mask[at+1] == '?'):
		return mask[at+1], 2
	}
	return mask[at], 1
}

// means tells whether a mask is one of nick, user and host, and matches.
func (n *network) means(mask string, who wire.Prefix) bool {
	if who.Nick == "" || !strings.ContainsAny(mask, "!@") && strings.ContainsAny(mask, ":$~") {
		return false // a ban of the server's own kind
	}
	full := who.Nick + "!" + who.User + "@" + who.Host
	if who.Host == "" { // not known: only the nick counts
		nick, rest, _ := strings.Cut(mask, "!")
		return rest == "*@*" && nick != "*" && matchMask(n.fold(nick), n.fold(who.Nick))
	}
	return matchMask(n.fold(mask), n.fold(full))
}

// banMask is a mask that means a user and nobody else in the channel: the host, if nobody shares
// it; else also the user name; else the nick.
func (n *network) banMask(ch *channel, u *user) string {
	escape := strings.NewReplacer("*", "?", " ", "?").Replace
	at := u.prefix
	for _, mask := range []string{"*!*@" + escape(at.Host), "*!" + escape(at.User) + "@" + escape(at.Host)} {
		alone := at.Host != "" && at.User != ""
		for other := range ch.members {
			if other != u && alone {
				alone = other.prefix.Host != "" && !n.means(mask, other.seen())
			}
		}
		if alone {
			return mask
		}
	}
	return escape(u.nick) + "!*@*"
}

// seen is a user as masks see it.
func (u *user) seen() wire.Prefix {
	seen := u.prefix
	seen.Nick = u.nick
	return seen
}
