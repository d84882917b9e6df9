package oauth

import "trestle/homeserver/browsers"

// Paths below the server's public address.
const (
	RegisterPath  = "/_trestle/oauth/clients"
	AuthorizePath = "/_trestle/oauth/authorize"
	TokenPath     = "/_trestle/oauth/token"
	RevokePath    = "/_trestle/oauth/revoke"
	KeysPath      = "/_trestle/oauth/keys"
	DevicePath    = "/_trestle/oauth/device"
	LinkPath      = "/_trestle/oauth/link"
	LoginPath     = "/_trestle/oauth/login"
	SignUpPath    = "/_trestle/oauth/signup"
	AccountPath   = "/_trestle/account"
)

// OwnPage is a page to go to when somebody has signed in; anything else than
// these is the account's page.
func OwnPage(next string) string {
	return browsers.OwnPage(next, AccountPath, AuthorizePath, LinkPath, AccountPath)
}
