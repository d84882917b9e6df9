package oauth

import "net/url"

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

const maxNext = 32 << 10 // bytes

// OwnPage is a page to go to when somebody has signed in: a path of this server
// with its query. Anything else, such as the address of another place, is the
// account's page.
func OwnPage(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || len(next) > maxNext {
		return AccountPath
	}
	switch u.Path {
	case AuthorizePath, LinkPath, AccountPath:
		return u.Path + "?" + u.RawQuery
	}
	return AccountPath
}
