package accounts

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/registration"
)

// GrantScope is the scope of a token that lets an application service act for
// the user who has granted it.
func GrantScope(service string) string { return grantScope + service }

// GrantedService is the application service of such a scope, or empty.
func GrantedService(scope string) string {
	service, ok := strings.CutPrefix(scope, grantScope)
	if !ok {
		return ""
	}
	return service
}

const (
	grantScope  = "urn:trestle:appservice:"
	grantPrefix = "trestle_ut_"
	// MaxGrant is how long a user can let an application service act.
	MaxGrant = 366 * 24 * time.Hour
)

// A Grant is an application service and what a user lets it do.
type Grant struct {
	Service   string
	Granted   bool
	ExpiresAt int64 // Unix ms
	UsedAt    int64 // Unix ms; 0 before the first use
}

// Grants is the application services of this server, and what a user has
// granted to them; grants to services that are gone come last.
func (s *Service) Grants(ctx context.Context, user matrix.UserID) ([]Grant, error) {
	found, err := s.options.Store.Grants.List(ctx, user)
	if err != nil {
		return nil, err
	}
	granted := map[string]Grant{}
	for _, g := range found {
		if g.ExpiresAt > s.now() {
			granted[g.Service] = Grant{Service: g.Service, Granted: true, ExpiresAt: g.ExpiresAt, UsedAt: g.UsedAt}
		}
	}
	var list []Grant
	for _, service := range s.options.AppServices.Load().All() {
		g := granted[service.ID]
		g.Service = service.ID
		list = append(list, g)
		delete(granted, service.ID)
	}
	for _, g := range found {
		if left, ok := granted[g.Service]; ok {
			list = append(list, left)
		}
	}
	return list, nil
}

// Grant lets an application service act for a user for a while, and returns
// the token with which it does. A token that it had before ends.
func (s *Service) Grant(ctx context.Context, user matrix.UserID, service string, lasting time.Duration) (string, error) {
	return s.GrantFor(ctx, user, service, lasting, nil, func(*database.Tx) error { return nil })
}

// GrantFor is [Service.Grant] for a code of OAuth, of which it keeps the hash;
// also is done in the same transaction.
func (s *Service) GrantFor(ctx context.Context, user matrix.UserID, service string, lasting time.Duration, code []byte, also func(*database.Tx) error) (string, error) {
	if err := s.CheckAppService(service); err != nil {
		return "", err
	}
	if lasting <= 0 || lasting > MaxGrant {
		return "", matrix.InvalidParam("An application service may act for you for a year at most.")
	}
	token, hash := newToken(grantPrefix)
	g := storage.AppServiceGrant{User: user, Service: service, CreatedAt: s.now(), ExpiresAt: s.now() + lasting.Milliseconds()}
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.grants.forget(user) })
		if err := also(tx); err != nil {
			return err
		}
		return s.options.Store.Grants.Save(ctx, tx, g, hash[:], code)
	})
	if err != nil {
		return "", err
	}
	s.options.Log.Info("a user lets an application service act", "user", user, "service", service, "until", time.UnixMilli(g.ExpiresAt).UTC())
	return token, nil
}

// CheckAppService is M_NOT_FOUND unless there is such an application service.
func (s *Service) CheckAppService(id string) error {
	if s.options.AppServices.Load().ByID(id) == nil {
		return matrix.NotFound("There is no application service %.80q here.", id)
	}
	return nil
}

// WithdrawToken ends what a token lets an application service do; one that
// is no such token does not matter.
func (s *Service) WithdrawToken(ctx context.Context, token string) error {
	if !strings.HasPrefix(token, grantPrefix) {
		return nil
	}
	hash := sha256.Sum256([]byte(token))
	g, err := s.options.Store.Grants.ByToken(ctx, hash[:])
	if g == nil || err != nil {
		return err
	}
	return s.Withdraw(ctx, g.User, g.Service)
}

// WithdrawCode ends what an application service was given for a code of OAuth;
// false if that was nothing.
func (s *Service) WithdrawCode(ctx context.Context, code []byte) (bool, error) {
	g, err := s.options.Store.Grants.ByCode(ctx, code)
	if g == nil || err != nil {
		return false, err
	}
	return true, s.Withdraw(ctx, g.User, g.Service)
}

// Withdraw ends what a user has granted to an application service.
func (s *Service) Withdraw(ctx context.Context, user matrix.UserID, service string) error {
	err := s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.grants.forget(user) })
		return s.options.Store.Grants.Delete(ctx, tx, user, service)
	})
	if err == nil {
		s.options.Log.Info("a user does not let an application service act any more", "user", user, "service", service)
	}
	return err
}

// noGrant is a refusal that does not tell whose token it was.
func noGrant() error {
	return matrix.Forbidden("The user_token lets this application service act for nobody: it was withdrawn, has expired, or is another's.")
}

// represent verifies a token by which a user lets an application service act
// (the drafts of the Application Service API § Identity assertion).
func (s *Service) represent(ctx context.Context, service *registration.Registration, c Credentials) (Caller, error) {
	if c.AssertedDevice != "" {
		return Caller{}, matrix.Forbidden("With a user_token, an application service acts as none of the user's devices.")
	}
	hash := sha256.Sum256([]byte(c.UserToken))
	found, epoch, ok := s.grants.get(hash)
	if !ok {
		g, err := s.options.Store.Grants.ByToken(ctx, hash[:])
		if err != nil {
			return Caller{}, err
		}
		if g == nil {
			return Caller{}, noGrant()
		}
		found = &session{caller: Caller{UserID: g.User, AppService: g.Service, Delegated: true}, expiresAt: g.ExpiresAt}
		found.seenAt.Store(g.UsedAt)
		s.grants.put(hash, g.User, found, epoch)
	}
	now, who := s.now(), found.caller
	if now >= found.expiresAt || who.AppService != service.ID {
		return Caller{}, noGrant()
	}
	if c.AssertedUser != "" && c.AssertedUser != who.UserID {
		return Caller{}, matrix.Forbidden("The user_token is not that of %s.", c.AssertedUser)
	}
	account, err := s.account(ctx, who.UserID)
	switch {
	case err != nil:
		return Caller{}, err
	case account == nil || account.Deactivated:
		return Caller{}, deactivated()
	}
	who.Locked, who.Suspended, who.Unlimited = account.Locked, account.Suspended, !service.RateLimited
	who.RemoteAddr, who.UserAgent = c.RemoteAddr, c.UserAgent
	s.usedGrant(found, now)
	return who, nil
}

// usedGrant writes down, now and then, that a grant is in use.
func (s *Service) usedGrant(found *session, now int64) {
	before := found.seenAt.Load()
	if now-before < seenEvery.Milliseconds() || !found.seenAt.CompareAndSwap(before, now) {
		return
	}
	user, service := found.caller.UserID, found.caller.AppService
	s.options.DB.Enqueue(func(tx *database.Tx) error {
		return s.options.Store.Grants.Used(context.Background(), tx, user, service, now)
	}, func(err error) {
		if err != nil {
			s.options.Log.Warn("use of a grant not written down", "user", user, "service", service, "err", err)
		}
	})
}

// ActsAs is an error unless an application service may do something in the name
// of a user, who lets it or is in its namespaces; own tells that it is the latter.
func (s *Service) ActsAs(ctx context.Context, serviceID string, user matrix.UserID) (own bool, err error) {
	set := s.options.AppServices.Load()
	service := set.ByID(serviceID)
	if service == nil {
		return false, matrix.UnknownToken(false)
	}
	if own = set.Covers(service, user) || user == service.Sender(s.options.ServerName); !own {
		g, err := s.options.Store.Grants.Of(ctx, user, serviceID)
		if err != nil {
			return false, err
		}
		if g == nil || g.ExpiresAt <= s.now() {
			return false, matrix.Forbidden("The application service may not act as %s: that user is outside its namespaces.", user)
		}
	}
	account, err := s.account(ctx, user)
	switch {
	case err != nil:
		return own, err
	case account == nil:
		return own, matrix.Forbidden("The application service has not registered %s yet.", user)
	case account.Deactivated:
		return own, deactivated()
	case account.Locked || account.Suspended:
		return own, matrix.NewError(http.StatusForbidden, "M_USER_SUSPENDED", "The account of %s is suspended or locked.", user)
	}
	return own, nil
}
