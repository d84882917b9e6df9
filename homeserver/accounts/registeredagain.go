package accounts

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// SessionIn is the session that the auth member of a request names, if it is
// one of that operation.
func (s *Service) SessionIn(op Operation, auth json.RawMessage) string {
	var data authData
	if json.Unmarshal(auth, &data) != nil {
		return ""
	}
	if _, of, ok := s.openSession(data.Session); !ok || of != operationHash(op) {
		return ""
	}
	return data.Session
}

// RegisteredAgain logs somebody in who has registered already, by the same
// session and with the same password: the answer was lost on the way, and what
// is asked for once more has its result (Client-Server API § User-interactive
// API in the REST API). M_USER_IN_USE if it is somebody else's account.
func (s *Service) RegisteredAgain(ctx context.Context, r Registration) (*Login, error) {
	started, _, ok := s.openSession(r.Session)
	if !ok || r.Password == "" {
		return nil, matrix.UserInUse()
	}
	user := s.chosenID(r.Session)
	if r.Username != "" {
		var err error
		if user, err = s.newUserID(r.Username, false); err != nil {
			return nil, err
		}
	}
	account, err := s.account(ctx, user)
	switch {
	case err != nil:
		return nil, err
	case account == nil || account.CreatedAt < started || !ordinary(account):
		return nil, matrix.UserInUse()
	}
	if err := s.checkPassword(ctx, user, r.Password); matrix.Code(err) == "M_FORBIDDEN" {
		return nil, matrix.UserInUse()
	} else if err != nil {
		return nil, err
	}
	if r.Login == nil {
		return &Login{UserID: user}, nil
	}
	return s.startLogin(ctx, user, *r.Login)
}

// ordinary reports whether people can have registered an account.
func ordinary(a *storage.Account) bool { return !a.Guest && !a.Admin && a.AppService == "" }

// chosenID is the user ID of somebody who registers without a name: the same
// one whenever a session is used.
func (s *Service) chosenID(session string) matrix.UserID {
	mac := hmac.New(sha256.New, s.options.Secret)
	mac.Write([]byte("name\x00"))
	mac.Write([]byte(session))
	name := base32.StdEncoding.EncodeToString(mac.Sum(nil))[:randomNameLength]
	return matrix.NewUserID(strings.ToLower(name), s.options.ServerName)
}
