package clientapi

import (
	"context"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/delayed"
	"trestle/homeserver/encryption"
	"trestle/homeserver/ephemeral"
	"trestle/homeserver/invites"
	"trestle/homeserver/media"
	"trestle/homeserver/oauth"
	"trestle/homeserver/pushers"
	"trestle/homeserver/registrar"
	"trestle/homeserver/relations"
	"trestle/homeserver/reports"
	"trestle/homeserver/rooms"
	"trestle/homeserver/search"
	"trestle/homeserver/sso"
	"trestle/homeserver/syncer"
	"trestle/homeserver/syncer/sliding"
	"trestle/homeserver/unread"
	"trestle/internal/matrix"
)

// Services are what the Client-Server API is a face of.
type Services struct {
	ServerName matrix.ServerName
	Account    AccountConfig
	Accounts   *accounts.Service
	Rooms      *rooms.Service
	Keys       *encryption.Service
	Ephemeral  *ephemeral.Service
	Media      *media.Service
	Previews   Previews // nil: none
	Sync       *syncer.Service
	Sliding    *sliding.Service
	Relations  *relations.Service
	Search     *search.Service
	Reports    *reports.Service
	Delayed    *delayed.Service
	Invites    *invites.Service
	Unread     *unread.Service
	Pushers    *pushers.Service
	Users      UserDirectory
	Others     OtherServers // nil: none are asked
	Services   AppServices
	Calls      CallsConfig
	OAuth      *oauth.Service // nil: off
	SSO        *sso.Service
	Registrar  *registrar.Service
	Limiter    api.Limiter // nil: no limits
	// Forgot tells /sync that a room is not to be shown any more.
	Forgot func(ctx context.Context, user matrix.UserID, room matrix.RoomID)
}

// Routes is the whole Client-Server API.
func Routes(s Services) []api.Route {
	s.Account.IdentityProviders = IdentityProviders(s.SSO)
	if s.OAuth != nil {
		s.Account.ByOAuth = s.OAuth.Issued
	}
	return forModerated(slices.Concat(
		AccountRoutes(s.Accounts, s.Account),
		(&roomsAPI{rooms: s.Rooms, invites: s.Invites, forgot: s.Forgot}).routes(),
		(&eventsAPI{rooms: s.Rooms, relations: s.Relations, delayed: s.Delayed, limiter: s.Limiter}).routes(),
		(&delayedAPI{s.Delayed}).routes(),
		(&importAPI{s.Rooms, s.Accounts, s.Ephemeral}).routes(),
		(&orderedAPI{s.Rooms, s.Accounts}).routes(),
		(&relationsAPI{s.Relations}).routes(),
		(&searchAPI{s.Search, s.Sync}).routes(),
		(&reportsAPI{s.Reports}).routes(),
		(&spacesAPI{s.Rooms}).routes(),
		EncryptionRoutes(s.Keys, s.Accounts, s.OAuth),
		EphemeralRoutes(s.Ephemeral),
		MediaRoutes(s.Media),
		PreviewRoutes(s.Previews),
		(&syncAPI{sync: s.Sync, accounts: s.Accounts}).routes(),
		(&oldSyncAPI{s.Sync}).routes(),
		(&slidingAPI{s.Sliding}).routes(),
		(&notificationsAPI{s.Unread}).routes(),
		(&threadsAPI{s.Unread}).routes(),
		(&directoryAPI{server: s.ServerName, rooms: s.Rooms, users: s.Users, others: s.Others}).routes(),
		(&appservicesAPI{s.Services}).routes(),
		(&selfRegistrationAPI{s.Registrar}).routes(),
		(&callsAPI{s.Calls}).routes(),
		(&pushersAPI{s.Pushers}).routes(),
		OAuthRoutes(s.OAuth, s.Accounts),
		SSORoutes(s.SSO, s.Accounts),
	))
}
