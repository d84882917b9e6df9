package irc

import (
	"net"
	"net/netip"
	"net/url"
	"strings"

	"trestle/bridges/bridge"
)

// Describe implements bridge.Describer.
func (s *Service) Describe(key bridge.Key, name string) (bridge.Info, bool) {
	n := s.network(key.Network)
	if _, _, alone := direct(key); n == nil || alone {
		return bridge.Info{}, false
	}
	info := bridge.Info{
		StateKey: "org.trestle.irc://" + key.Network + "/" + url.PathEscape(key.Channel),
		Protocol: bridge.InfoPart{ID: protocolIRC, Name: "IRC"},
		Network:  bridge.InfoPart{ID: key.Network, Name: n.now().Name, Avatar: n.config.Icon, URL: n.publicAddress()},
		Channel:  bridge.InfoPart{ID: decode(key.Channel), Name: decode(name)},
	}
	if info.Network.URL != "" {
		info.Channel.URL = info.Network.URL + "/" + url.PathEscape(name)
	}
	return info, true
}

// publicAddress is the network's as people elsewhere can use it; empty if it is none for them.
func (n *network) publicAddress() string {
	host, port, err := net.SplitHostPort(n.now().Addr)
	if err != nil || !strings.Contains(host, ".") {
		return ""
	}
	if ip, err := netip.ParseAddr(host); err == nil && (!ip.IsGlobalUnicast() || ip.IsPrivate()) {
		return ""
	}
	scheme, usual := "irc", "6667"
	if n.now().TLS != nil {
		scheme, usual = "ircs", "6697"
	}
	if port != usual {
		host = net.JoinHostPort(host, port)
	}
	return scheme + "://" + host
}
