package accounts

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"trestle/homeserver/mail"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/registration"
)

// Options are what a [Service] works with. ServerName, DB and Store are
// needed.
type Options struct {
	ServerName  matrix.ServerName
	DB          *database.DB
	Store       *storage.Accounts
	AppServices *registration.Registry // nil: none
	Notifier    Notifier               // nil: nobody waits for changes
	Limiter     Limiter                // nil: no limits
	Passwords   PasswordOptions

	LegacyMentions bool // push rules that look for names in the text of messages

	OpenRegistration   bool     // anybody may register
	RegistrationTokens []string // whoever has one of these may
	Guests             bool     // guest accounts may be made
	Reserved           []string // local parts that nobody may register
	SharedSecret       string   // for registration by scripts; empty: off

	Mailer        Mailer                    // nil: mail addresses mean nothing here
	Mails         map[string]*mail.Template // instead of those of [MailKinds]
	BaseURL       string                    // that links in mails begin with
	Identity      IdentityServers           // nil: none is trusted
	HideAddresses bool                      // nobody is told which addresses are known here
	EmailAtStart  string                    // [EmailOff], [EmailOptional] or [EmailRequired]: an address to register with
	Terms         map[string]Policy
	Captcha       *CaptchaOptions // nil: none

	// HumanIDs refuses names that look like others (M_FAILED_HUMAN_ID_CHECK).
	HumanIDs bool
	// MaxDevices of a user, MaxAccountData pieces of a user's account data;
	// defaults 1,000 and 20,000.
	MaxDevices     int
	MaxAccountData int

	// TokenLifetime is how long an access token lasts that came with a
	// refresh token; default one hour. Others do not expire.
	TokenLifetime time.Duration
	// Secret authenticates what the server hands out and takes back within
	// the hour. Processes on one database share it; default random.
	Secret []byte

	Now func() time.Time
	Log *slog.Logger
}

// A Notifier is told of every change that a user's clients can see, once it is
// committed.
type Notifier interface {
	UserChanged(user matrix.UserID, position int64)
}

// A Limiter counts attempts against a bucket; M_LIMIT_EXCEEDED is its error.
// GiveBack uncounts one. Network is the key of those who come from an address.
type Limiter interface {
	AllowKey(bucket, key string) error
	GiveBack(bucket, key string)
	Network(address string) string
}

// Observers learn of changes to accounts. All are optional.
type Observers struct {
	Devices       []DeviceObserver
	Profiles      []ProfileObserver
	Deactivations []DeactivationObserver
	Bindings      BindingObserver
	Addresses     []AddressObserver
	Users         UserSource
	Remote        RemoteProfiles
}

// A DeviceObserver is told of devices that come, go or change their names, in
// the transaction that does it, so that device lists never miss a change.
// removed holds those that went.
type DeviceObserver interface {
	DeviceListChanged(ctx context.Context, tx *database.Tx, user matrix.UserID, removed []matrix.DeviceID) error
}

// A ProfileObserver is told of a profile field that was set or deleted, after
// it was committed and before the client's request is answered.
type ProfileObserver interface {
	ProfileChanged(ctx context.Context, user matrix.UserID, field string) error
}

// A DeactivationObserver is told of accounts that were deactivated: their
// users have to leave their rooms. With erase, what can be removed of their
// events should go.
type DeactivationObserver interface {
	Deactivated(ctx context.Context, user matrix.UserID, erase bool) error
}

// A BindingObserver is told of addresses that users have proved to an identity
// server to be theirs.
type BindingObserver interface {
	Bound(ctx context.Context, user matrix.UserID, b storage.Binding) error
}

// An AddressObserver is told of addresses that are their users' no more, in the
// transaction that takes them away. Deactivated accounts lose them all, which
// is not told.
type AddressObserver interface {
	AddressRemoved(ctx context.Context, tx *database.Tx, user matrix.UserID, medium, address string) error
}

// A UserSource gives the application service whose namespace a user is in the
// chance to make the user.
type UserSource interface {
	QueryUser(ctx context.Context, user matrix.UserID) error
}

// Service is the accounts of one homeserver.
type Service struct {
	options   Options
	observers Observers
	passwords *passwords
	tokenIDs  *database.IDs
	tokens    *tokenCache
	grants    *tokenCache // what people let application services do
	refused   *refusedCache
	known     *accountCache
	rules     *rulesCache

	stages     map[string]Stage
	stageOrder []string
	erased     sync.Map // matrix.UserID → true
	// storedTokens says whether there are registration tokens in the database.
	storedTokens storedTokens
}

// New makes the service. Call [Service.Observe] before it serves requests.
func New(options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	if options.TokenLifetime <= 0 {
		options.TokenLifetime = time.Hour
	}
	if options.MaxDevices <= 0 {
		options.MaxDevices = 1000
	}
	if options.MaxAccountData <= 0 {
		options.MaxAccountData = 20_000
	}
	if len(options.Secret) == 0 {
		options.Secret = []byte(rand.Text() + rand.Text())
	}
	if options.AppServices == nil {
		empty, err := registration.NewSet(options.ServerName)
		if err != nil {
			panic(err) // no registrations cannot clash
		}
		options.AppServices = registration.NewRegistry(empty)
	}
	s := &Service{
		options:   options,
		passwords: newPasswords(options.Passwords),
		tokenIDs:  options.DB.NewIDs("token"),
	}
	// Another process on the same database may log users out.
	var age time.Duration
	if options.DB.Engine() == database.PostgreSQL {
		age = time.Minute
	}
	s.tokens = newTokenCache(100_000, age)
	s.grants = newTokenCache(10_000, age)
	s.refused = newCache[tokenHash, struct{}](10_000, time.Minute)
	s.known = newAccountCache(100_000, age)
	s.rules = newRulesCache(10_000, age)
	s.addStages()
	return s
}

// Observe sets who is told of changes; it is part of the wiring.
func (s *Service) Observe(o Observers) { s.observers = o }

// Local reports whether a user is one of this server.
func (s *Service) Local(user matrix.UserID) bool { return user.Server() == s.options.ServerName }

// now is the time in Unix milliseconds.
func (s *Service) now() int64 { return s.options.Now().UnixMilli() }

// changed tells the user's clients of a position once it is committed.
func (s *Service) changed(tx *database.Tx, user matrix.UserID, position int64) {
	if s.options.Notifier != nil {
		tx.OnCommit(func() { s.options.Notifier.UserChanged(user, position) })
	}
}

func (s *Service) devicesChanged(ctx context.Context, tx *database.Tx, user matrix.UserID, removed []matrix.DeviceID) error {
	for _, o := range s.observers.Devices {
		if err := o.DeviceListChanged(ctx, tx, user, removed); err != nil {
			return err
		}
	}
	return nil
}

// limitAttempts slows down whoever guesses passwords, wherever from. Attempts
// count before they are made, so that many at once get no further than many
// in a row; right ones are given back.
func (s *Service) limitAttempts(user matrix.UserID) error {
	if s.options.Limiter == nil {
		return nil
	}
	return s.options.Limiter.AllowKey("login", string(user))
}

func (s *Service) rightAttempt(user matrix.UserID) {
	if s.options.Limiter != nil {
		s.options.Limiter.GiveBack("login", string(user))
	}
}
