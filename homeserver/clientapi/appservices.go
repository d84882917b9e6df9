package clientapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	as "trestle/appservice"
	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// AppServices is the homeserver's link to application services.
type AppServices interface {
	// Ping asks a service whether it is there.
	Ping(ctx context.Context, id, transactionID string) (time.Duration, error)
	Protocols(ctx context.Context) map[string]*as.Protocol
	Protocol(ctx context.Context, name string) *as.Protocol
	ThirdPartyUsers(ctx context.Context, protocol string, fields url.Values) []as.User
	ThirdPartyLocations(ctx context.Context, protocol string, fields url.Values) []as.Location
	UsersOf(ctx context.Context, user matrix.UserID) []as.User
	LocationsOf(ctx context.Context, alias matrix.RoomAlias) []as.Location
	// UserOfURI and AliasOfURI are M_NOT_FOUND for what nobody knows.
	UserOfURI(ctx context.Context, uri string) (matrix.UserID, error)
	AliasOfURI(ctx context.Context, uri string) (matrix.RoomAlias, error)
}

// appservicesAPI is what clients and services ask of services.
type appservicesAPI struct {
	services AppServices
}

func (a *appservicesAPI) routes() []api.Route {
	limited := api.Limit("search") // each is a question to every service that might know
	return []api.Route{
		api.Endpoint(http.MethodPost, "/_matrix/client/v1/appservice/{appserviceId}/ping", api.AppService, a.ping,
			api.Aliases("/_matrix/client/unstable/fi.mau.msc2659/appservice/{appserviceId}/ping")),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/thirdparty/protocols", api.Guest, a.protocols, limited),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/thirdparty/protocol/{protocol}", api.Guest, a.protocol, limited),
		api.Stream(http.MethodGet, "/_matrix/client/v3/thirdparty/user/{protocol}", api.Guest, a.users, limited),
		api.Stream(http.MethodGet, "/_matrix/client/v3/thirdparty/location/{protocol}", api.Guest, a.locations, limited),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/thirdparty/user", api.Guest, a.usersOf, limited),
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/thirdparty/location", api.Guest, a.locationsOf, limited),
		// As the drafts had it: what a URI of another network is called here.
		api.Endpoint(http.MethodGet, "/_matrix/app/v1/user", api.Guest, a.userOfURI, limited),
		api.Endpoint(http.MethodGet, "/_matrix/app/v1/alias", api.Guest, a.aliasOfURI, limited),
	}
}

type uriRequest struct {
	URI string `query:"uri" required:"true"`
}

func (a *appservicesAPI) userOfURI(ctx context.Context, _ api.Caller, req *uriRequest) (*as.URIAnswer, error) {
	user, err := a.services.UserOfURI(ctx, req.URI)
	return &as.URIAnswer{UserID: user}, err
}

func (a *appservicesAPI) aliasOfURI(ctx context.Context, _ api.Caller, req *uriRequest) (*as.URIAnswer, error) {
	alias, err := a.services.AliasOfURI(ctx, req.URI)
	return &as.URIAnswer{Alias: alias}, err
}

type pingRequest struct {
	ID            string `path:"appserviceId"`
	TransactionID string `json:"transaction_id"`
}

type pingResponse struct {
	Duration int64 `json:"duration_ms"`
}

func (a *appservicesAPI) ping(ctx context.Context, who api.Caller, req *pingRequest) (*pingResponse, error) {
	if who.AppService != req.ID {
		return nil, matrix.Forbidden("An application service may only have itself pinged.")
	}
	took, err := a.services.Ping(ctx, req.ID, req.TransactionID)
	return &pingResponse{took.Milliseconds()}, err
}

func (a *appservicesAPI) protocols(ctx context.Context, _ api.Caller, _ *struct{}) (*map[string]*as.Protocol, error) {
	found := a.services.Protocols(ctx)
	return &found, nil
}

type protocolRequest struct {
	Protocol string `path:"protocol"`
}

func (a *appservicesAPI) protocol(ctx context.Context, _ api.Caller, req *protocolRequest) (*as.Protocol, error) {
	found := a.services.Protocol(ctx, req.Protocol)
	if found == nil {
		return nil, matrix.NotFound("No application service here knows the protocol %q.", req.Protocol)
	}
	return found, nil
}

// fields is the query of a look-up without what is not for the service: by which token
// somebody asks, and as whom a service does.
func fields(r *http.Request, who api.Caller) url.Values {
	query := r.URL.Query()
	query.Del("access_token")
	query.Del("user_token")
	if who.AppService != "" {
		for _, name := range []string{"user_id", "device_id", "org.matrix.msc3202.device_id"} {
			query.Del(name)
		}
	}
	return query
}

func (a *appservicesAPI) users(w http.ResponseWriter, r *http.Request, who api.Caller, req *protocolRequest) error {
	found := a.services.ThirdPartyUsers(r.Context(), req.Protocol, fields(r, who))
	return writeList(w, found)
}

func (a *appservicesAPI) locations(w http.ResponseWriter, r *http.Request, who api.Caller, req *protocolRequest) error {
	found := a.services.ThirdPartyLocations(r.Context(), req.Protocol, fields(r, who))
	return writeList(w, found)
}

// writeList answers a list, empty rather than null.
func writeList[T any](w http.ResponseWriter, list []T) error {
	if list == nil {
		list = []T{}
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return api.WriteJSON(w, http.StatusOK, raw)
}

type usersOfRequest struct {
	UserID matrix.UserID `query:"userid" required:"true"`
}

func (a *appservicesAPI) usersOf(ctx context.Context, _ api.Caller, req *usersOfRequest) (*[]as.User, error) {
	found := a.services.UsersOf(ctx, req.UserID)
	if found == nil {
		found = []as.User{}
	}
	return &found, nil
}

type locationsOfRequest struct {
	Alias matrix.RoomAlias `query:"alias" required:"true"`
}

func (a *appservicesAPI) locationsOf(ctx context.Context, _ api.Caller, req *locationsOfRequest) (*[]as.Location, error) {
	found := a.services.LocationsOf(ctx, req.Alias)
	if found == nil {
		found = []as.Location{}
	}
	return &found, nil
}
