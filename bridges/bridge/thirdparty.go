package bridge

import (
	"context"

	"trestle/appservice"
	"trestle/appservice/client"
	"trestle/internal/matrix"
)

// lookUps are those of the remote; nil if it has none.
func (b *Bridge) lookUps() client.ThirdParty {
	remote, _ := b.remote.(client.ThirdParty)
	return remote
}

// Protocol implements client.ThirdParty for remotes that do, as do the methods below.
func (b *Bridge) Protocol(ctx context.Context, protocol string) (*appservice.Protocol, error) {
	if remote := b.lookUps(); remote != nil {
		return remote.Protocol(ctx, protocol)
	}
	return nil, nil
}

// Users implements client.ThirdParty.
func (b *Bridge) Users(ctx context.Context, protocol string, fields map[string]string) ([]appservice.User, error) {
	if remote := b.lookUps(); remote != nil {
		return remote.Users(ctx, protocol, fields)
	}
	return nil, nil
}

// Locations implements client.ThirdParty.
func (b *Bridge) Locations(ctx context.Context, protocol string, fields map[string]string) ([]appservice.Location, error) {
	if remote := b.lookUps(); remote != nil {
		return remote.Locations(ctx, protocol, fields)
	}
	return nil, nil
}

// UserByID implements client.ThirdParty.
func (b *Bridge) UserByID(ctx context.Context, user matrix.UserID) ([]appservice.User, error) {
	if remote := b.lookUps(); remote != nil {
		return remote.UserByID(ctx, user)
	}
	return nil, nil
}

// LocationByAlias implements client.ThirdParty.
func (b *Bridge) LocationByAlias(ctx context.Context, alias matrix.RoomAlias) ([]appservice.Location, error) {
	if remote := b.lookUps(); remote != nil {
		return remote.LocationByAlias(ctx, alias)
	}
	return nil, nil
}
