package irc

import (
	"context"
	"fmt"

	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

// commandRelay is the wish to have no connection of one's own.
func (s *Service) commandRelay(ctx context.Context, call *bridge.Call) (string, error) {
	n, args, err := s.commandNetwork(call)
	if err != nil {
		return "", err
	}
	if !n.mayBeRelayed() {
		return "", matrix.Forbidden("On %s the bridge speaks for nobody who may have a connection of their own.", n.now().Name)
	}
	wanted := n.relay.wants(call.Sender)
	switch {
	case len(args) == 1 && (args[0] == "on" || args[0] == "off"):
		if wanted != (args[0] == "on") {
			wanted = !wanted
			n.ask(ctx, func() { n.wishRelay(call.Sender, wanted) })
		}
	case len(args) > 0:
		return "", matrix.InvalidParam("Say “relay on” or “relay off”.")
	}
	if wanted {
		return fmt.Sprintf("The bridge's bot speaks for you on %s, where that is allowed.", n.now().Name), nil
	}
	return fmt.Sprintf("You have a connection of your own to %s, where that is possible.", n.now().Name), nil
}

// mayBeRelayed tells whether somebody who may have a connection can do without.
func (n *network) mayBeRelayed() bool {
	if n.now().Relay.Mode == RelayOn {
		return true
	}
	for _, m := range n.now().Mappings {
		if m.Relay == RelayOn {
			return true
		}
	}
	return false
}

// wishRelay has the bot speak for somebody, or their own connection. It is called on the loop.
func (n *network) wishRelay(user matrix.UserID, wanted bool) {
	delete(n.relay.full, user)
	n.relay.setWanted(user, wanted)
	for _, p := range n.service.bridge.Portals() {
		name, in := p.Person(user)
		if !in || p.Direct() || p.Key().Network != n.config.ID || n.relayMode(p.Key().Channel) != RelayOn {
			continue
		}
		if wanted {
			n.personLeft(p, user, "Spoken for by the bridge's bot")
		} else {
			p.SetPresent(user, false)
		}
		n.personJoined(p, user, name)
	}
}
