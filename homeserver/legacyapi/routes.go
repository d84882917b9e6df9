// Package legacyapi serves the Client-Server API of 2014, version 1 under
// /_matrix/client/api/v1, for clients that have known no other. It only puts
// requests and answers into the shapes of then; docs/legacy.md has the whole
// list of what became of that version.
package legacyapi

import (
	"net/http"
	"sync"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/ephemeral"
	"trestle/homeserver/rooms"
	"trestle/homeserver/syncer"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// Services are what the API is a face of.
type Services struct {
	ServerName matrix.ServerName
	Accounts   *accounts.Service
	Rooms      *rooms.Service
	Ephemeral  *ephemeral.Service
	Sync       *syncer.Service
}

const (
	prefix = "/_matrix/client/api/v1"
	today  = "/_matrix/client/v3"
)

// unchanged are the operations that clients of then use as those of today do:
// by method, their path then and their path now.
var unchanged = []struct{ method, then, now string }{
	{http.MethodPost, "/join/{roomIdOrAlias}", "/join/{roomIdOrAlias}"},
	{http.MethodPost, "/rooms/{roomId}/join", "/rooms/{roomId}/join"},
	{http.MethodPost, "/rooms/{roomId}/leave", "/rooms/{roomId}/leave"},
	{http.MethodPost, "/rooms/{roomId}/invite", "/rooms/{roomId}/invite"},
	{http.MethodPost, "/rooms/{roomId}/kick", "/rooms/{roomId}/kick"},
	{http.MethodPost, "/rooms/{roomId}/ban", "/rooms/{roomId}/ban"},
	{http.MethodPut, "/rooms/{roomId}/send/{eventType}/{txnId}", "/rooms/{roomId}/send/{eventType}/{txnId}"},
	{http.MethodPut, "/rooms/{roomId}/redact/{eventId}/{txnId}", "/rooms/{roomId}/redact/{eventId}/{txnId}"},
	{http.MethodPut, "/rooms/{roomId}/state/{eventType}/{stateKey}", "/rooms/{roomId}/state/{eventType}/{stateKey}"},
	{http.MethodGet, "/rooms/{roomId}/state/{eventType}/{stateKey}", "/rooms/{roomId}/state/{eventType}/{stateKey}"},
	{http.MethodPut, "/rooms/{roomId}/typing/{userId}", "/rooms/{roomId}/typing/{userId}"},
	{http.MethodGet, "/directory/room/{roomAlias}", "/directory/room/{roomAlias}"},
	{http.MethodPut, "/directory/room/{roomAlias}", "/directory/room/{roomAlias}"},
	{http.MethodDelete, "/directory/room/{roomAlias}", "/directory/room/{roomAlias}"},
	{http.MethodGet, "/publicRooms", "/publicRooms"},
	{http.MethodGet, "/profile/{userId}", "/profile/{userId}"},
	{http.MethodGet, "/profile/{userId}/{keyName}", "/profile/{userId}/{keyName}"},
	{http.MethodPut, "/profile/{userId}/{keyName}", "/profile/{userId}/{keyName}"},
}

type legacyAPI struct {
	Services
	mu      sync.Mutex // between looking for a creation and noting it
	created *lru.Cache[creation, *flight]
}

// Routes is the whole API. current is the operations of today, of which some
// are served under their old paths as well.
func Routes(s Services, current []api.Route) []api.Route {
	a := &legacyAPI{Services: s, created: lru.New[creation](maxCreations, func(*flight) int { return 1 })}
	all := again(current)
	for _, module := range [][]api.Route{a.accountRoutes(), a.roomRoutes(), a.streamRoutes(), a.presenceRoutes()} {
		all = append(all, module...)
	}
	return all
}

// again is the unchanged operations under their old paths.
func again(current []api.Route) []api.Route {
	byName := make(map[string]api.Route, len(current))
	for _, route := range current {
		byName[route.Method+" "+route.Path] = route
	}
	list := make([]api.Route, len(unchanged))
	for i, u := range unchanged {
		route, ok := byName[u.method+" "+today+u.now]
		if !ok {
			panic("legacyapi: there is no " + u.method + " " + u.now + " any more")
		}
		list[i] = route.At(prefix + u.then)
	}
	return list
}
