package appservice

import (
	"net/url"

	"trestle/internal/matrix"
)

// A Path is where a request to a service goes, and where it went before the
// specification had versions in its paths (§ Legacy routes). Both are escaped.
type Path struct {
	Stable string
	Legacy string // empty: there never was one
}

const (
	prefix   = "/_matrix/app/v1"
	unstable = "/_matrix/app/unstable"
)

// TransactionPath takes events.
func TransactionPath(txnID string) Path {
	return versioned("/transactions/" + url.PathEscape(txnID))
}

// UserPath asks whether a user should exist.
func UserPath(user matrix.UserID) Path {
	return versioned("/users/" + url.PathEscape(string(user)))
}

// AliasPath asks whether a room alias should exist.
func AliasPath(alias matrix.RoomAlias) Path {
	return versioned("/rooms/" + url.PathEscape(string(alias)))
}

// PingPath asks whether the service is there.
func PingPath() Path { return Path{Stable: prefix + "/ping"} }

// ProtocolPath asks for the metadata of a third-party protocol.
func ProtocolPath(protocol string) Path {
	return thirdParty("/protocol/" + url.PathEscape(protocol))
}

// ThirdPartyUsersPath asks for users of a protocol, or, if it is empty, for
// what a Matrix user stands for.
func ThirdPartyUsersPath(protocol string) Path { return thirdParty(withName("/user", protocol)) }

// ThirdPartyLocationsPath asks for locations of a protocol, or, if it is
// empty, for what a room alias stands for.
func ThirdPartyLocationsPath(protocol string) Path {
	return thirdParty(withName("/location", protocol))
}

// URIUserPath asks, as the first drafts of the specification had it, for the
// user who stands for whom a URI names.
func URIUserPath() Path { return Path{Stable: prefix + "/user"} }

// URIAliasPath asks for the alias of the room that a URI names.
func URIAliasPath() Path { return Path{Stable: prefix + "/alias"} }

func withName(path, protocol string) string {
	if protocol == "" {
		return path
	}
	return path + "/" + url.PathEscape(protocol)
}

func versioned(path string) Path { return Path{prefix + path, path} }

func thirdParty(path string) Path {
	return Path{prefix + "/thirdparty" + path, unstable + "/thirdparty" + path}
}
