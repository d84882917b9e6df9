package sso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	"trestle/internal/claims"
	"trestle/internal/matrix"
)

// ProviderOptions are a provider and how its people become users.
type ProviderOptions struct {
	Provider
	Issuer       string
	ClientID     string
	ClientSecret string // empty: a public client
	Scopes       []string

	LocalPart    claims.Template
	DisplayName  claims.Template
	Email        claims.Template
	Require      []Requirement // all of them
	SignUp       bool          // people who are new get an account
	LinkExisting bool          // people get the account of the name that they have there
	Update       bool          // the display name is set at each login
	// EndEverything: a logout there ends all sessions of the user here.
	EndEverything bool
}

// A Requirement is a claim that has to have a value, or to be a list with it.
type Requirement struct{ Claim, Value string }

// needed are the claims that are looked at.
func (o *ProviderOptions) needed() []string {
	names := slices.Concat(o.LocalPart.Names(), o.DisplayName.Names(), o.Email.Names())
	for _, r := range o.Require {
		names = append(names, r.Claim)
	}
	return names
}

// A provider is where people log in. What it says about itself is asked for
// when somebody first needs it, and again from time to time.
type provider struct {
	options  ProviderOptions
	callback string // the redirect URI
	http     *http.Client
	now      func() time.Time
	log      *slog.Logger
	flight   singleflight.Group

	mu       sync.Mutex
	known    *metadata // nil: nothing yet
	knownAt  time.Time
	failed   error
	failedAt time.Time
}

// metadata is what a provider has said about itself.
type metadata struct {
	provider *oidc.Provider
	oauth    oauth2.Config
	verifier *oidc.IDTokenVerifier
	// saysIssuer: its redirects name it (RFC 9207).
	saysIssuer bool
	registers  bool // prompt=create is understood
}

const (
	metadataLifetime = time.Hour
	// retryAfter is how long a provider that could not be reached is left alone.
	retryAfter = 5 * time.Second
	// providerTime is how long a provider may take for an answer.
	providerTime = 10 * time.Second
)

// discover is what the provider says about itself, at most an hour ago. Once
// it was reached, it may be away for longer.
func (p *provider) discover(ctx context.Context) (*metadata, error) {
	p.mu.Lock()
	known, fresh := p.known, p.now().Sub(p.knownAt) < metadataLifetime
	failed, resting := p.failed, p.now().Sub(p.failedAt) < retryAfter
	p.mu.Unlock()
	switch {
	case known != nil && (fresh || failed != nil && resting):
		return known, nil
	case failed != nil && resting:
		return nil, p.unreachable()
	}
	// Who waits may go away; the others still want the answer.
	result := p.flight.DoChan("", func() (any, error) { return p.fetch(context.WithoutCancel(ctx)) })
	select {
	case r := <-result:
		if r.Err == nil {
			return r.Val.(*metadata), nil
		}
		p.log.WarnContext(ctx, "identity provider not reached", "provider", p.options.ID, "err", r.Err)
		if known != nil {
			return known, nil
		}
		return nil, p.unreachable()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *provider) fetch(ctx context.Context) (*metadata, error) {
	ctx, cancel := context.WithTimeout(ctx, providerTime)
	defer cancel()
	m, err := p.ask(oidc.ClientContext(ctx, p.http))
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.failed, p.failedAt = err, p.now()
		return nil, err
	}
	p.known, p.knownAt, p.failed = m, p.now(), nil
	return m, nil
}

func (p *provider) ask(ctx context.Context) (*metadata, error) {
	found, err := oidc.NewProvider(ctx, p.options.Issuer)
	if err != nil {
		return nil, err
	}
	var said struct {
		AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
		Prompts     []string `json:"prompt_values_supported"`
		SaysIssuer  bool     `json:"authorization_response_iss_parameter_supported"`
	}
	if err := found.Claims(&said); err != nil {
		return nil, err
	}
	endpoint := found.Endpoint()
	for _, address := range []string{endpoint.AuthURL, endpoint.TokenURL} {
		if !webAddress(address) {
			return nil, fmt.Errorf("%.80q is no endpoint", address)
		}
	}
	// Without a word about it, it is the header (OpenID Connect Discovery § 3).
	endpoint.AuthStyle = oauth2.AuthStyleInHeader
	if p.options.ClientSecret == "" || len(said.AuthMethods) > 0 && !slices.Contains(said.AuthMethods, "client_secret_basic") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return &metadata{
		provider: found,
		oauth: oauth2.Config{
			ClientID: p.options.ClientID, ClientSecret: p.options.ClientSecret, Endpoint: endpoint,
			RedirectURL: p.callback, Scopes: p.options.Scopes,
		},
		verifier:   found.Verifier(&oidc.Config{ClientID: p.options.ClientID, Now: p.now}),
		saysIssuer: said.SaysIssuer,
		registers:  slices.Contains(said.Prompts, "create"),
	}, nil
}

func (p *provider) unreachable() error {
	return matrix.NewError(http.StatusBadGateway, "M_UNKNOWN", "%s cannot be reached at the moment. Please try again later.", p.options.Name)
}

// maxAnswer bounds what a provider answers, in bytes.
const maxAnswer = 1 << 20

var errTooLarge = errors.New("the answer is too large")

// bounded is a client whose answers end in time and in size, and that follows
// no redirects: what is sent to a provider is for nobody else.
func bounded(client *http.Client) *http.Client {
	if client == nil {
		client = http.DefaultClient
	}
	copied := *client
	if copied.Transport == nil {
		copied.Transport = http.DefaultTransport
	}
	copied.Transport = limited{copied.Transport}
	copied.Timeout = providerTime
	copied.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &copied
}

type limited struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(r)
	if err == nil {
		response.Body = &limitedBody{ReadCloser: response.Body, left: maxAnswer}
	}
	return response, err
}

type limitedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *limitedBody) Read(into []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(into[:min(len(into), b.left)])
	b.left -= n
	return n, err
}
