package serverapi

import (
	"context"
	"slices"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/exchange"
	"trestle/homeserver/federation"
	"trestle/homeserver/media"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
)

// Services are what the Server-Server API is a face of.
type Services struct {
	ServerName matrix.ServerName
	Version    string
	Keys       *federation.KeyRing
	Accounts   *accounts.Service
	Rooms      *rooms.Service
	Media      *media.Service
	Exchange   *exchange.Service
	Peers      *federation.Peers
}

// Routes is the whole API.
func Routes(s Services) []api.Route {
	return slices.Concat(
		(&keysAPI{s.Keys}).routes(),
		(&versionAPI{s.Version}).routes(),
		(&queryAPI{s.ServerName, s.Accounts, s.Rooms}).routes(),
		(&mediaAPI{s.ServerName, s.Media}).routes(),
		(&historyAPI{s.ServerName, s.Rooms}).routes(),
		(&stateAPI{s.Rooms}).routes(),
		(&transactionsAPI{s.Exchange}).routes(),
		(&spacesAPI{s.Rooms}).routes(),
		(&visitsAPI{s.Keys, s.Rooms}).routes(),
		(&invitesAPI{s.ServerName, s.Keys, s.Peers, s.Accounts, s.Rooms}).routes(),
	)
}

// perServer counts what a server asks.
func perServer() api.Option { return api.Limit("federation") }

// Authenticator verifies signatures by a key ring.
func Authenticator(keys *federation.KeyRing) api.ServerAuthenticator { return authenticator{keys} }

type authenticator struct{ keys *federation.KeyRing }

// AuthenticateServer implements api.ServerAuthenticator.
func (a authenticator) AuthenticateServer(ctx context.Context, presented api.SignedRequest) (matrix.ServerName, error) {
	return a.keys.Authenticate(ctx, federation.Presented(presented))
}

// versionAPI is what this server is (§ Server implementation).
type versionAPI struct{ version string }

func (a *versionAPI) routes() []api.Route {
	return []api.Route{api.Endpoint("GET", "/_matrix/federation/v1/version", api.None, a.tell)}
}

type versionResponse struct {
	Server struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	} `json:"server"`
}

func (a *versionAPI) tell(context.Context, api.Caller, *struct{}) (*versionResponse, error) {
	res := new(versionResponse)
	res.Server.Name, res.Server.Version = "Trestle", a.version
	return res, nil
}
