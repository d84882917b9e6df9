package clientapi

import (
	"context"
	"net/http"

	"trestle/homeserver/api"
	"trestle/homeserver/turn"
	"trestle/internal/matrix"
)

// CallsConfig is what clients are told of servers beside this one.
type CallsConfig struct {
	TURN            *turn.Service
	LiveKit         []string // addresses, the preferred one first
	PolicyServerKey string   // empty: there is no policy server of this name
}

// callsAPI is what calls need (module voip_events, MSC4143), and the policy
// server's key (module policy_servers).
type callsAPI struct{ config CallsConfig }

func (a *callsAPI) routes() []api.Route {
	return []api.Route{
		api.Endpoint(http.MethodGet, "/_matrix/client/v3/voip/turnServer", api.Guest, a.turnServer),
		api.Endpoint(http.MethodGet, "/_matrix/client/v1/rtc/transports", api.Guest, a.transports,
			api.Aliases("/_matrix/client/unstable/org.matrix.msc4143/rtc/transports")),
		api.Endpoint(http.MethodGet, "/.well-known/matrix/policy_server", api.None, a.policyServer),
	}
}

type turnServerResponse struct {
	Username string   `json:"username"`
	Password string   `json:"password"`
	URIs     []string `json:"uris"`
	TTL      int64    `json:"ttl"` // seconds
}

func (a *callsAPI) turnServer(_ context.Context, who api.Caller, _ *struct{}) (*turnServerResponse, error) {
	c, err := a.config.TURN.Credentials(who.UserID, who.Guest)
	if err != nil {
		return nil, err
	}
	return &turnServerResponse{c.Username, c.Password, c.URIs, int64(c.Lifetime.Seconds())}, nil
}

// A Transport is a way by which calls of many can be held.
type Transport struct {
	Type    string `json:"type"`
	Service string `json:"livekit_service_url"`
}

// Transports are those by LiveKit servers at these addresses.
func Transports(addresses []string) []Transport {
	list := make([]Transport, len(addresses))
	for i, address := range addresses {
		list[i] = Transport{"livekit", address}
	}
	return list
}

// transportsResponse has the list twice: clients look for the name that it had
// in earlier versions of the proposal.
type transportsResponse struct {
	Transports    []Transport `json:"transports"`
	RTCTransports []Transport `json:"rtc_transports"`
}

func (a *callsAPI) transports(context.Context, api.Caller, *struct{}) (*transportsResponse, error) {
	list := Transports(a.config.LiveKit)
	return &transportsResponse{list, list}, nil
}

type policyServerResponse struct {
	PublicKeys map[string]string `json:"public_keys"`
}

func (a *callsAPI) policyServer(context.Context, api.Caller, *struct{}) (*policyServerResponse, error) {
	if a.config.PolicyServerKey == "" {
		return nil, matrix.NotFound("There is no policy server of this name.")
	}
	return &policyServerResponse{map[string]string{"ed25519": a.config.PolicyServerKey}}, nil
}
