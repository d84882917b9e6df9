package accounts

import (
	"context"
	"crypto/sha256"
	"net/http"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/registration"
)

// A Caller is who makes a request.
type Caller struct {
	UserID     matrix.UserID
	Server     matrix.ServerName // another homeserver, which has no account here; empty for all others
	DeviceID   matrix.DeviceID   // empty for application services that name none
	AppService string            // the ID of the application service that calls; empty for people
	Guest      bool
	Admin      bool
	Locked     bool  // may do nothing but log out
	Suspended  bool  // may read, and write little
	Unlimited  bool  // exempt from rate limits
	Delegated  bool  // an application service that acts for a person who lets it
	Watcher    bool  // an application service that acts as somebody whom it neither made nor has claimed for itself
	TokenID    int64 // the access token's number; 0 for application services

	RemoteAddr string
	UserAgent  string
}

// Credentials are what a caller presents.
type Credentials struct {
	Token          string
	AssertedUser   matrix.UserID
	AssertedDevice matrix.DeviceID
	UserToken      string // of a user who lets an application service act
	RemoteAddr     string
	UserAgent      string
}

// seenEvery is how exact the time of a device's last use is kept.
const seenEvery = 5 * time.Minute

// Authenticate verifies an access token of a user or an application service's
// as_token with the identity that it asserts.
func (s *Service) Authenticate(ctx context.Context, c Credentials) (Caller, error) {
	hash := sha256.Sum256([]byte(c.Token))
	found, epoch, ok := s.tokens.get(hash)
	if !ok {
		set := s.options.AppServices.Load()
		if service := set.Holder(c.Token, s.options.Now()); service != nil && c.UserToken != "" {
			return s.represent(ctx, service, c)
		} else if service != nil {
			return s.assert(ctx, set, service, c)
		}
		var err error
		if found, err = s.lookUp(ctx, c, hash, epoch); err != nil {
			return Caller{}, err
		}
	}
	now := s.now()
	if found.expiresAt != 0 && now >= found.expiresAt {
		return Caller{}, matrix.UnknownToken(true)
	}
	s.seen(found, c, now)
	who := found.caller
	who.RemoteAddr, who.UserAgent = c.RemoteAddr, c.UserAgent
	return who, nil
}

// lookUp is a token that is not cached. Guesses are counted by address before
// the database is asked (M_LIMIT_EXCEEDED), tokens that were made here are not:
// somebody who guesses at the same address keeps nobody out. What was refused a
// moment ago is refused again without either.
func (s *Service) lookUp(ctx context.Context, c Credentials, hash tokenHash, epoch uint64) (*session, error) {
	if _, _, refused := s.refused.get(hash); refused {
		return nil, matrix.UnknownToken(false)
	}
	limiter := s.options.Limiter
	if limiter == nil || s.madeHere(c.Token) {
		return s.loadSession(ctx, hash, epoch)
	}
	network := limiter.Network(c.RemoteAddr)
	if err := limiter.AllowKey("token", network); err != nil {
		return nil, err
	}
	found, err := s.loadSession(ctx, hash, epoch)
	if err == nil {
		limiter.GiveBack("token", network)
	}
	return found, err
}

// loadSession reads a token from the database.
func (s *Service) loadSession(ctx context.Context, hash tokenHash, epoch uint64) (*session, error) {
	_, asked, _ := s.refused.get(hash)
	token, err := s.options.Store.Tokens.Find(ctx, hash[:])
	if err != nil {
		return nil, err
	}
	if token == nil {
		s.refused.put(hash, "", struct{}{}, asked)
	}
	if token == nil || token.Deactivated {
		return nil, matrix.UnknownToken(false)
	}
	if token.Replaces != 0 {
		if err := s.retire(ctx, token.UserID, token.Replaces); err != nil {
			return nil, err
		}
	}
	found := &session{
		caller: Caller{
			UserID: token.UserID, DeviceID: token.DeviceID, Guest: token.Guest, Admin: token.Admin,
			Locked: token.Locked, Suspended: token.Suspended, TokenID: token.ID,
		},
		expiresAt: token.ExpiresAt,
	}
	s.tokens.put(hash, token.UserID, found, epoch)
	return found, nil
}

// seen writes down, now and then, that a device is in use. Nobody waits for
// it, and nothing is lost when it fails.
func (s *Service) seen(found *session, c Credentials, now int64) {
	before := found.seenAt.Load()
	if now-before < seenEvery.Milliseconds() || !found.seenAt.CompareAndSwap(before, now) {
		return
	}
	device := storage.Device{ID: found.caller.DeviceID, LastSeenAt: now, LastSeenIP: c.RemoteAddr, UserAgent: printable(c.UserAgent, 255)}
	user := found.caller.UserID
	s.options.DB.Enqueue(func(tx *database.Tx) error {
		return s.options.Store.Devices.Seen(context.Background(), tx, user, device)
	}, func(err error) {
		if err != nil {
			s.options.Log.Warn("last use of a device not written down", "user", user, "err", err)
		}
	})
}

// assert verifies the identity that an application service asserts
// (Application Service API § Identity assertion).
func (s *Service) assert(ctx context.Context, set *registration.Set, service *registration.Registration, c Credentials) (Caller, error) {
	who := Caller{
		UserID: c.AssertedUser, DeviceID: c.AssertedDevice, AppService: service.ID, Unlimited: !service.RateLimited,
		RemoteAddr: c.RemoteAddr, UserAgent: c.UserAgent,
	}
	sender := service.Sender(s.options.ServerName)
	if who.UserID == "" {
		who.UserID = sender
	} else if !set.Covers(service, who.UserID) {
		return Caller{}, matrix.Forbidden("The application service may not act as %s: that user is outside its namespaces.", who.UserID)
	}
	account, err := s.account(ctx, who.UserID)
	if err != nil {
		return Caller{}, err
	}
	if account == nil && who.UserID == sender {
		account, err = s.createSender(ctx, service)
	}
	switch {
	case err != nil:
		return Caller{}, err
	case account == nil:
		return Caller{}, matrix.Forbidden("The application service has not registered %s yet.", who.UserID)
	case account.Deactivated:
		return Caller{}, deactivated()
	}
	who.Guest, who.Locked, who.Suspended = account.Guest, account.Locked, account.Suspended
	who.Watcher = !owns(set, service, account)
	who.Admin = account.Admin && !who.Watcher
	if who.DeviceID != "" {
		if ok, err := s.hasDevice(ctx, who.UserID, who.DeviceID); err != nil {
			return Caller{}, err
		} else if !ok {
			return Caller{}, matrix.NewError(http.StatusBadRequest, "M_UNKNOWN_DEVICE", "%s has no device %.80q.", who.UserID, who.DeviceID)
		}
	}
	return who, nil
}

// owns reports whether a user is a service's own: made by it, or in a namespace that
// is the service's alone. Others it may act as, and they are people: it has neither
// their powers over the server nor their accounts.
func owns(set *registration.Set, service *registration.Registration, account *storage.Account) bool {
	owner := set.UserOwner(account.UserID)
	return owner == service || owner == nil && account.AppService == service.ID
}

// account is the account of a local user, or nil.
func (s *Service) account(ctx context.Context, user matrix.UserID) (*storage.Account, error) {
	key := accountKey{user: user}
	account, epoch, ok := s.known.get(key)
	if ok {
		return account, nil
	}
	account, err := s.options.Store.Find(ctx, user)
	if err == nil && account != nil {
		s.known.put(key, user, account, epoch)
	}
	return account, err
}

func (s *Service) hasDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (bool, error) {
	key := accountKey{user, device}
	_, epoch, ok := s.known.get(key)
	if ok {
		return true, nil
	}
	found, err := s.options.Store.Devices.Find(ctx, s.options.DB.Read(), user, device)
	if err == nil && found != nil {
		s.known.put(key, user, nil, epoch)
	}
	return found != nil, err
}

// AppService is the application service of an as_token, for the endpoints that
// it calls for itself: M_MISSING_TOKEN or M_UNKNOWN_TOKEN.
func (s *Service) AppService(token string) (*registration.Registration, error) {
	if token == "" {
		return nil, matrix.MissingToken()
	}
	service := s.options.AppServices.Load().Holder(token, s.options.Now())
	if service == nil {
		return nil, matrix.UnknownToken(false)
	}
	return service, nil
}

func deactivated() *matrix.Error {
	return matrix.NewError(http.StatusForbidden, "M_USER_DEACTIVATED", "This account has been deactivated.")
}

// printable cuts a text to a length and to what a TEXT column takes.
func printable(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	clean := make([]rune, 0, len(s))
	for _, r := range s {
		if r >= ' ' && r != '\uFFFD' {
			clean = append(clean, r)
		}
	}
	return string(clean)
}
