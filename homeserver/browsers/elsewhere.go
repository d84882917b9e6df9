package browsers

import (
	"net/http"

	"trestle/internal/matrix"
)

// Elsewhere is where people sign in who do not do so here.
type Elsewhere struct {
	// Providers are what a login page offers, in order.
	Providers func() []Provider
	// Result is who has signed in at one of them, for the request with which
	// the browser comes back; empty for a request that does not say.
	Result func(r *http.Request) (matrix.UserID, error)
}

// Nowhere is no place at all.
func Nowhere() Elsewhere {
	return Elsewhere{
		Providers: func() []Provider { return nil },
		Result:    func(*http.Request) (matrix.UserID, error) { return "", nil },
	}
}

// A Provider is a place where people prove who they are. Start is where a
// browser goes for it, to come back to a path of this server.
type Provider struct {
	ID    string
	Name  string
	Start func(returnTo string) string
}
