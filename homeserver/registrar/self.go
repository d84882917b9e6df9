package registrar

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"strings"

	"trestle/internal/matrix"
	"trestle/registration"
)

const (
	maxSelfSpaces = 100 // expressions of a service that registers itself
	maxSelfRegex  = 500 // bytes of one
)

// A SelfRegistration is what a service says of itself.
type SelfRegistration struct {
	URL        string
	ASToken    string
	Namespaces registration.Namespaces // those of [NewNamespace]
}

// SelfRegisters reports whether any service may register itself.
func (s *Service) SelfRegisters() bool { return len(s.options.Tokens) > 0 }

// Register puts a service in force that has one of the operator's tokens, and
// returns the hs_token. Who registers again changes what was said before. What
// operators are only warned of is refused here: names of people, of other
// services, and of everybody.
func (s *Service) Register(ctx context.Context, r SelfRegistration) (hsToken string, err error) {
	if err := s.Knows(r.ASToken); err != nil {
		return "", err
	}
	if !strings.HasPrefix(r.URL, "http://") && !strings.HasPrefix(r.URL, "https://") {
		return "", matrix.InvalidParam("url begins with http:// or https://.")
	}
	name := selfID(r.ASToken)
	reg := registration.Generate(name, r.URL, name)
	reg.ASToken, reg.RateLimited, reg.Namespaces = r.ASToken, true, r.Namespaces
	if err := s.bounded(r.Namespaces); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path, err := s.fileOf(name)
	if err != nil {
		return "", err
	}
	if path != "" {
		before, err := registration.LoadFile(path)
		if err != nil {
			return "", err
		}
		reg.HSToken = before.HSToken
	} else if path, err = s.newFile(name); err != nil {
		return "", err
	}
	data, err := reg.Annotated()
	if err != nil {
		if problem, ok := errors.AsType[*registration.Problem](err); ok {
			return "", matrix.InvalidParam("%s", problem.Message)
		}
		return "", matrix.InvalidParam("That cannot be a registration.")
	}
	if err := s.harmless(ctx, data); err != nil {
		return "", err
	}
	return reg.HSToken, s.put(ctx, path, data)
}

// Knows is M_MISSING_TOKEN or M_FORBIDDEN unless the token is one of the
// operator's. It compares with all, in a time that tells nothing about them.
func (s *Service) Knows(token string) error {
	if token == "" {
		return matrix.MissingToken()
	}
	given, found := sha256.Sum256([]byte(token)), 0
	for _, t := range s.options.Tokens {
		one := sha256.Sum256([]byte(t))
		found |= subtle.ConstantTimeCompare(given[:], one[:])
	}
	if found == 0 {
		return matrix.Forbidden("The operator of this server knows no such as_token.")
	}
	return nil
}

// selfID names a service that has nothing but its token: its ID, and its user.
func selfID(token string) string {
	sum := sha256.Sum256([]byte("self-registration\x00" + token))
	return "as_" + hex.EncodeToString(sum[:8])
}

func (s *Service) bounded(spaces registration.Namespaces) error {
	count := 0
	for _, k := range s.kinds(&registration.Registration{Namespaces: spaces}) {
		for _, space := range k.spaces {
			if count++; count > maxSelfSpaces || len(space.Regex) > maxSelfRegex {
				return matrix.InvalidParam("Namespaces may have %d expressions of %d bytes.", maxSelfSpaces, maxSelfRegex)
			}
			if space.Matches(k.stranger) {
				return matrix.Exclusive("The expression %.120q matches everything.", space.Regex)
			}
		}
	}
	return nil
}

// harmless is M_EXCLUSIVE for what takes names from others.
func (s *Service) harmless(ctx context.Context, data []byte) error {
	report, _, err := s.check(ctx, "", data)
	if err != nil {
		return err
	}
	if !report.Usable {
		return matrix.InvalidParam("%s", &AddError{report})
	}
	for _, m := range report.Matches {
		if m.Foreign > 0 || m.Kind == "rooms" && m.Count > 0 {
			return matrix.Exclusive("The expression %.120q matches %s that are not the service's.", m.Regex, m.Kind)
		}
	}
	for _, o := range report.Overlaps {
		if o.Kind == "users" || o.Both {
			return matrix.Exclusive("The expression %.120q matches names of another service.", o.Regex)
		}
	}
	if report.partial {
		return matrix.Forbidden("There are too many names to look through; ask the operator for a file.")
	}
	return nil
}

// Unregister takes a service out of force that has registered itself.
func (s *Service) Unregister(ctx context.Context, token string) error {
	if err := s.Knows(token); err != nil {
		return err
	}
	_, err := s.Remove(ctx, selfID(token))
	return err
}
