// Package turn gives people credentials for a TURN server, which relays calls
// between clients that cannot reach each other.
package turn

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"strconv"
	"time"

	"trestle/internal/matrix"
)

// Options are what a Service needs.
type Options struct {
	URIs []string
	// Secret is shared with the TURN server; empty: everybody gets Username
	// and Password.
	Secret             string
	Username, Password string
	Lifetime           time.Duration // of credentials
	Guests             bool          // guests get them, too
	Now                func() time.Time
}

// Credentials let a client use the TURN server for a while.
type Credentials struct {
	Username, Password string
	URIs               []string
	Lifetime           time.Duration
}

// A Service makes credentials.
type Service struct{ options Options }

// New makes a Service.
func New(options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Service{options}
}

// Credentials are those of a user. M_NOT_FOUND if there is no TURN server,
// M_GUEST_ACCESS_FORBIDDEN for guests who may not use it.
func (s *Service) Credentials(user matrix.UserID, guest bool) (*Credentials, error) {
	o := &s.options
	if len(o.URIs) == 0 {
		return nil, matrix.NotFound("This server knows no TURN server.")
	}
	if guest && !o.Guests {
		return nil, matrix.NewError(403, "M_GUEST_ACCESS_FORBIDDEN", "Guests may not use the TURN server.")
	}
	c := &Credentials{Username: o.Username, Password: o.Password, URIs: o.URIs, Lifetime: o.Lifetime}
	if o.Secret != "" {
		c.Username = strconv.FormatInt(o.Now().Add(o.Lifetime).Unix(), 10) + ":" + string(user)
		c.Password = password(o.Secret, c.Username)
	}
	return c, nil
}

// password is what the TURN server computes, too, from the secret and the name
// that it is told (draft-uberti-behave-turn-rest-00, section 2.2).
func password(secret, username string) string {
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(username))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
