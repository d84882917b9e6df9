package sso

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"trestle/internal/matrix"
)

// ResultParameter is the query parameter that [Service.Result] reads.
const ResultParameter = "sso_result"

// An Offer is a provider that a page of this server offers people who log in
// there:
//
//	for _, offer := range service.Offers() {
//		// a link to offer.Start("/path/of/the/page?its=query")
//	}
//
// Behind the link the browser goes to the provider and, if need be, through
// the pages on which a new account gets its name. At the end it comes to the
// path with [ResultParameter] added to its query; [Service.Result] turns that
// request into a user, once.
type Offer struct {
	Provider
	// Start is the link's address. returnTo is a path of this server, perhaps
	// with a query, as the browser is to come back to it.
	Start func(returnTo string) string
}

// Offers are what a login page offers, in the operator's order; none if there
// are no providers.
func (s *Service) Offers() []Offer {
	list := make([]Offer, len(s.providers))
	for i, p := range s.Providers() {
		list[i] = Offer{p, func(returnTo string) string {
			query := url.Values{"return_to": {returnTo}, "mac": {s.returnMAC(p.ID, returnTo)}}
			return StartPath + url.PathEscape(p.ID) + "?" + query.Encode()
		}}
	}
	return list
}

// returnMAC vouches for a path to which this server itself wants browsers back.
func (s *Service) returnMAC(providerID, returnTo string) string {
	mac := hmac.New(sha256.New, s.options.Secret)
	mac.Write([]byte("sso return\x00" + providerID + "\x00" + returnTo))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// BeginReturn is where the link of an [Offer] leads.
func (s *Service) BeginReturn(ctx context.Context, providerID, returnTo, mac string) (*Next, error) {
	p, err := s.provider(providerID)
	if err != nil {
		return nil, err
	}
	if !localPath(returnTo) || !hmac.Equal([]byte(mac), []byte(s.returnMAC(providerID, returnTo))) {
		return nil, matrix.InvalidParam("This link is not one of this server.")
	}
	return s.send(ctx, p, &flow{Return: returnTo}, "")
}

// result sends a browser back to the page that it came from.
func (s *Service) result(ctx context.Context, f *flow) (*Next, error) {
	token, err := s.save(ctx, f, stepResult)
	if err != nil {
		return nil, err
	}
	join := "?"
	if strings.Contains(f.Return, "?") {
		join = "&"
	}
	return &Next{Redirect: f.Return + join + ResultParameter + "=" + url.QueryEscape(token)}, nil
}

// Result is who has logged in, for the request with which the browser comes
// back to the path of [Offer.Start]. It is good once, for some minutes, in the
// browser that began, and for users who may log in: M_INVALID_PARAM,
// M_FORBIDDEN and the like otherwise. Without [ResultParameter] in the query
// there is nobody, and no error.
func (s *Service) Result(r *http.Request) (matrix.UserID, error) {
	token := r.URL.Query().Get(ResultParameter)
	if token == "" {
		return "", nil
	}
	f, err := s.open(r.Context(), r.Cookies(), token, stepResult)
	if err != nil {
		return "", err
	}
	if path, _, _ := strings.Cut(f.Return, "?"); path != r.URL.EscapedPath() {
		return "", noSuchFlow()
	}
	if err := s.options.Accounts.MayLogIn(r.Context(), f.User); err != nil {
		return "", err
	}
	if err := s.use(r.Context(), f, token); err != nil {
		return "", err
	}
	return f.User, nil
}
