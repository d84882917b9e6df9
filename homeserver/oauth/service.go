package oauth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"strings"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/browsers"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Options are what a [Service] works with. All but Elsewhere, Secret and Now
// are needed.
type Options struct {
	Accounts  *accounts.Service
	DB        *database.DB
	Store     *storage.OAuth
	BaseURL   string // the server's public address, without a slash at the end
	Elsewhere browsers.Elsewhere
	Secret    []byte // authenticates what pages send back; default random
	Now       func() time.Time
}

// Service is the OAuth 2.0 API of one homeserver.
type Service struct {
	options Options
	key     ed25519.PrivateKey // of ID tokens
	pages   *browsers.Pages
}

// New makes the service.
func New(options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	if len(options.Secret) == 0 {
		options.Secret = []byte(rand.Text() + rand.Text())
	}
	if options.Elsewhere.Providers == nil {
		options.Elsewhere = browsers.Nowhere()
	}
	options.BaseURL = strings.TrimRight(options.BaseURL, "/")
	return &Service{options, newKey(options.Secret), browsers.NewPages(options.BaseURL, options.Secret)}
}

// URL is the public address of a path.
func (s *Service) URL(path string) string { return s.options.BaseURL + path }

// Issuer is who this authorization server says it is (RFC 8414, RFC 9207).
func (s *Service) Issuer() string { return s.URL("/") }

// Pages are those for people.
func (s *Service) Pages() *browsers.Pages { return s.pages }

// Elsewhere is where people sign in besides here.
func (s *Service) Elsewhere() browsers.Elsewhere { return s.options.Elsewhere }

func (s *Service) now() int64 { return s.options.Now().UnixMilli() }

// newSecret makes a secret with a prefix that tells what it is, and what is
// stored of it.
func newSecret(prefix string) (secret string, hash []byte) {
	secret = prefix + browsers.NewSecret()
	return secret, hashOf(secret)
}

func hashOf(secret string) []byte { return browsers.HashOf(secret) }

// maxClients is how many applications are kept besides those with sessions.
const maxClients = 10_000

// Register keeps what an application says about itself, and tells the ID under
// which it is known from now on (RFC 7591).
func (s *Service) Register(ctx context.Context, metadata []byte) (string, *Client, error) {
	client, err := ParseClient(metadata)
	if err != nil {
		return "", nil, err
	}
	id, err := client.ID()
	if err != nil {
		return "", nil, err
	}
	text, err := json.Marshal(client)
	if err != nil {
		return "", nil, err
	}
	return id, client, s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.SaveClient(ctx, tx, id, string(text), s.now(), maxClients)
	})
}

// Client is an application that has registered, or invalid_client.
func (s *Service) Client(ctx context.Context, id string) (*Client, error) {
	if id == "" || len(id) > 64 {
		return nil, unknownClient()
	}
	text, err := s.options.Store.Client(ctx, id)
	if err != nil {
		return nil, err
	}
	client := new(Client)
	if text == "" || json.Unmarshal([]byte(text), client) != nil {
		return nil, unknownClient()
	}
	return client, nil
}

// ClientOf is the application that a device of a user is, or nil.
func (s *Service) ClientOf(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (*Client, error) {
	session, err := s.options.Store.Session(ctx, user, device)
	if err != nil || session == nil {
		return nil, err
	}
	return s.Client(ctx, session.ClientID)
}

// idleClient is how long an application is kept that nobody uses: some remember
// their ID for when somebody logs in again, and cannot be told otherwise on the
// way to the page where that is done. Expired is
// how long codes are known after their end, so that their holders are told.
const (
	idleClient = 90 * 24 * time.Hour
	expired    = time.Hour
)

// Tidy deletes what is not needed any more.
func (s *Service) Tidy(ctx context.Context) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.Tidy(ctx, tx, storage.OAuthAges{
			Now: s.now(), Expired: s.now() - expired.Milliseconds(), Idle: s.now() - idleClient.Milliseconds(),
		})
	})
}
