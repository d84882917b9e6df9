package irc

import (
	"context"
	"net"
	"net/url"
	"strings"

	"trestle/bridges/irc/names"
	"trestle/internal/matrix"
)

// maxTarget bounds names in URIs, in bytes; networks allow less.
const maxTarget = 200

// A target is what an irc URI names (draft-butcher-irc-url): a channel or, with
// isNick, somebody.
type target struct {
	network *network
	name    string
	isNick  bool
}

// AliasOfURI implements client.URIs: irc://libera/trestle, or with the
// network's host; the sigil of a channel may be left out or be anything that it
// is.
func (s *Service) AliasOfURI(_ context.Context, uri string) (matrix.RoomAlias, error) {
	t, err := s.target(uri)
	if err != nil {
		return "", err
	}
	if t.isNick {
		return "", matrix.NotFound("%.200s is somebody, not a channel.", uri)
	}
	if !strings.ContainsRune("#&+!", rune(t.name[0])) {
		t.name = "#" + t.name
	}
	alias := t.network.aliasOf(t.name)
	if _, err := matrix.ParseRoomAlias(string(alias)); err != nil {
		return "", matrix.NotFound("The channel's name is too long for an alias.")
	}
	return alias, nil
}

// UserOfURI implements client.URIs: irc://libera/alice,isnick.
func (s *Service) UserOfURI(_ context.Context, uri string) (matrix.UserID, error) {
	t, err := s.target(uri)
	if err != nil {
		return "", err
	}
	nick, _, _ := strings.Cut(t.name, "!")
	if !names.ValidNick(nick) {
		return "", matrix.NotFound("%.200s is nobody's nick.", uri)
	}
	return t.network.ghost(nick).ID, nil
}

// target finds out what a URI means, if a network of the bridge is meant.
func (s *Service) target(uri string) (target, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return target{}, matrix.InvalidParam("That is not a URI.")
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), "?")
	name, flags, _ := strings.Cut(path, ",")
	if name, err = url.PathUnescape(name); err != nil {
		return target{}, matrix.InvalidParam("That is not a URI.")
	}
	if name == "" && u.Fragment != "" {
		name = "#" + u.Fragment // a sigil that was not escaped
	}
	if name == "" || len(name) > maxTarget || strings.ContainsAny(name, " ,\x00\a\r\n") {
		return target{}, matrix.NotFound("%.200s names nothing on IRC.", uri)
	}
	n := s.networkAt(u.Hostname())
	if n == nil {
		return target{}, matrix.NotFound("The bridge has no network %.200q.", u.Host)
	}
	t := target{network: n, name: name}
	for _, flag := range strings.Split(flags, ",") {
		t.isNick = t.isNick || flag == "isnick" || flag == "isuser"
	}
	return t, nil
}

// networkAt is the network of an ID, a name or a host.
func (s *Service) networkAt(host string) *network {
	for _, n := range s.all() {
		at, _, err := net.SplitHostPort(n.now().Addr)
		if strings.EqualFold(host, n.config.ID) || strings.EqualFold(host, n.now().Name) || err == nil && strings.EqualFold(host, at) {
			return n
		}
	}
	return nil
}
