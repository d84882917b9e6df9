package clientapi_test

// notRouted are the operations that this server does not have yet. The list
// only gets shorter: an operation that is on it and is served fails the test.
var notRouted = []string{
	"GET /_matrix/client/v3/login/sso/redirect",
	"GET /_matrix/client/v3/login/sso/redirect/{idpId}",
	"GET /_matrix/client/v1/auth_metadata",
	"GET /_matrix/client/v3/pushers",
	"POST /_matrix/client/v3/pushers/set",
	"GET /_matrix/client/v3/voip/turnServer",
	"POST /_matrix/client/v3/rooms/{roomId}/report",
	"POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}",
	"POST /_matrix/client/v3/search",
	"POST /_matrix/client/v3/users/{userId}/report",
}
