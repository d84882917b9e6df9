package oauth

import (
	"slices"
	"strings"

	"trestle/homeserver/accounts"
	"trestle/internal/matrix"
)

// The scopes of the specification, and the names that they had before.
const (
	stableScope   = "urn:matrix:client:"
	unstableScope = "urn:matrix:org.matrix.msc2967.client:"

	openID       = "openid" // of OpenID Connect: an ID token, too
	fullAccess   = "api:*"
	devicePrefix = "device:"
)

const maxScopeTokens = 20

// A Scope is what a client may do, and as which device; or which application
// service may act for the user.
type Scope struct {
	Device     matrix.DeviceID
	AppService string   // instead of a device
	Tokens     []string // as the client has named them, without those that mean nothing here
}

// String is the scope as it is told to the client.
func (s Scope) String() string { return strings.Join(s.Tokens, " ") }

// ParseScope reads the scope that a client asks for: the whole Client-Server
// API and exactly one device (Client-Server API § Scope), and perhaps an ID
// token; or, alone, that an application service may act for the user.
func ParseScope(text string) (Scope, error) {
	var s Scope
	if service := accounts.GrantedService(strings.TrimSpace(text)); service != "" && !strings.ContainsAny(service, " \t") {
		return Scope{AppService: service, Tokens: []string{accounts.GrantScope(service)}}, nil
	}
	full := false
	tokens := strings.Fields(text)
	if len(tokens) > maxScopeTokens {
		return s, invalidScope("A scope has at most %d parts.", maxScopeTokens)
	}
	for _, token := range tokens {
		if slices.Contains(s.Tokens, token) {
			continue
		}
		name, ok := strings.CutPrefix(token, stableScope)
		if !ok {
			name, ok = strings.CutPrefix(token, unstableScope)
		}
		device, isDevice := strings.CutPrefix(name, devicePrefix)
		switch {
		case token == openID:
		case ok && name == fullAccess:
			full = true
		case ok && isDevice && validDevice(device) && (s.Device == "" || string(s.Device) == device):
			s.Device = matrix.DeviceID(device)
		case ok && isDevice:
			return Scope{}, invalidScope("There must be one device, whose ID has 1 to %d of A-Z a-z 0-9 - . _ ~.", matrix.MaxIDLength)
		default:
			return Scope{}, invalidScope("The scope %.100q is not known here.", token)
		}
		s.Tokens = append(s.Tokens, token)
	}
	if !full || s.Device == "" {
		return Scope{}, invalidScope("The scope needs %s and one device.", stableScope+fullAccess)
	}
	return s, nil
}

func validDevice(id string) bool { return id != "" && len(id) <= matrix.MaxIDLength && unreserved(id) }

// unreserved texts have only what RFC 3986 § 2.3 lets stand everywhere.
func unreserved(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
	})
}
