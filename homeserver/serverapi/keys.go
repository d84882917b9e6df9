package serverapi

import (
	"context"
	"encoding/json"

	"trestle/homeserver/api"
	"trestle/homeserver/federation"
	"trestle/internal/matrix"
)

// keysAPI is the keys of this server, and those of others for whom it is a notary (§ Retrieving server keys).
// Anybody may ask for them.
type keysAPI struct{ keys *federation.KeyRing }

// maxKeyQuery is how many bytes a query may have: many times what [federation.MaxKeyQueries] need.
const maxKeyQuery = 256 << 10

func (a *keysAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint("GET", "/_matrix/key/v2/server", api.None, a.own),
		api.Endpoint("GET", "/_matrix/key/v2/query/{serverName}", api.None, a.query),
		api.Endpoint("POST", "/_matrix/key/v2/query", api.None, a.queries, api.BodyLimit(maxKeyQuery)),
	}
}

func (a *keysAPI) own(context.Context, api.Caller, *struct{}) (*json.RawMessage, error) {
	keys, err := a.keys.Own()
	return &keys, err
}

type keysResponse struct {
	Keys []json.RawMessage `json:"server_keys"`
}

type keysRequest struct {
	Server     matrix.ServerName `path:"serverName"`
	ValidUntil int64             `query:"minimum_valid_until_ts"`
}

func (a *keysAPI) query(ctx context.Context, who api.Caller, req *keysRequest) (*keysResponse, error) {
	keys, err := a.keys.Attest(ctx, []federation.KeyQuery{{Server: req.Server, ValidUntil: req.ValidUntil}}, who.RemoteAddr)
	return &keysResponse{keys}, err
}

type manyKeysRequest struct {
	Servers map[matrix.ServerName]map[matrix.KeyID]keyCriteria `json:"server_keys" required:"true"`
}

type keyCriteria struct {
	ValidUntil int64 `json:"minimum_valid_until_ts"`
}

// Validate implements api.Validator.
func (r *manyKeysRequest) Validate() error {
	if len(r.Servers) > federation.MaxKeyQueries {
		return matrix.InvalidParam("server_keys may have up to %d servers.", federation.MaxKeyQueries)
	}
	return nil
}

func (a *keysAPI) queries(ctx context.Context, who api.Caller, req *manyKeysRequest) (*keysResponse, error) {
	var queries []federation.KeyQuery
	for server, keys := range req.Servers {
		q := federation.KeyQuery{Server: server}
		for _, criteria := range keys {
			q.ValidUntil = max(q.ValidUntil, criteria.ValidUntil)
		}
		queries = append(queries, q)
	}
	keys, err := a.keys.Attest(ctx, queries, who.RemoteAddr)
	return &keysResponse{keys}, err
}
