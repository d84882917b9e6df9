package clientapi

import (
	"strings"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// delegatedMay is what application services may do for people who let them:
// the beginnings of paths, behind a method or "*". Whatever is not here is
// closed: accounts and their devices, keys, profiles and logins, and what
// operators do.
var delegatedMay = []string{
	"* /_matrix/client/v3/rooms/",
	"* /_matrix/client/v1/rooms/",
	"* /_matrix/client/v3/createRoom",
	"* /_matrix/client/v3/join/",
	"* /_matrix/client/v3/knock/",
	"* /_matrix/client/v3/joined_rooms",
	"* /_matrix/client/v3/publicRooms",
	"* /_matrix/client/v3/directory/room/",
	"* /_matrix/client/v3/user_directory/search",
	"* /_matrix/client/v3/search",
	"* /_matrix/client/v3/sync",
	"* /_matrix/client/v3/presence/",
	"* /_matrix/client/v3/user/{userId}/filter",
	"* /_matrix/client/v3/user/{userId}/account_data/",
	"* /_matrix/client/v3/user/{userId}/rooms/",
	"* /_matrix/client/unstable/com.beeper.backfill/",
	"* /_matrix/client/v1/media/",
	"* /_matrix/media/",
	"GET /_matrix/client/v3/pushrules/",
	"GET /_matrix/client/v3/profile/",
	"GET /_matrix/client/v3/capabilities",
	"GET /_matrix/client/v3/account/whoami",
	"GET /_matrix/client/v3/thirdparty/",
	"GET /_matrix/client/versions",
	"POST /_matrix/client/v3/keys/query",
}

func mayBeDelegated(r *api.Route) bool {
	for _, listed := range delegatedMay {
		method, path, _ := strings.Cut(listed, " ")
		if (method == "*" || method == r.Method) && strings.HasPrefix(r.Path, path) {
			return true
		}
	}
	return false
}

// checkDelegated keeps application services from the account data of people who
// let them act that is about the account itself; tags, direct chats and what
// has names of others is theirs to keep in step with another network.
func checkDelegated(who api.Caller, dataType string) error {
	own := strings.HasPrefix(dataType, "m.") || strings.HasPrefix(dataType, "org.matrix.")
	if who.Delegated && own && dataType != "m.direct" {
		return matrix.Forbidden("An application service cannot set %.80s for a user who lets it act.", dataType)
	}
	return nil
}
