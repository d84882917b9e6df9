package client

import (
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"trestle/internal/matrix"
)

// requestTimeout bounds one attempt of one request. Creating a room or the
// first join of a virtual user takes a busy homeserver a while.
const requestTimeout = 60 * time.Second

// Config says whom a [Client] talks to, and as whom.
type Config struct {
	HomeserverURL string            // as the service reaches it
	ServerName    matrix.ServerName // the server part of the users' IDs
	ASToken       string            // as_token of the registration
	SenderLocal   string            // sender_localpart: the service's own user
	HTTP          *http.Client      // nil: one that keeps enough connections open
}

// A Client acts as the users of an application service.
type Client struct {
	config Config
	base   *url.URL
	http   *http.Client
	files  *http.Client // for what may take long
	bot    matrix.UserID

	ordering ordering

	mu         sync.Mutex
	registered map[matrix.UserID]bool
}

// New makes a client; it sends nothing.
func New(config Config) (*Client, error) {
	base, err := url.Parse(config.HomeserverURL)
	if err != nil {
		return nil, fmt.Errorf("homeserver address: %w", err)
	}
	if base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("homeserver address %q is not an http:// or https:// URL", config.HomeserverURL)
	}
	if config.ASToken == "" {
		return nil, fmt.Errorf("an application service needs its as_token")
	}
	bot, err := matrix.ParseUserID(string(matrix.NewUserID(config.SenderLocal, config.ServerName)))
	if err != nil {
		return nil, fmt.Errorf("the service's own user: %w", err)
	}
	client := config.HTTP
	if client == nil {
		client = newHTTPClient()
	}
	files := &http.Client{Transport: client.Transport, CheckRedirect: client.CheckRedirect}
	if transport, ok := client.Transport.(*http.Transport); ok {
		patient := transport.Clone()
		patient.ResponseHeaderTimeout = mediaWait
		files.Transport = patient
	}
	return &Client{config: config, base: base, http: client, files: files, bot: bot, registered: map[matrix.UserID]bool{}}, nil
}

// newHTTPClient keeps connections for many senders at once: the default of two
// idle ones would open and close one for nearly every message.
func newHTTPClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 64
	transport.MaxIdleConnsPerHost = 64
	transport.MaxConnsPerHost = 64
	return &http.Client{Transport: transport, Timeout: requestTimeout}
}

// Bot is the service's own user.
func (c *Client) Bot() *User { return c.As(c.bot) }

// As acts as a user of the service's namespace.
func (c *Client) As(user matrix.UserID) *User {
	return &User{ID: user, client: c, api: &mautrix.Client{
		HomeserverURL:       c.base,
		UserID:              id.UserID(user),
		AccessToken:         c.config.ASToken,
		UserAgent:           "trestle-bridge",
		Client:              c.http,
		Log:                 zerolog.Nop(),
		IgnoreRateLimit:     true, // Retry waits, and can be interrupted
		SetAppServiceUserID: true,
		ResponseSizeLimit:   64 << 20,
	}}
}

// Registered notes that a user exists, so that EnsureRegistered need not ask.
func (c *Client) Registered(user matrix.UserID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.registered[user] = true
}

// Unregistered undoes Registered.
func (c *Client) Unregistered(user matrix.UserID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.registered, user)
}

func (c *Client) isRegistered(user matrix.UserID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.registered[user]
}
