package sso

import (
	"context"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"trestle/homeserver/accounts"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// An External is who a user is at a provider, for operators.
type External struct {
	Provider string // its ID or, for one that is not set up any more, its issuer
	Subject  string
}

// printable reports whether a provider could say this of somebody.
func (e External) printable() bool {
	for _, text := range []string{e.Provider, e.Subject} {
		if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return false
		}
	}
	return len(e.Subject) <= maxSubject
}

// Externals is who a user is at providers.
func (s *Service) Externals(ctx context.Context, user matrix.UserID) ([]External, error) {
	subjects, err := s.options.Accounts.Subjects(ctx, user)
	if err != nil {
		return nil, err
	}
	list := make([]External, len(subjects))
	for i, v := range subjects {
		list[i] = External{Provider: v.Issuer, Subject: v.Subject}
		for _, p := range s.providers {
			if p.options.Issuer == v.Issuer {
				list[i].Provider = p.options.ID
				break
			}
		}
	}
	return list, nil
}

// ExternalUser is the user who somebody at a provider is here; M_NOT_FOUND
// without one.
func (s *Service) ExternalUser(ctx context.Context, e External) (matrix.UserID, error) {
	var user matrix.UserID
	var err error
	if e.printable() {
		user, err = s.options.Accounts.SubjectUser(ctx, s.issuer(e.Provider), e.Subject)
	}
	if err == nil && user == "" {
		err = matrix.NotFound("Nobody here is %.80q at %.80q.", e.Subject, e.Provider)
	}
	return user, err
}

// issuer is that of a provider, by its ID or by itself.
func (s *Service) issuer(provider string) string {
	if p, err := s.provider(provider); err == nil {
		return p.options.Issuer
	}
	return provider
}

// maxExternals bounds who a user is elsewhere.
const maxExternals = 100

// SetExternals says who a user is at providers, and at no others.
// M_INVALID_PARAM for providers that nobody has set up, M_UNKNOWN with the
// status 409 for somebody who is another user here.
func (s *Service) SetExternals(ctx context.Context, user matrix.UserID, list []External) error {
	if len(list) > maxExternals {
		return matrix.InvalidParam("A user has at most %d external IDs.", maxExternals)
	}
	before, err := s.options.Accounts.Subjects(ctx, user)
	if err != nil {
		return err
	}
	for _, e := range list {
		if _, err := s.provider(e.Provider); err != nil && !linked(before, e) {
			return matrix.InvalidParam("There is no provider %.80q.", e.Provider)
		}
		if !e.printable() {
			return matrix.InvalidParam("An external ID has 1 to %d bytes that can be printed.", maxSubject)
		}
	}
	return s.options.DB.Update(ctx, func(tx *database.Tx) error {
		if err := s.options.Accounts.UnlinkSubjects(ctx, tx, user); err != nil {
			return err
		}
		for _, e := range list {
			free, err := s.options.Accounts.LinkSubject(ctx, tx, s.issuer(e.Provider), e.Subject, user)
			if err != nil {
				return err
			}
			if !free {
				return matrix.NewError(http.StatusConflict, "M_UNKNOWN", "%.80q at %.80q is somebody already.", e.Subject, e.Provider)
			}
		}
		return nil
	})
}

// linked reports whether a provider that is not set up any more is one of
// those that a user had.
func linked(before []accounts.Subject, e External) bool {
	for _, v := range before {
		if v.Issuer == e.Provider {
			return true
		}
	}
	return false
}
