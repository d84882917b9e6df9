package sso

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"trestle/homeserver/accounts"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A LoginRequest is what a client sends people here with.
type LoginRequest struct {
	Provider string // empty: people choose, if there are several
	Client   string // redirectUrl
	Action   string // login, register or nothing
}

// BeginLogin sends a browser to a provider, or to where people choose one.
// M_NOT_FOUND if there is no such provider.
func (s *Service) BeginLogin(ctx context.Context, r LoginRequest) (*Next, error) {
	if err := s.CheckLogin(r); err != nil {
		return nil, err
	}
	if r.Provider == "" && len(s.providers) > 1 {
		query := url.Values{"redirectUrl": {r.Client}}
		if r.Action != "" {
			query.Set("action", r.Action)
		}
		return &Next{Redirect: ChoosePath + "?" + query.Encode()}, nil
	}
	if r.Provider == "" && len(s.providers) == 1 {
		r.Provider = s.providers[0].options.ID
	}
	p, err := s.provider(r.Provider)
	if err != nil {
		return nil, err
	}
	prompt := ""
	if r.Action == "register" {
		prompt = "create"
	}
	return s.send(ctx, p, &flow{Client: r.Client}, prompt)
}

// CheckLogin is the errors of a request, whatever the provider is.
func (s *Service) CheckLogin(r LoginRequest) error {
	if _, err := parseTarget(r.Client); err != nil {
		return err
	}
	if r.Action != "" && r.Action != "login" && r.Action != "register" {
		return matrix.InvalidParam("action is login or register.")
	}
	if len(s.providers) == 0 {
		return matrix.NotFound("Nobody logs in by other places here.")
	}
	return nil
}

// send sends a browser to a provider. The prompt is what the provider shall
// ask, if it knows that.
func (s *Service) send(ctx context.Context, p *provider, f *flow, prompt string) (*Next, error) {
	m, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	f.Provider, f.Nonce, f.Verifier = p.options.ID, rand.Text(), oauth2.GenerateVerifier()
	cookie := s.begin(f)
	state, err := s.save(ctx, f, stepAsked)
	if err != nil {
		return nil, err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)}
	if prompt != "" && (prompt != "create" || m.registers) {
		options = append(options, oauth2.SetAuthURLParam("prompt", prompt))
	}
	return &Next{Redirect: m.oauth.AuthCodeURL(state, options...), Cookie: cookie}, nil
}

// Callback takes what a provider has given a browser to bring here.
func (s *Service) Callback(ctx context.Context, cookies []*http.Cookie, providerID string, query url.Values) (*Next, error) {
	p, err := s.provider(providerID)
	if err != nil {
		return nil, err
	}
	state := query.Get("state")
	f, err := s.open(ctx, cookies, state, stepAsked)
	if err != nil {
		return nil, err
	}
	// Each provider has a callback of its own, so that none can be taken for
	// another one.
	if f.Provider != providerID {
		return nil, noSuchFlow()
	}
	m, err := p.discover(ctx)
	if err != nil {
		return nil, err
	}
	// Whatever comes now, this state was good once.
	if err := s.use(ctx, f, state); err != nil {
		return nil, err
	}
	code, err := p.answered(m, query)
	if err != nil {
		return nil, err
	}
	said, err := p.redeem(ctx, m, code, f)
	if err != nil {
		return nil, err
	}
	who, err := p.person(said)
	if err != nil {
		return nil, err
	}
	f.Login = accounts.SSOSession{Issuer: p.options.Issuer, Subject: who.Subject}
	if session := said.Text("sid"); len(session) <= maxIdentifier {
		f.Login.Session = session
	}
	return s.arrived(ctx, p, f, who)
}

// arrived goes on with somebody whom a provider has vouched for.
func (s *Service) arrived(ctx context.Context, p *provider, f *flow, who *person) (*Next, error) {
	f.Nonce, f.Verifier = "", ""
	user, err := s.user(ctx, p, who.Subject)
	if err != nil {
		return nil, err
	}
	if f.Session != "" {
		return s.confirmed(ctx, p, f, user)
	}
	if user == "" && p.options.LinkExisting {
		if user, err = s.link(ctx, p, who); err != nil {
			return nil, err
		}
	}
	if user == "" {
		return s.welcome(ctx, p, f, who)
	}
	if p.options.Update {
		s.update(ctx, user, who)
	}
	return s.known(ctx, f, user)
}

// known goes on with a user, who may have to say that they know the client.
func (s *Service) known(ctx context.Context, f *flow, user matrix.UserID) (*Next, error) {
	if err := s.options.Accounts.MayLogIn(ctx, user); err != nil {
		return nil, err
	}
	f.User, f.Person = user, nil
	if f.Return != "" {
		return s.result(ctx, f)
	}
	client, err := parseTarget(f.Client)
	if err != nil {
		return nil, err
	}
	if s.trusts(client) {
		return s.hand(ctx, f, client)
	}
	token, err := s.save(ctx, f, stepClient)
	if err != nil {
		return nil, err
	}
	return &Next{Redirect: nextURL(token)}, nil
}

// hand gives the client its token.
func (s *Service) hand(ctx context.Context, f *flow, client *url.URL) (*Next, error) {
	token, err := s.options.Accounts.NewRedirectToken(ctx, f.User, f.Login)
	if err != nil {
		return nil, err
	}
	return &Next{Redirect: withLoginToken(client, token), Cookie: s.cookie(f.ID, "")}, nil
}

func nextURL(token string) string { return NextPath + "?token=" + url.QueryEscape(token) }

// link gives somebody the account of the name that they have at the provider,
// unless that is somebody else's there already.
func (s *Service) link(ctx context.Context, p *provider, who *person) (matrix.UserID, error) {
	user, err := s.options.Accounts.Named(ctx, who.LocalPart)
	if err != nil || user == "" {
		return "", err
	}
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		_, err := s.options.Accounts.LinkFirst(ctx, tx, p.options.Issuer, who.Subject, user)
		return err
	})
	if err != nil {
		return "", err
	}
	// Who was not linked now may have been so a moment ago, in another window.
	return s.user(ctx, p, who.Subject)
}

// update sets the display name. That it could not be set keeps nobody out.
func (s *Service) update(ctx context.Context, user matrix.UserID, who *person) {
	if who.DisplayName == "" {
		return
	}
	name, _, err := s.options.Accounts.Profile(ctx, user)
	if err == nil && name != who.DisplayName {
		err = s.options.Accounts.SetProfile(ctx, user, accounts.DisplayName, who.DisplayName)
	}
	if err != nil {
		s.options.Log.WarnContext(ctx, "display name not updated", "user", user, "err", err)
	}
}
