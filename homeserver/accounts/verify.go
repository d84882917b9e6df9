package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	netmail "net/mail"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/net/idna"

	"trestle/homeserver/mail"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Email is the medium of mail addresses.
const Email = "email"

// What an address is verified for. A session for one is no good for another.
const (
	ForRegistration = "register"
	ForPassword     = "password"
	ForAdding       = "add"
)

// verificationLifetime is how long somebody may take from asking for a mail to
// using the verified address.
const verificationLifetime = 24 * time.Hour

const (
	maxAddress  = 500
	maxNextLink = 2000
)

// A Mailer sends mails.
type Mailer interface {
	Send(ctx context.Context, m mail.Message) error
}

// An EmailRequest asks for a mail to an address, so that whoever reads it
// proves that it is theirs.
type EmailRequest struct {
	Purpose      string
	Email        string
	ClientSecret string
	Attempt      int64 // a higher one than before sends the mail again
	NextLink     string
}

// EmailEnabled reports whether addresses can be verified here.
func (s *Service) EmailEnabled() bool { return s.options.Mailer != nil }

// RequestEmail sends the mail and returns the session's ID. The same request
// once more sends nothing.
func (s *Service) RequestEmail(ctx context.Context, r EmailRequest) (sid string, err error) {
	if err := r.check(); err != nil {
		return "", err
	}
	if s.options.Mailer == nil && r.Purpose == ForAdding {
		return "", matrix.NewError(http.StatusBadRequest, "M_THREEPID_MEDIUM_NOT_SUPPORTED", "This server does not send mails.")
	}
	if s.options.Mailer == nil {
		return "", matrix.NewError(http.StatusForbidden, "M_THREEPID_DENIED", "This server does not send mails.")
	}
	address, err := CanonicalEmail(r.Email)
	if err != nil {
		return "", err
	}
	store := s.options.Store.ThreePID
	old, err := store.SessionOf(ctx, s.options.DB.Read(), r.ClientSecret, address, Email, r.Purpose)
	if err != nil {
		return "", err
	}
	if old != nil && r.Attempt <= old.Attempt && s.fresh(old) {
		return old.SID, nil
	}
	if s.options.Limiter != nil {
		if err := s.options.Limiter.AllowKey("mail", address); err != nil {
			return "", err
		}
	}
	owner, err := store.User(ctx, s.options.DB.Read(), Email, address)
	if err != nil {
		return "", err
	}
	kind, err := s.mailFor(r.Purpose, owner)
	if err != nil {
		return "", err
	}
	sid = sidOf(old)
	return sid, s.beginVerification(ctx, r, kind, sid, address)
}

// beginVerification keeps a session and sends its mail.
func (s *Service) beginVerification(ctx context.Context, r EmailRequest, kind *mail.Template, sid, address string) error {
	store := s.options.Store.ThreePID
	token := strings.ToLower(rand.Text())
	hash := sha256.Sum256([]byte(token))
	session := storage.ThreePIDSession{
		SID: sid, Purpose: r.Purpose, Medium: Email, Address: address, ClientSecret: r.ClientSecret, TokenHash: hash[:],
		Attempt: r.Attempt, NextLink: r.NextLink, CreatedAt: s.now(),
	}
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error { return store.SaveSession(ctx, tx, session) })
	if err != nil {
		return err
	}
	err = s.sendMail(ctx, kind, session, token)
	if err == nil {
		return nil
	}
	// The same request must be able to try again.
	return errors.Join(err, s.options.DB.Update(context.WithoutCancel(ctx), func(tx *database.Tx) error {
		_, err := store.DeleteSession(context.WithoutCancel(ctx), tx, sid)
		return err
	}))
}

// sidOf is the ID of a session that begins, perhaps anew.
func sidOf(old *storage.ThreePIDSession) string {
	if old != nil {
		return old.SID
	}
	return rand.Text()
}

// mailFor is which mail goes to an address, and errors for addresses that
// cannot be used. Where it is nobody's business which addresses are known, the
// mail tells: there is one in any case, so that the time it takes tells nothing.
func (s *Service) mailFor(purpose string, owner matrix.UserID) (*mail.Template, error) {
	hide := s.options.HideAddresses
	switch {
	case purpose == ForPassword && owner == "" && hide:
		return s.mail(unknownName), nil
	case purpose == ForPassword && owner == "":
		return nil, matrix.NewError(http.StatusBadRequest, "M_THREEPID_NOT_FOUND", "Nobody here has this address.")
	case purpose == ForPassword:
		return s.mail(resetName), nil
	case owner != "" && hide:
		return s.mail(takenName), nil
	case owner != "":
		return nil, addressInUse()
	}
	return s.mail(verifyName), nil
}

func addressInUse() error {
	return matrix.NewError(http.StatusBadRequest, "M_THREEPID_IN_USE", "Somebody here has this address already.")
}

// sendMail waits for the mail to be on its way. It goes to the address as it is
// kept and compared: what somebody has typed that is the same here may be
// another mailbox there, and not the owner's.
func (s *Service) sendMail(ctx context.Context, kind *mail.Template, session storage.ThreePIDSession, token string) error {
	query := url.Values{"sid": {session.SID}, "client_secret": {session.ClientSecret}, "token": {token}}
	m, err := kind.Message(session.Address, mailValues{
		Server: s.options.ServerName, Link: strings.TrimRight(s.options.BaseURL, "/") + SubmitTokenPath + "?" + query.Encode(),
	})
	if err != nil {
		return err
	}
	err = s.options.Mailer.Send(ctx, m)
	switch {
	case errors.Is(err, mail.ErrRefused):
		return matrix.InvalidParam("No mail can be sent to this address.")
	case err != nil:
		s.options.Log.ErrorContext(ctx, "mail not sent", "err", err)
		return matrix.NewError(http.StatusServiceUnavailable, "M_UNKNOWN", "The mail could not be sent. Please try again later.")
	}
	return nil
}

func (s *Service) fresh(v *storage.ThreePIDSession) bool {
	return s.now()-v.CreatedAt < verificationLifetime.Milliseconds()
}

var opaque = regexp.MustCompile(`^[0-9a-zA-Z.=_-]{1,255}$`)

func (r EmailRequest) check() error {
	switch {
	case !opaque.MatchString(r.ClientSecret):
		return matrix.InvalidParam("client_secret has 1 to 255 of 0-9 a-z A-Z . = _ -.")
	case r.Attempt < 0:
		return matrix.InvalidParam("send_attempt is not negative.")
	case r.NextLink == "":
		return nil
	}
	link, err := url.Parse(r.NextLink)
	if err != nil || len(r.NextLink) > maxNextLink || link.Scheme != "https" && link.Scheme != "http" || link.Host == "" {
		return matrix.InvalidParam("next_link is not a web address.")
	}
	return nil
}

// CanonicalEmail is an address as it is kept and compared: in small letters,
// its domain in ASCII (Client-Server API § Canonical email addresses).
func CanonicalEmail(address string) (string, error) {
	parsed, err := netmail.ParseAddress(address)
	at := strings.LastIndexByte(address, '@')
	if err != nil || len(address) > maxAddress || parsed.Address != address || at < 1 || strings.ContainsAny(address, " \"<>") {
		return "", matrix.InvalidParam("That is not a mail address.")
	}
	domain, err := idna.Lookup.ToASCII(address[at+1:])
	if err != nil || !strings.Contains(domain, ".") && domain != "localhost" {
		return "", matrix.InvalidParam("That is not a mail address.")
	}
	return strings.ToLower(address[:at]) + "@" + domain, nil
}

// A Verification is what a link in a mail leads to.
type Verification struct {
	SID, ClientSecret, Token string
}

// PeekVerification is the session that a link is about; M_INVALID_PARAM for
// links that are wrong or too old.
func (s *Service) PeekVerification(ctx context.Context, v Verification) (*storage.ThreePIDSession, error) {
	session, err := s.options.Store.ThreePID.Session(ctx, s.options.DB.Read(), v.SID)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(v.Token))
	if session == nil || !s.fresh(session) || !hmac.Equal([]byte(session.ClientSecret), []byte(v.ClientSecret)) || !hmac.Equal(session.TokenHash, hash[:]) {
		return nil, matrix.InvalidParam("This link is not valid, or too old.")
	}
	return session, nil
}

// Verify notes that the address of a link is somebody's. It returns where the
// browser goes on, or nothing.
func (s *Service) Verify(ctx context.Context, v Verification) (nextLink string, err error) {
	session, err := s.PeekVerification(ctx, v)
	if err != nil {
		return "", err
	}
	return session.NextLink, s.options.DB.Update(ctx, func(tx *database.Tx) error {
		return s.options.Store.ThreePID.Validate(ctx, tx, v.SID, s.now())
	})
}

// verified is a session whose address has been verified for a purpose:
// M_THREEPID_AUTH_FAILED otherwise.
func (s *Service) verified(ctx context.Context, q database.Querier, sid, clientSecret, purpose string) (*storage.ThreePIDSession, error) {
	session, err := s.options.Store.ThreePID.Session(ctx, q, sid)
	if err != nil {
		return nil, err
	}
	if session == nil || session.ValidatedAt == 0 || session.Purpose != purpose || !s.fresh(session) ||
		!hmac.Equal([]byte(session.ClientSecret), []byte(clientSecret)) {
		return nil, matrix.NewError(http.StatusForbidden, "M_THREEPID_AUTH_FAILED", "The address has not been verified yet.")
	}
	return session, nil
}
