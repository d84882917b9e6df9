// Package api turns typed functions into HTTP endpoints: it is the one package
// below the route tables that knows about HTTP routing, binding and errors.
//
// An endpoint says what it wants by a struct and what it answers by another:
//
//	type joinRequest struct {
//		RoomID matrix.RoomID `path:"roomId"`
//		Via    []string      `query:"via"`
//		Reason string        `json:"reason"`
//	}
//
//	api.Endpoint("POST", "/_matrix/client/v3/rooms/{roomId}/join", api.Guest, a.join)
//
// Everything that can be decided from the struct's type is decided once, when
// the route is declared. Bodies are limited, checked and bound before the
// function runs; errors become Matrix errors after it.
package api
