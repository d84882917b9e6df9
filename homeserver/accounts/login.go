package accounts

import (
	"context"
	"net/http"
	"strings"

	"trestle/internal/matrix"
)

// An Identifier says who logs in (Client-Server API § Identifier types).
type Identifier struct {
	Type    string `json:"type"`
	User    string `json:"user"`
	Medium  string `json:"medium"`
	Address string `json:"address"`
	Country string `json:"country"`
	Phone   string `json:"phone"`
}

// A PasswordLogin is a login with a password. User, Medium and Address are how
// clients of before r0.4 say who they are.
type PasswordLogin struct {
	Identifier *Identifier
	User       string
	Medium     string
	Address    string
	Password   string
	Device     NewDevice
}

// LoginByPassword logs a user in. Who does not exist and who has another
// password is told the same, M_FORBIDDEN.
func (s *Service) LoginByPassword(ctx context.Context, l PasswordLogin) (*Login, error) {
	user, err := s.identify(ctx, l)
	if err != nil {
		return nil, err
	}
	if err := s.checkPassword(ctx, user, l.Password); err != nil {
		return nil, err
	}
	return s.startLogin(ctx, user, l.Device)
}

// LoginByAppService logs a user in who belongs to the application service
// whose token is given (Client-Server API § Appservice Login).
func (s *Service) LoginByAppService(ctx context.Context, token string, who *Identifier, legacyUser string, device NewDevice) (*Login, error) {
	service, err := s.AppService(token)
	if matrix.Code(err) == "M_UNKNOWN_TOKEN" {
		return nil, matrix.Forbidden("The token is not that of an application service.")
	}
	if err != nil {
		return nil, err
	}
	user, err := s.identify(ctx, PasswordLogin{Identifier: who, User: legacyUser})
	if err != nil {
		return nil, err
	}
	set := s.options.AppServices.Load()
	if !set.Covers(service, user) {
		return nil, matrix.Exclusive("%s is outside the namespaces of the application service.", user)
	}
	account, err := s.account(ctx, user)
	if err == nil && account == nil && user == service.Sender(s.options.ServerName) {
		account, err = s.createSender(ctx, service)
	}
	switch {
	case err != nil:
		return nil, err
	case account == nil:
		return nil, matrix.Forbidden("%s has not been registered.", user)
	case account.Deactivated:
		return nil, deactivated()
	case account.Admin && !owns(set, service, account):
		return nil, matrix.Forbidden("%s is an administrator, and not the application service's own.", user)
	}
	return s.startLogin(ctx, user, device)
}

// nobody is who a third-party identifier means that is nobody's: a user who
// cannot exist, so that the answer takes as long as for those who do.
const nobody matrix.UserID = "@"

// identify finds out whom an identifier means; the user need not exist.
func (s *Service) identify(ctx context.Context, l PasswordLogin) (matrix.UserID, error) {
	id := l.Identifier
	if id == nil {
		switch {
		case l.User != "":
			id = &Identifier{Type: "m.id.user", User: l.User}
		case l.Medium+l.Address != "":
			id = &Identifier{Type: "m.id.thirdparty", Medium: l.Medium, Address: l.Address}
		default:
			return "", matrix.MissingParam("The identifier is missing.")
		}
	}
	kind := id.Type
	if kind == "" && id.Medium != "" && id.Address != "" {
		kind = "m.id.thirdparty" // as an example in § Login has it
	}
	switch kind {
	case "m.id.user":
		return s.userOf(ctx, id.User)
	case "m.id.thirdparty":
		user, err := s.userWithAddress(ctx, id.Medium, id.Address)
		if err == nil && user == "" {
			user = nobody
		}
		return user, err
	case "m.id.phone":
		return nobody, nil // phone numbers cannot be verified here
	case "":
		return "", matrix.MissingParam("The identifier has no type.")
	}
	return "", matrix.NewError(http.StatusBadRequest, "M_UNKNOWN", "There are no identifiers of type %.80q here.", id.Type)
}

// userOf is a user ID from what somebody typed: whole or only the local part,
// perhaps with capitals, which only historical user IDs have.
func (s *Service) userOf(ctx context.Context, typed string) (matrix.UserID, error) {
	if typed == "" {
		return "", matrix.MissingParam("The identifier names no user.")
	}
	user := matrix.UserID(typed)
	if !strings.HasPrefix(typed, "@") {
		user = matrix.NewUserID(typed, s.options.ServerName)
	}
	if _, err := matrix.ParseUserID(string(user)); err != nil {
		return "", matrix.InvalidUsername("%v.", err)
	}
	if !s.Local(user) {
		return "", wrongCredentials()
	}
	small := matrix.NewUserID(strings.ToLower(user.Localpart()), s.options.ServerName)
	if small == user {
		return user, nil
	}
	account, err := s.account(ctx, user)
	if err != nil || account != nil {
		return user, err
	}
	return small, nil
}

// checkPassword is M_FORBIDDEN for wrong passwords, M_USER_DEACTIVATED,
// M_LIMIT_EXCEEDED or nothing.
func (s *Service) checkPassword(ctx context.Context, user matrix.UserID, password string) error {
	if err := s.limitAttempts(user); err != nil {
		return err
	}
	account, err := s.account(ctx, user)
	if err != nil {
		return err
	}
	if account != nil && account.Deactivated {
		return deactivated()
	}
	hash, err := s.options.Store.PasswordHash(ctx, user)
	if err != nil {
		return err
	}
	ok, err := s.passwords.verify(ctx, hash, password)
	switch {
	case err != nil:
		return err
	case !ok:
		return wrongCredentials()
	}
	s.rightAttempt(user)
	return nil
}

func wrongCredentials() error {
	return matrix.Forbidden("The user name or the password is wrong.")
}
