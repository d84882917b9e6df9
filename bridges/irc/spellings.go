package irc

import (
	"context"
	"fmt"
	"slices"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/internal/matrix"
)

// maxSpellings is how many aliases a channel's room gets by being spelt in many ways: there are endless ones, and nobody needs an
// account to ask for them.
const maxSpellings = 30

// respelt has another spelling of a channel lead to its room.
func (n *network) respelt(ctx context.Context, p *bridge.Portal, alias matrix.RoomAlias) error {
	if _, chosen := n.mapped(alias); !chosen {
		aliases, err := n.service.bridge.Client().Bot().Aliases(ctx, p.Room())
		if client.Temporary(err) {
			return fmt.Errorf("list a room's aliases: %w", err)
		}
		if len(aliases) >= maxSpellings && !slices.Contains(aliases, alias) {
			return matrix.NotFound("The room of %s is called %s.", decode(p.Name()), n.aliasOf(p.Name()))
		}
	}
	return p.CreateRoom(ctx, bridge.RoomSpec{Alias: alias})
}
