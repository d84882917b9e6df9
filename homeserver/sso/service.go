package sso

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The paths that browsers come to. They are below the path of the other pages
// of this server.
const (
	CallbackPath = "/_trestle/client/sso/callback/" // and the provider's ID
	StartPath    = "/_trestle/client/sso/start/"    // and the provider's ID
	ConfirmPath  = "/_trestle/client/sso/confirm"
	ChoosePath   = "/_trestle/client/sso/choose"
	NextPath     = "/_trestle/client/sso/next"
)

// LoginPath begins a login of a client; the provider's ID may follow.
const LoginPath = "/_matrix/client/v3/login/sso/redirect"

// Options are what a [Service] works with.
type Options struct {
	DB       *database.DB
	Flows    *storage.SSOFlows
	Accounts *accounts.Service

	BaseURL        string // under which browsers reach this server, without a slash at its end
	Providers      []ProviderOptions
	TrustedClients []string     // whose people are not asked whether they know them; see [Trusts]
	Secret         []byte       // that the processes on one database share
	HTTP           *http.Client // for requests to providers

	Now func() time.Time
	Log *slog.Logger
}

// Service is the logins by other places.
type Service struct {
	options   Options
	providers []*provider
	secure    bool // browsers come by TLS
}

// New makes the service. It asks providers nothing before somebody wants to
// log in by them.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	s := &Service{options: o, secure: strings.HasPrefix(o.BaseURL, "https://")}
	client := bounded(o.HTTP)
	for _, p := range o.Providers {
		s.providers = append(s.providers, &provider{
			options: p, http: client, now: o.Now, log: o.Log,
			callback: o.BaseURL + CallbackPath + url.PathEscape(p.ID),
		})
	}
	return s
}

// A Provider is a place to log in, as people are shown it.
type Provider struct {
	ID    string
	Name  string
	Icon  string // mxc://, or empty
	Brand string // or empty
}

// Providers are the places to log in, in the operator's order.
func (s *Service) Providers() []Provider {
	list := make([]Provider, len(s.providers))
	for i, p := range s.providers {
		list[i] = p.options.Provider
	}
	return list
}

func (s *Service) provider(id string) (*provider, error) {
	for _, p := range s.providers {
		if p.options.ID == id {
			return p, nil
		}
	}
	return nil, matrix.NotFound("Nobody can log in by %.80q here.", id)
}

// now is the time in Unix milliseconds.
func (s *Service) now() int64 { return s.options.Now().UnixMilli() }

// A Next is what a browser does next.
type Next struct {
	Redirect string       // where it goes
	Cookie   *http.Cookie // that it gets or loses; nil: none
	// Done: user-interactive authentication is confirmed, and the window that
	// opened this one wants to know it.
	Done bool
}

// user is who a subject is here, or empty.
func (s *Service) user(ctx context.Context, p *provider, subject string) (matrix.UserID, error) {
	return s.options.Accounts.SubjectUser(ctx, p.options.Issuer, subject)
}
