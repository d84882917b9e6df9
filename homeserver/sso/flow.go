package sso

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// flowLifetime is how long somebody may take from one step to the next.
const flowLifetime = 15 * time.Minute

// A step is what a flow waits for.
type step string

const (
	stepAsked  step = "asked"  // the provider to send the browser back
	stepName   step = "name"   // somebody new to choose a name
	stepClient step = "client" // somebody to say that they know the client
	stepResult step = "result" // a page of this server to fetch who it is
)

// A flow is a login on its way. One of Client, Session and Return says what it
// is for.
type flow struct {
	ID       string `json:"-"`
	Browser  []byte `json:"-"` // the hash of the browser's secret
	Step     step   `json:"step"`
	Provider string `json:"provider"`

	Client   string `json:"client,omitempty"`  // the URL of the client that gets a login token
	Session  string `json:"session,omitempty"` // of user-interactive authentication
	Return   string `json:"return,omitempty"`  // a path of this server
	Nonce    string `json:"nonce,omitempty"`
	Verifier string `json:"verifier,omitempty"` // of PKCE

	Person *person       `json:"person,omitempty"` // for stepName
	User   matrix.UserID `json:"user,omitempty"`   // for the steps behind it

	Login accounts.SSOSession `json:"login,omitzero"` // at the provider
}

func hashOf(kind, text string) []byte {
	sum := sha256.Sum256([]byte(kind + "\x00" + text))
	return sum[:]
}

// begin gives a flow its ID and its browser's cookie.
func (s *Service) begin(f *flow) *http.Cookie {
	secret := rand.Text()
	f.ID = strings.ToLower(rand.Text()[:16])
	f.Browser = hashOf("browser", secret)
	return s.cookie(f.ID, secret)
}

// cookie is a flow's cookie; without a value it goes. There is one for each
// flow, so that two windows do not disturb each other.
func (s *Service) cookie(id, value string) *http.Cookie {
	c := &http.Cookie{
		Name: s.cookieName(id), Value: value, Path: "/", HttpOnly: true, Secure: s.secure,
		SameSite: http.SameSiteLaxMode, // it comes along when the provider sends the browser back
		MaxAge:   int((2 * flowLifetime).Seconds()),
	}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

// cookieName has the prefix by which browsers keep other hosts from setting
// such a cookie, where they come by TLS.
func (s *Service) cookieName(id string) string {
	if s.secure {
		return "__Host-trestle_sso_" + id
	}
	return "trestle_sso_" + id
}

// save stores what a flow waits for, and returns the token of that step.
func (s *Service) save(ctx context.Context, f *flow, next step) (string, error) {
	f.Step = next
	data, err := json.Marshal(f)
	if err != nil {
		return "", err
	}
	token := f.ID + "." + rand.Text()
	now := s.now()
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Flows.Insert(ctx, tx, storage.SSOFlow{
			ID: f.ID, TokenHash: hashOf("token", token), BrowserHash: f.Browser, Data: data, ExpiresAt: now + flowLifetime.Milliseconds(),
		}, now)
	})
	return token, err
}

// maxToken bounds what is looked at of a token, in bytes.
const maxToken = 200

// open is the flow that a token is of, if it waits for that step and in this
// browser.
func (s *Service) open(ctx context.Context, cookies []*http.Cookie, token string, steps ...step) (*flow, error) {
	id, _, ok := strings.Cut(token, ".")
	if !ok || len(token) > maxToken || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return nil, noSuchFlow()
	}
	stored, err := s.options.Flows.Find(ctx, id, s.now())
	if err != nil {
		return nil, err
	}
	if stored == nil || !hmac.Equal(stored.TokenHash, hashOf("token", token)) {
		return nil, noSuchFlow()
	}
	if !s.same(stored, cookies) {
		return nil, matrix.Forbidden("This login was begun in another browser, or your browser keeps no cookies. Go back to your application and begin again.")
	}
	f := &flow{ID: stored.ID, Browser: stored.BrowserHash}
	if json.Unmarshal(stored.Data, f) != nil {
		return nil, noSuchFlow()
	}
	for _, waits := range steps {
		if f.Step == waits {
			return f, nil
		}
	}
	return nil, noSuchFlow()
}

// same reports whether a flow began in the browser that has these cookies. A
// browser may have several of a name.
func (s *Service) same(stored *storage.SSOFlow, cookies []*http.Cookie) bool {
	name := s.cookieName(stored.ID)
	for _, c := range cookies {
		if c.Name == name && hmac.Equal(stored.BrowserHash, hashOf("browser", c.Value)) {
			return true
		}
	}
	return false
}

// use ends the step that a token is of: it is good once.
func (s *Service) use(ctx context.Context, f *flow, token string) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error { return s.useIn(ctx, tx, f, token) })
}

func (s *Service) useIn(ctx context.Context, tx *database.Tx, f *flow, token string) error {
	used, err := s.options.Flows.Use(ctx, tx, f.ID, hashOf("token", token))
	if err == nil && !used {
		err = noSuchFlow()
	}
	return err
}

func noSuchFlow() error {
	return matrix.InvalidParam("This login is over, or too old. Go back to your application and begin again.")
}
