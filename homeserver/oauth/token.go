package oauth

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	codePrefix   = "trestle_ac_"
	codeLifetime = 2 * 60_000 // ms
)

// Allow is how the browser goes back when the user has allowed the request.
func (s *Service) Allow(ctx context.Context, r *Request, user matrix.UserID) (Return, error) {
	code, hash := newSecret(codePrefix)
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.SaveCode(ctx, tx, hash, storage.OAuthCode{
			ClientID: r.ClientID, UserID: user, Scope: r.Scope.String(), RedirectURI: r.Redirect,
			Challenge: r.Challenge, Nonce: r.Nonce, Lasting: r.Lasting.Milliseconds(), ExpiresAt: s.now() + codeLifetime,
		})
	})
	return s.answer(r, url.Values{"code": {code}}), err
}

// Tokens are what a client gets (RFC 6749 § 5.1).
type Tokens struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    int64  `json:"expires_in"` // seconds
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
	IDToken      string `json:"id_token,omitempty"`
}

func newTokens(l *accounts.Login, scope string) *Tokens {
	return &Tokens{
		AccessToken: l.AccessToken, TokenType: "Bearer", ExpiresIn: l.ExpiresInMS / 1000,
		RefreshToken: l.RefreshToken, Scope: scope,
	}
}

// Token turns what a client has been granted into tokens.
func (s *Service) Token(ctx context.Context, p Parameters) (*Tokens, error) {
	grant, err := p.need("grant_type")
	if err != nil {
		return nil, err
	}
	var with func(context.Context, Parameters, *Client) (*Tokens, error)
	switch grant {
	case GrantCode:
		with = s.byCode
	case GrantRefresh:
		with = s.byRefresh
	case GrantDevice:
		with = s.byDevice
	default:
		return nil, newError("unsupported_grant_type", "There is no grant of the type %.80q here.", grant)
	}
	client, err := s.Client(ctx, p["client_id"])
	if err != nil {
		return nil, err
	}
	if !client.Allows(grant) {
		return nil, newError("unauthorized_client", "The client has not registered for this grant.")
	}
	tokens, err := with(ctx, p, client)
	return tokens, refused(err)
}

// byCode redeems an authorization code. One that comes a second time has been
// stolen, the first time or now: what it gave ends.
func (s *Service) byCode(ctx context.Context, p Parameters, client *Client) (*Tokens, error) {
	code, err := p.need("code")
	if err != nil {
		return nil, err
	}
	verifier, err := p.need("code_verifier")
	if err != nil {
		return nil, err
	}
	hash := hashOf(code)
	found, err := s.options.Store.Code(ctx, hash)
	switch {
	case err != nil:
		return nil, err
	case found == nil || found.ClientID != p["client_id"]:
		return nil, invalidGrant("There is no such code.")
	case found.Used:
		return nil, s.replayed(ctx, hash)
	case found.ExpiresAt <= s.now():
		return nil, invalidGrant("The code has expired.")
	case found.RedirectURI != p["redirect_uri"]:
		return nil, invalidGrant("The code was sent to another redirect URI.")
	case !Proves(verifier, found.Challenge):
		return nil, invalidGrant("The verifier does not prove that the code is yours.")
	}
	return s.begin(ctx, &grant{
		user: found.UserID, clientID: p["client_id"], name: client.Name, scope: found.Scope, nonce: found.Nonce, lasting: found.Lasting, code: hash, use: s.options.Store.UseCode,
	})
}

// A grant is what a user has allowed, about to become a device.
type grant struct {
	user     matrix.UserID
	clientID string
	name     string // of the device, if it is new
	scope    string
	nonce    string
	lasting  int64  // ms that an application service may act
	code     []byte // its hash
	// use uses the code up, false if somebody else did so meanwhile.
	use func(ctx context.Context, tx *database.Tx, code []byte) (bool, error)
}

// begin makes the device of a grant.
func (s *Service) begin(ctx context.Context, g *grant) (*Tokens, error) {
	scope, err := ParseScope(g.scope)
	if err != nil {
		return nil, err
	}
	if scope.AppService != "" {
		return s.delegate(ctx, g, scope)
	}
	device := accounts.NewDevice{ID: scope.Device, Name: g.name, Refresh: true}
	login, err := s.options.Accounts.LoginWith(ctx, g.user, device, func(tx *database.Tx) error {
		if err := g.useUp(ctx, tx); err != nil {
			return err
		}
		session := storage.OAuthSession{UserID: g.user, DeviceID: scope.Device, ClientID: g.clientID, Scope: g.scope}
		return s.options.Store.SaveSession(ctx, tx, session, g.code)
	})
	if err != nil {
		return nil, err
	}
	tokens := newTokens(login, g.scope)
	if slices.Contains(scope.Tokens, openID) {
		tokens.IDToken, err = s.idToken(g)
	}
	return tokens, err
}

// useUp uses the code of a grant up, in the transaction in which it takes effect.
func (g *grant) useUp(ctx context.Context, tx *database.Tx) error {
	unused, err := g.use(ctx, tx, g.code)
	if err == nil && !unused {
		err = invalidGrant("The code has been used already.")
	}
	return err
}

// delegate makes the token with which an application service acts for a user
// (user_token). It is no bearer token: with it alone nobody can do anything.
func (s *Service) delegate(ctx context.Context, g *grant, scope Scope) (*Tokens, error) {
	lasting := time.Duration(g.lasting) * time.Millisecond
	token, err := s.options.Accounts.GrantFor(ctx, g.user, scope.AppService, lasting, g.code, func(tx *database.Tx) error {
		return g.useUp(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	return &Tokens{AccessToken: token, TokenType: "user_token", ExpiresIn: g.lasting / 1000, Scope: g.scope}, nil
}

// replayed ends the session that began with a code, if there was one.
func (s *Service) replayed(ctx context.Context, code []byte) error {
	session, err := s.options.Store.SessionOfCode(ctx, code)
	if err != nil {
		return err
	}
	if session == nil {
		if ended, err := s.options.Accounts.WithdrawCode(ctx, code); ended || err != nil {
			return cmp.Or(err, error(invalidGrant("The code was used before: what it was for has ended.")))
		}
		return invalidGrant("There is no such code.")
	}
	if err := s.options.Accounts.RemoveDevices(ctx, session.UserID, []matrix.DeviceID{session.DeviceID}); err != nil {
		return err
	}
	return invalidGrant("The code was used before: the session has ended.")
}

// byRefresh gives new tokens for a refresh token. One whose successor is in use
// already has been stolen, or its successor was: the session ends.
func (s *Service) byRefresh(ctx context.Context, p Parameters, _ *Client) (*Tokens, error) {
	token, err := p.need("refresh_token")
	if err != nil {
		return nil, err
	}
	spent, err := s.options.Store.SessionOfSpent(ctx, hashOf(token))
	if err != nil {
		return nil, err
	}
	if spent != nil && spent.ClientID == p["client_id"] {
		if err := s.options.Accounts.RemoveDevices(ctx, spent.UserID, []matrix.DeviceID{spent.DeviceID}); err != nil {
			return nil, err
		}
		return nil, invalidGrant("The refresh token was used before: the session has ended.")
	}
	session, err := s.sessionOf(ctx, token)
	if err != nil {
		return nil, err
	}
	if session == nil || session.ClientID != p["client_id"] {
		return nil, invalidGrant("There is no such refresh token.")
	}
	if asked := p["scope"]; asked != "" {
		if scope, err := ParseScope(asked); err != nil || !within(scope, session.Scope) {
			return nil, invalidScope("The scope is not what has been granted.")
		}
	}
	login, err := s.options.Accounts.RefreshLocked(ctx, token)
	if err != nil {
		return nil, err
	}
	return newTokens(login, session.Scope), nil
}

// within reports whether all of a scope has been granted.
func within(scope Scope, granted string) bool {
	all, err := ParseScope(granted)
	if err != nil {
		return false
	}
	known := map[string]bool{}
	for _, token := range all.Tokens {
		known[token] = true
	}
	for _, token := range scope.Tokens {
		if !known[token] {
			return false
		}
	}
	return true
}

// sessionOf is the session of an access or a refresh token that came by OAuth,
// or nil.
func (s *Service) sessionOf(ctx context.Context, token string) (*storage.OAuthSession, error) {
	user, device, err := s.options.Accounts.TokenOwner(ctx, token)
	if err != nil || user == "" {
		return nil, err
	}
	return s.options.Store.Session(ctx, user, device)
}

// Issued reports whether a token came by OAuth.
func (s *Service) Issued(ctx context.Context, token string) (bool, error) {
	session, err := s.sessionOf(ctx, token)
	return session != nil, err
}

// Revoke ends the session of an access or a refresh token (RFC 7009). Whoever
// has the token may do so: those who find leaked ones need not be its client.
// Tokens of other logins are not this API's; they, and what is no token, count
// as revoked already.
func (s *Service) Revoke(ctx context.Context, p Parameters) error {
	token, err := p.need("token")
	if err != nil {
		return err
	}
	switch p["token_type_hint"] {
	case "", "access_token", "refresh_token":
	default:
		return newError("unsupported_token_type", "There are access tokens and refresh tokens here.")
	}
	session, err := s.sessionOf(ctx, token)
	if err != nil {
		return err
	}
	if session == nil {
		return s.options.Accounts.WithdrawToken(ctx, token)
	}
	return s.options.Accounts.RemoveDevices(ctx, session.UserID, []matrix.DeviceID{session.DeviceID})
}
