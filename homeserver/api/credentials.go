package api

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"

	"trestle/internal/matrix"
)

// A Caller is who makes a request, once that is verified.
type Caller struct {
	UserID     matrix.UserID
	Server     matrix.ServerName // another homeserver that calls; empty for all others
	DeviceID   matrix.DeviceID
	AppService string // the ID of the application service that calls; empty for people
	Guest      bool
	Admin      bool
	Locked     bool  // may do nothing but log out
	Suspended  bool  // may read, and write little
	Unlimited  bool  // exempt from rate limits
	Delegated  bool  // an application service that acts for a person who lets it
	Watcher    bool  // an application service that acts as somebody whom it neither made nor has claimed for itself
	TokenID    int64 // the access token's number; 0 for application services

	RemoteAddr string // the address, without a port, that the request came from
	UserAgent  string
}

// Credentials are what a caller presents, unverified.
type Credentials struct {
	Token          string
	AssertedUser   matrix.UserID   // Application Service API § Identity assertion
	AssertedDevice matrix.DeviceID // the same, device_id
	UserToken      string          // of a user who lets an application service act
	RemoteAddr     string
	UserAgent      string
}

// An Authenticator verifies credentials. Its errors are answered as they are;
// M_UNKNOWN_TOKEN is the usual one.
type Authenticator interface {
	Authenticate(ctx context.Context, presented Credentials) (Caller, error)
}

// A SignedRequest is a request as another homeserver has made it, unverified.
type SignedRequest struct {
	Method         string
	URI            string   // path and query, as they came
	Authorizations []string // headers
	Content        []byte   // nil: none
	RemoteAddr     string
}

// A ServerAuthenticator verifies the signatures of other homeservers (Server-Server API § Request
// Authentication). Its errors are answered as they are; M_UNAUTHORIZED is the usual one.
type ServerAuthenticator interface {
	AuthenticateServer(ctx context.Context, presented SignedRequest) (matrix.ServerName, error)
}

// authenticateServer verifies which homeserver calls. Its signature is about the body as well, which is read
// before, up to the route's limit.
func (x *exchange) authenticateServer() error {
	x.who.RemoteAddr, x.who.UserAgent = x.remoteAddr(), x.r.UserAgent()
	presented := SignedRequest{
		Method: x.r.Method, URI: x.r.RequestURI, Authorizations: x.r.Header.Values("Authorization"), RemoteAddr: x.who.RemoteAddr,
	}
	var body bytes.Buffer
	if len(presented.Authorizations) > 0 { // else nobody is going to be believed
		if err := x.readBody(&body); err != nil {
			return err
		}
	}
	if !strings.HasPrefix(presented.URI, "/") {
		presented.URI = x.r.URL.RequestURI() // it came with scheme and host
	}
	if body.Len() > 0 {
		presented.Content = body.Bytes()
	}
	server, err := x.server.options.Servers.AuthenticateServer(x.ctx(), presented)
	if err != nil {
		return err
	}
	x.who.Server = server
	x.r.Body, x.r.ContentLength = io.NopCloser(bytes.NewReader(presented.Content)), int64(body.Len())
	return nil
}

// authenticate fills in who calls, as far as the route wants to know.
func (x *exchange) authenticate() error {
	auth := x.route.Auth
	switch auth {
	case None:
		x.who.RemoteAddr, x.who.UserAgent = x.remoteAddr(), x.r.UserAgent()
		return nil
	case OtherServer:
		return x.authenticateServer()
	}
	presented := x.credentials()
	if presented.Token == "" {
		if auth == Optional {
			x.who.RemoteAddr, x.who.UserAgent = presented.RemoteAddr, presented.UserAgent
			return nil
		}
		return matrix.MissingToken()
	}
	if err := presented.check(); err != nil {
		return err
	}
	who, err := x.server.options.Authenticator.Authenticate(x.ctx(), presented)
	if err != nil {
		return err
	}
	who.RemoteAddr, who.UserAgent = presented.RemoteAddr, presented.UserAgent
	x.who = who
	return permit(x.route, who)
}

// permit holds a verified caller against the route's demand.
func permit(route *Route, who Caller) error {
	auth := route.Auth
	switch {
	case who.Locked && !route.ForLocked:
		return matrix.UserLocked()
	case who.Suspended && !route.ForSuspended && route.Method != http.MethodGet:
		return matrix.UserSuspended()
	case who.Delegated && !route.ForDelegated:
		return matrix.Forbidden("An application service cannot do this for a user who lets it act.")
	case auth == User && who.Guest:
		return matrix.NewError(http.StatusForbidden, "M_GUEST_ACCESS_FORBIDDEN", "Guests cannot do this.")
	case auth == AppService && who.AppService == "":
		return matrix.Forbidden("Only an application service can do this.")
	case auth == Admin && !who.Admin:
		return matrix.Forbidden("Only an administrator of this server can do this.")
	}
	return nil
}

// check refuses an identity that nobody can have.
func (c *Credentials) check() error {
	if err := checkText(string(c.AssertedUser)); err != nil {
		return matrix.InvalidParam("The query parameter user_id is wrong: %v.", err)
	}
	if err := checkText(string(c.AssertedDevice)); err != nil {
		return matrix.InvalidParam("The query parameter device_id is wrong: %v.", err)
	}
	return nil
}

func (x *exchange) credentials() Credentials {
	c := Credentials{RemoteAddr: x.remoteAddr(), UserAgent: x.r.UserAgent()}
	c.Token = bearer(x.r.Header.Get("Authorization"))
	if x.r.URL.RawQuery == "" {
		return c
	}
	eachQuery(x.r.URL.RawQuery, func(key, value string) {
		switch key {
		case "access_token":
			if c.Token == "" {
				c.Token = unescapeQuery(value)
			}
		case "user_id":
			c.AssertedUser = matrix.UserID(unescapeQuery(value))
		case "user_token":
			c.UserToken = unescapeQuery(value)
		case "device_id", "org.matrix.msc3202.device_id":
			if c.AssertedDevice == "" {
				c.AssertedDevice = matrix.DeviceID(unescapeQuery(value))
			}
		}
	})
	return c
}

// bearer is the token of an Authorization header, or empty. The scheme's name
// is compared without case, as RFC 9110 has it.
func bearer(header string) string {
	scheme, token, found := strings.Cut(header, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// eachQuery visits the pairs of a raw query, still escaped.
func eachQuery(raw string, visit func(key, value string)) {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		if strings.ContainsAny(key, "%+") {
			key = unescapeQuery(key)
		}
		visit(key, value)
	}
}

func firstQuery(raw, name string) (value string, found bool) {
	eachQuery(raw, func(key, escaped string) {
		if key == name && !found {
			value, found = unescapeQuery(escaped), true
		}
	})
	return value, found
}

// unescapeQuery gives back what it was given when that is not well escaped;
// the parameter's own type then refuses it or does not.
func unescapeQuery(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}
