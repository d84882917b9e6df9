package accounts

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/registration"
)

// A Registration is an account that somebody wants to have.
type Registration struct {
	Username   string // local part; empty: the server chooses
	Password   string // empty: nobody can log in by password
	Admin      bool
	AppService *registration.Registration // who registers, or nil for people
	GuestToken string                     // of the guest whose account becomes this one
	Proofs     Proofs                     // of [Service.Prove], for [Service.RegistrationOperation]
	Session    string                     // by which this was proved, or empty

	DisplayName string // default: the local part
	Login       *NewDevice
	// Also runs in the transaction that makes the account; nil: nothing does.
	Also func(ctx context.Context, tx *database.Tx, user matrix.UserID) error
}

// A NewDevice is what a login brings along; nil in its place means no login.
type NewDevice struct {
	ID      matrix.DeviceID // empty: the server chooses
	Name    string
	Refresh bool // the client can refresh its access token
}

// CheckRegistration is the errors that a registration has whatever the
// authentication says: M_INVALID_USERNAME, M_USER_IN_USE, M_EXCLUSIVE,
// M_WEAK_PASSWORD. It returns the user ID, empty if the server is to choose.
func (s *Service) CheckRegistration(ctx context.Context, r Registration) (matrix.UserID, error) {
	if r.Password != "" {
		if err := s.passwords.check(r.Password); err != nil {
			return "", err
		}
	}
	if r.Username == "" {
		if r.GuestToken != "" {
			return "", matrix.MissingParam("A guest who registers must name their username.")
		}
		if r.AppService != nil {
			return "", matrix.MissingParam("An application service must name the username.")
		}
		if r.Session == "" {
			return "", nil
		}
		return s.unused(ctx, s.chosenID(r.Session))
	}
	user, err := s.newUserID(r.Username, r.AppService != nil)
	if err != nil {
		return "", err
	}
	if err := s.options.AppServices.Load().CheckUser(r.AppService, user); err != nil {
		return "", err
	}
	if r.GuestToken != "" {
		return user, s.checkGuest(ctx, r.GuestToken, user)
	}
	return s.unused(ctx, user)
}

// unused is the user, or M_USER_IN_USE.
func (s *Service) unused(ctx context.Context, user matrix.UserID) (matrix.UserID, error) {
	account, err := s.account(ctx, user)
	if err != nil {
		return "", err
	}
	if account != nil {
		return "", matrix.UserInUse()
	}
	return user, nil
}

// newUserID holds a username against the grammar of new accounts. Capitals
// that people type become small; an application service must know the ID that
// it will use, so that its capitals are refused.
func (s *Service) newUserID(username string, exact bool) (matrix.UserID, error) {
	if !exact {
		username = strings.ToLower(username)
	}
	if s.options.HumanIDs && !exact && matrix.Confusing(username) {
		return "", matrix.FailedHumanIDCheck()
	}
	if !matrix.ValidLocalpart(username) {
		return "", matrix.InvalidUsername("User names have only a-z, 0-9 and . _ = - / +.")
	}
	if slices.Contains(s.options.Reserved, username) {
		return "", matrix.Exclusive("That name is the server's own.")
	}
	user := matrix.NewUserID(username, s.options.ServerName)
	if len(user) > matrix.MaxIDLength {
		return "", matrix.InvalidUsername("A user ID has at most %d bytes.", matrix.MaxIDLength)
	}
	return user, nil
}

func (s *Service) checkGuest(ctx context.Context, token string, user matrix.UserID) error {
	who, err := s.Authenticate(ctx, Credentials{Token: token})
	if err != nil {
		return err
	}
	if !who.Guest || who.UserID != user {
		return matrix.Forbidden("The guest access token is not that of this user name.")
	}
	return nil
}

// Register makes an account. It checks what [Service.CheckRegistration]
// checks; that the caller may register is for the caller to know.
func (s *Service) Register(ctx context.Context, r Registration) (*Login, error) {
	user, err := s.CheckRegistration(ctx, r)
	if err != nil {
		return nil, err
	}
	var hash string
	if r.Password != "" {
		if hash, err = s.passwords.hash(ctx, r.Password); err != nil {
			return nil, err
		}
	}
	if user == "" {
		user = matrix.NewUserID(randomName(), s.options.ServerName)
	}
	account := storage.Account{UserID: user, Admin: r.Admin, CreatedAt: s.now()}
	if r.AppService != nil {
		account.AppService = r.AppService.ID
	}
	return s.create(ctx, account, hash, r)
}

// create writes an account and its first device in one transaction.
func (s *Service) create(ctx context.Context, account storage.Account, hash string, r Registration) (*Login, error) {
	login, tokens, err := s.prepareLogin(ctx, account.UserID, r.Login)
	if err != nil {
		return nil, err
	}
	err = s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.forget(account.UserID) })
		made, err := s.insertAccount(ctx, tx, account, hash, r)
		if err != nil {
			return err
		}
		if !made {
			return matrix.UserInUse()
		}
		if err := s.keepProofs(ctx, tx, account.UserID, r.Proofs); err != nil {
			return err
		}
		if r.Also != nil {
			if err := r.Also(ctx, tx, account.UserID); err != nil {
				return err
			}
		}
		if tokens == nil {
			return nil
		}
		return s.writeLogin(ctx, tx, tokens)
	})
	if err != nil {
		return nil, err
	}
	if !account.Guest {
		// The account is there: what follows from its name can be late.
		if err := s.profileChanged(ctx, account.UserID, DisplayName); err != nil {
			s.options.Log.WarnContext(ctx, "profile of a new user not passed on", "user", account.UserID, "err", err)
		}
	}
	return login, nil
}

// keepProofs gives a new user what was proved on the way.
func (s *Service) keepProofs(ctx context.Context, tx *database.Tx, user matrix.UserID, proofs Proofs) error {
	if err := s.useToken(ctx, tx, proofs[StageRegistrationToken]); err != nil {
		return err
	}
	if proofs[StageTerms] != "" {
		if err := s.noteConsents(ctx, tx, user); err != nil {
			return err
		}
	}
	sid, ok := proofs[StageEmail]
	if !ok {
		return nil
	}
	session, err := s.options.Store.ThreePID.Session(ctx, tx, sid)
	if err != nil {
		return err
	}
	if session == nil {
		return matrix.Forbidden("The address has been used already.")
	}
	return s.takeAddress(ctx, tx, user, session)
}

func (s *Service) insertAccount(ctx context.Context, tx *database.Tx, account storage.Account, hash string, r Registration) (bool, error) {
	store := s.options.Store
	if r.GuestToken != "" {
		return store.PromoteGuest(ctx, tx, account.UserID, hash)
	}
	made, err := store.Insert(ctx, tx, account, hash)
	if err != nil || !made || account.Guest {
		return made, err
	}
	name := r.DisplayName
	if name == "" {
		name = account.UserID.Localpart()
	}
	value, err := json.Marshal(name)
	if err != nil {
		return false, err
	}
	return true, store.Profiles.Set(ctx, tx, account.UserID, DisplayName, value)
}

// EnsureOwn makes a user of an application service's own namespace who does not exist yet, with a display
// name; an empty one is the default. It reports whether it has made the user. Errors are those of
// a registration and of a profile.
func (s *Service) EnsureOwn(ctx context.Context, service *registration.Registration, user matrix.UserID, displayName string) (made bool, err error) {
	account, err := s.account(ctx, user)
	if err != nil || account != nil {
		return false, err
	}
	if !s.Local(user) {
		return false, matrix.Forbidden("%s is not a user of this server.", user)
	}
	name, err := json.Marshal(displayName)
	if err != nil {
		return false, err
	}
	if _, err := checkFieldValue(DisplayName, name); err != nil {
		return false, err
	}
	_, err = s.Register(ctx, Registration{Username: user.Localpart(), AppService: service, DisplayName: displayName})
	if matrix.Code(err) == "M_USER_IN_USE" {
		return false, nil
	}
	return err == nil, err
}

// RegisterGuest makes a guest account, if those are allowed.
func (s *Service) RegisterGuest(ctx context.Context, deviceName string) (*Login, error) {
	if !s.options.Guests {
		return nil, matrix.Forbidden("This server has no guest accounts.")
	}
	account := storage.Account{UserID: matrix.NewUserID("guest-"+randomName(), s.options.ServerName), Guest: true, CreatedAt: s.now()}
	return s.create(ctx, account, "", Registration{Login: &NewDevice{Name: deviceName}})
}

// createSender makes the account of an application service's own user.
func (s *Service) createSender(ctx context.Context, service *registration.Registration) (*storage.Account, error) {
	account := storage.Account{UserID: service.Sender(s.options.ServerName), AppService: service.ID, CreatedAt: s.now()}
	_, err := s.create(ctx, account, "", Registration{})
	if err != nil && matrix.Code(err) != "M_USER_IN_USE" {
		return nil, err
	}
	return s.options.Store.Find(ctx, account.UserID)
}

// Exists reports whether a local user has an account that is not deactivated.
func (s *Service) Exists(ctx context.Context, user matrix.UserID) (bool, error) {
	account, err := s.account(ctx, user)
	return account != nil && !account.Deactivated, err
}

// Ensure reports whether a local user exists, once the application services
// whose namespace it is in have been asked for it.
func (s *Service) Ensure(ctx context.Context, user matrix.UserID) (bool, error) {
	account, err := s.account(ctx, user)
	if err != nil || account != nil {
		return account != nil && !account.Deactivated, err
	}
	set := s.options.AppServices.Load()
	for _, service := range set.All() {
		if service.Sender(s.options.ServerName) == user {
			account, err := s.createSender(ctx, service)
			return account != nil, err
		}
	}
	if s.observers.Users == nil || !s.Local(user) || len(set.UserWatchers(user)) == 0 {
		return false, nil
	}
	if err := s.observers.Users.QueryUser(ctx, user); err != nil {
		return false, err
	}
	return s.Exists(ctx, user)
}

// SetAdmin makes a user an administrator, or no longer one.
func (s *Service) SetAdmin(ctx context.Context, user matrix.UserID, admin bool) error {
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		tx.OnCommit(func() { s.forget(user) })
		found, err := s.options.Store.SetAdmin(ctx, tx, user, admin)
		if err == nil && !found {
			err = noSuchUser()
		}
		return err
	})
}

func registrationClosed() error {
	return matrix.Forbidden("Registration is closed on this server.")
}

func noSuchUser() error { return matrix.NotFound("There is no such user here.") }

func randomName() string { return strings.ToLower(rand.Text()[:randomNameLength]) }

const randomNameLength = 12
