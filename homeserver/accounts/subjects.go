package accounts

import (
	"context"
	"slices"
	"strings"
	"unicode"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Subject is who a user is at another place where they log in.
type Subject = storage.Subject

// Subjects is who a user is at other places.
func (s *Service) Subjects(ctx context.Context, user matrix.UserID) ([]Subject, error) {
	return s.options.Store.Subjects.List(ctx, s.options.DB.Read(), user)
}

// SubjectUser is the user who a subject of an issuer is here, or empty.
func (s *Service) SubjectUser(ctx context.Context, issuer, subject string) (matrix.UserID, error) {
	return s.options.Store.Subjects.User(ctx, s.options.DB.Read(), issuer, subject)
}

// LinkSubject says who somebody is here who is known elsewhere; false if the
// subject is linked already.
func (s *Service) LinkSubject(ctx context.Context, tx *database.Tx, issuer, subject string, user matrix.UserID) (bool, error) {
	return s.options.Store.Subjects.Insert(ctx, tx, Subject{Issuer: issuer, Subject: subject, UserID: user, LinkedAt: s.now()})
}

// LinkFirst is [Service.LinkSubject] for users whom nobody of the issuer is yet.
func (s *Service) LinkFirst(ctx context.Context, tx *database.Tx, issuer, subject string, user matrix.UserID) (bool, error) {
	list, err := s.options.Store.Subjects.List(ctx, tx, user)
	if err != nil || slices.ContainsFunc(list, func(v Subject) bool { return v.Issuer == issuer }) {
		return false, err
	}
	return s.LinkSubject(ctx, tx, issuer, subject, user)
}

// GiveEmail gives a user an address that somebody else vouches for, unless it
// is no address or somebody has it.
func (s *Service) GiveEmail(ctx context.Context, tx *database.Tx, user matrix.UserID, address string) error {
	canonical, err := CanonicalEmail(address)
	if err != nil {
		return nil
	}
	now := s.now()
	_, err = s.options.Store.ThreePID.Insert(ctx, tx, ThreePID{
		Medium: Email, Address: canonical, UserID: user, ValidatedAt: now, AddedAt: now,
	})
	return err
}

// MayLogIn is M_USER_DEACTIVATED or M_USER_LOCKED for users who may not, and
// M_FORBIDDEN for those who do not exist.
func (s *Service) MayLogIn(ctx context.Context, user matrix.UserID) error {
	account, err := s.account(ctx, user)
	switch {
	case err != nil:
		return err
	case account == nil:
		return matrix.Forbidden("%s has not been registered.", user)
	case account.Deactivated:
		return deactivated()
	}
	return s.checkUnlocked(ctx, user)
}

// Named is the user of a local part whose account is there, is not deactivated
// and belongs to a person; empty otherwise. Capitals are as good as small
// letters, but nothing else is that only looks like them or becomes one: the
// sign for kelvins in small letters is a k, and somebody else's name.
func (s *Service) Named(ctx context.Context, localpart string) (matrix.UserID, error) {
	if strings.ContainsFunc(localpart, func(r rune) bool { return r > unicode.MaxASCII }) {
		return "", nil
	}
	localpart = strings.ToLower(localpart)
	if !matrix.ValidLocalpart(localpart) || slices.Contains(s.options.Reserved, localpart) {
		return "", nil
	}
	user := matrix.NewUserID(localpart, s.options.ServerName)
	account, err := s.account(ctx, user)
	if err != nil || account == nil || account.Deactivated || account.Guest || account.AppService != "" {
		return "", err
	}
	return user, nil
}

// UnlinkSubjects forgets who a user is elsewhere.
func (s *Service) UnlinkSubjects(ctx context.Context, tx *database.Tx, user matrix.UserID) error {
	return s.options.Store.Subjects.DeleteAll(ctx, tx, user)
}
