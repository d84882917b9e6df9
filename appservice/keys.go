package appservice

import "trestle/internal/matrix"

// A KeyAnswer is what a service that keeps keys of its users by itself has
// answered when it was asked for some (MSC3983, MSC3984). Nobody has looked at
// the body yet; what it says of others than the users does not count.
type KeyAnswer struct {
	Users []matrix.UserID
	Body  []byte
}

// KeyClaimPath takes claims of one-time keys.
func KeyClaimPath() Path { return Path{Stable: unstable + "/org.matrix.msc3983/keys/claim"} }

// KeyQueryPath takes queries of device keys and cross-signing keys.
func KeyQueryPath() Path { return Path{Stable: unstable + "/org.matrix.msc3984/keys/query"} }
