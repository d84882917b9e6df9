package oauth

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	devicePrefixCode = "trestle_dc_"
	deviceLifetime   = 15 * time.Minute
	devicePace       = 5 * time.Second
	maxPace          = time.Minute
)

// A DeviceAuthorization is what a client without a browser gets and shows to
// the user (RFC 8628 § 3.2).
type DeviceAuthorization struct {
	DeviceCode string `json:"device_code"`
	UserCode   string `json:"user_code"`
	URI        string `json:"verification_uri"`
	Complete   string `json:"verification_uri_complete"`
	ExpiresIn  int64  `json:"expires_in"` // seconds
	Interval   int64  `json:"interval"`   // seconds
}

// AuthorizeDevice begins a login that somebody allows in a browser elsewhere.
func (s *Service) AuthorizeDevice(ctx context.Context, p Parameters) (*DeviceAuthorization, error) {
	client, err := s.Client(ctx, p["client_id"])
	if err != nil {
		return nil, err
	}
	if !client.Allows(GrantDevice) {
		return nil, newError("unauthorized_client", "The client has not registered for this grant.")
	}
	scope, err := ParseScope(p["scope"])
	if err != nil {
		return nil, err
	}
	if err := s.known(scope); err != nil {
		return nil, err
	}
	code, hash := newSecret(devicePrefixCode)
	now := s.now()
	waiting := storage.OAuthDeviceCode{
		Hash: hash, ClientID: p["client_id"], Scope: scope.String(),
		Pace: devicePace.Milliseconds(), AskAfter: now, ExpiresAt: now + deviceLifetime.Milliseconds(),
	}
	for range 10 {
		waiting.UserCode = newUserCode()
		saved := false
		err := s.options.DB.Update(ctx, func(tx *database.Tx) (err error) {
			saved, err = s.options.Store.SaveDeviceCode(ctx, tx, waiting)
			return err
		})
		if err != nil {
			return nil, err
		}
		if saved {
			break
		}
	}
	return &DeviceAuthorization{
		DeviceCode: code, UserCode: waiting.UserCode, URI: s.URL(LinkPath),
		Complete:  s.URL(LinkPath) + "?" + url.Values{"user_code": {waiting.UserCode}}.Encode(),
		ExpiresIn: int64(deviceLifetime.Seconds()), Interval: int64(devicePace.Seconds()),
	}, nil
}

// userLetters make no words and are not mistaken for each other (RFC 8628
// § 6.1).
const (
	userLetters = "BCDFGHJKLMNPQRSTVWXZ"
	userCodeLen = 8
)

// newUserCode makes a code of the form WDJB-MJHT.
func newUserCode() string {
	code := make([]byte, 0, userCodeLen+1)
	buf := make([]byte, 1)
	for len(code) < userCodeLen+1 {
		if len(code) == userCodeLen/2 {
			code = append(code, '-')
		}
		_, _ = rand.Read(buf)                               // never fails
		if n := int(buf[0]); n < 256-256%len(userLetters) { // all letters are as likely
			code = append(code, userLetters[n%len(userLetters)])
		}
	}
	return string(code)
}

// UserCode is the code that somebody means who has typed it in, or empty.
func UserCode(typed string) string {
	if len(typed) > 40 {
		return ""
	}
	letters := strings.Map(func(r rune) rune {
		if strings.ContainsRune(userLetters, r) {
			return r
		}
		return -1
	}, strings.ToUpper(typed))
	if len(letters) != userCodeLen {
		return ""
	}
	return letters[:userCodeLen/2] + "-" + letters[userCodeLen/2:]
}

// A WaitingDevice is one that somebody is asked to allow.
type WaitingDevice struct {
	UserCode string
	Client   *Client
	Scope    Scope

	// Lasting is how long an application service may act; set by who allows it.
	Lasting time.Duration
}

// Waiting is the device that shows a code, or M_NOT_FOUND.
func (s *Service) Waiting(ctx context.Context, typed string) (*WaitingDevice, error) {
	none := matrix.NotFound("No device waits with that code. It may have expired: look at the device.")
	code := UserCode(typed)
	if code == "" {
		return nil, none
	}
	found, err := s.options.Store.DeviceWaiting(ctx, code, s.now())
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, none
	}
	client, err := s.Client(ctx, found.ClientID)
	if err != nil {
		return nil, err
	}
	scope, err := ParseScope(found.Scope)
	return &WaitingDevice{UserCode: code, Client: client, Scope: scope}, err
}

// AnswerDevice allows a device that waits to be one of a user; without a user
// it is denied.
func (s *Service) AnswerDevice(ctx context.Context, d *WaitingDevice, user matrix.UserID) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		waits, err := s.options.Store.AnswerDevice(ctx, tx, d.UserCode, user, d.Lasting.Milliseconds(), s.now())
		if err == nil && !waits {
			err = matrix.NotFound("The device does not wait any more.")
		}
		return err
	})
}

// byDevice is a device that asks whether it has been allowed (RFC 8628 § 3.5).
func (s *Service) byDevice(ctx context.Context, p Parameters, client *Client) (*Tokens, error) {
	code, err := p.need("device_code")
	if err != nil {
		return nil, err
	}
	hash := hashOf(code)
	found, err := s.options.Store.DeviceCode(ctx, hash)
	switch {
	case err != nil:
		return nil, err
	case found == nil:
		return nil, s.replayed(ctx, hash)
	case found.ClientID != p["client_id"]:
		return nil, invalidGrant("The device code was given to another client.")
	case found.ExpiresAt <= s.now():
		return nil, newError("expired_token", "Nobody has allowed it in time.")
	case found.Denied:
		return nil, newError("access_denied", "The user has not allowed it.")
	case found.UserID == "":
		return nil, s.notYet(ctx, found)
	}
	return s.begin(ctx, &grant{
		user: found.UserID, clientID: p["client_id"], name: client.Name, scope: found.Scope, lasting: found.Lasting, code: hash, use: s.options.Store.UseDeviceCode,
	})
}

// notYet tells a device to ask again, and to take its time.
func (s *Service) notYet(ctx context.Context, c *storage.OAuthDeviceCode) error {
	now := s.now()
	answer := newError("authorization_pending", "Nobody has allowed it yet.")
	pace := c.Pace
	if now < c.AskAfter {
		pace = min(pace+devicePace.Milliseconds(), maxPace.Milliseconds())
		answer = newError("slow_down", "Ask again in %d seconds.", pace/1000)
	}
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.PaceDevice(ctx, tx, c.Hash, pace, now+pace)
	})
	if err != nil {
		return err
	}
	return answer
}
