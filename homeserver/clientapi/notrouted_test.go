package clientapi_test

// notRouted are the operations that this server does not have yet. The list
// only gets shorter: an operation that is on it and is served fails the test.
var notRouted = []string{
	"GET /.well-known/matrix/policy_server",
	"GET /_matrix/client/v1/auth_metadata",
	"GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event",
	"GET /_matrix/client/v3/login/sso/redirect",
	"GET /_matrix/client/v3/login/sso/redirect/{idpId}",
	"GET /_matrix/client/v3/notifications",
	"GET /_matrix/client/v3/pushers",
	"GET /_matrix/client/v3/voip/turnServer",
	"POST /_matrix/client/v3/pushers/set",
	"POST /_matrix/client/v3/rooms/{roomId}/report",
	"POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}",
	"POST /_matrix/client/v3/search",
	"POST /_matrix/client/v3/users/{userId}/report",
}
