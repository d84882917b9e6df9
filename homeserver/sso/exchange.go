package sso

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"trestle/internal/claims"
	"trestle/internal/matrix"
)

// maxCode bounds the code that a provider gives to a browser, in bytes.
const maxCode = 4096

// answered is the code that the browser brings back from the provider.
func (p *provider) answered(m *metadata, query url.Values) (string, error) {
	// Who answers in another one's name wants its code (RFC 9207).
	if issuer := query.Get("iss"); (issuer != "" || m.saysIssuer) && issuer != p.options.Issuer {
		return "", matrix.Forbidden("The answer is not from %s.", p.options.Name)
	}
	switch reason := query.Get("error"); reason {
	case "":
	case "access_denied":
		return "", matrix.Forbidden("You were not logged in at %s.", p.options.Name)
	default:
		return "", matrix.Forbidden("%s did not log you in: %.80q %.200q", p.options.Name, reason, query.Get("error_description"))
	}
	code := query.Get("code")
	if code == "" || len(code) > maxCode {
		return "", matrix.InvalidParam("%s has sent you back without an answer.", p.options.Name)
	}
	return code, nil
}

// redeem turns a code into what the provider says about whoever has got it
// there. The ID token holds against everything that OpenID Connect Core §
// 3.1.3.7 asks for.
func (p *provider) redeem(ctx context.Context, m *metadata, code string, f *flow) (claims.Claims, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(ctx, p.http), 2*providerTime)
	defer cancel()
	token, err := m.oauth.Exchange(ctx, code, oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return nil, p.explain(ctx, "redeem a code", err)
	}
	said, err := p.verify(ctx, m, token, f.Nonce)
	if err != nil {
		return nil, p.explain(ctx, "verify an ID token", err)
	}
	if m.provider.UserInfoEndpoint() == "" || !slices.ContainsFunc(p.options.needed(), func(name string) bool { return !said.Has(name) }) {
		return said, nil
	}
	more, err := p.userInfo(ctx, m, token, said.Text("sub"))
	if err != nil {
		return nil, p.explain(ctx, "ask about a user", err)
	}
	if said.Has("email") && said.Text("email") != more.Text("email") {
		delete(more, "email_verified") // of another address
	}
	for name, value := range more {
		if !said.Has(name) {
			said[name] = value
		}
	}
	return said, nil
}

// errNotBelieved is wrapped by what is wrong with what a provider says.
var errNotBelieved = errors.New("not to be believed")

func (p *provider) verify(ctx context.Context, m *metadata, token *oauth2.Token, nonce string) (claims.Claims, error) {
	raw, _ := token.Extra("id_token").(string)
	if raw == "" {
		return nil, fmt.Errorf("%w: there is no ID token", errNotBelieved)
	}
	id, err := m.verifier.Verify(ctx, raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotBelieved, err)
	}
	if nonce == "" || !hmac.Equal([]byte(id.Nonce), []byte(nonce)) {
		return nil, fmt.Errorf("%w: the nonce is another one", errNotBelieved)
	}
	if id.AccessTokenHash != "" {
		if err := id.VerifyAccessToken(token.AccessToken); err != nil {
			return nil, fmt.Errorf("%w: %w", errNotBelieved, err)
		}
	}
	var object json.RawMessage
	if err := id.Claims(&object); err != nil {
		return nil, err
	}
	said, err := claims.Read(object)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNotBelieved, err)
	}
	switch party := said.Text("azp"); {
	case party != "" && party != p.options.ClientID:
		return nil, fmt.Errorf("%w: the token was made for %.80q", errNotBelieved, party)
	case party == "" && len(id.Audience) > 1:
		return nil, fmt.Errorf("%w: the token is for several, and made for none of them", errNotBelieved)
	case said.Text("sub") != id.Subject || id.Subject == "" || len(id.Subject) > maxSubject:
		return nil, fmt.Errorf("%w: the subject is no identifier", errNotBelieved)
	}
	return said, nil
}

// maxSubject is the length of a subject (OpenID Connect Core § 2).
const maxSubject = 255

// userInfo is what the provider says beyond the ID token, about the same person.
func (p *provider) userInfo(ctx context.Context, m *metadata, token *oauth2.Token, subject string) (claims.Claims, error) {
	info, err := m.provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, err
	}
	if info.Subject != subject {
		return nil, fmt.Errorf("%w: it speaks of somebody else", errNotBelieved)
	}
	var object json.RawMessage
	if err := info.Claims(&object); err != nil {
		return nil, err
	}
	return claims.Read(object)
}

// explain is what people are told of what went wrong; the log has the rest.
func (p *provider) explain(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return err
	}
	p.log.WarnContext(ctx, "login by an identity provider failed", "provider", p.options.ID, "at", doing, "err", err)
	var refused *oauth2.RetrieveError
	switch {
	case errors.Is(err, errNotBelieved):
		return matrix.Forbidden("What %s says about you cannot be believed.", p.options.Name)
	case errors.As(err, &refused) && refused.Response != nil && refused.Response.StatusCode < http.StatusInternalServerError:
		return matrix.Forbidden("%s did not confirm your login. Go back to your application and begin again.", p.options.Name)
	}
	return p.unreachable()
}
