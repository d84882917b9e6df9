package registration

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"trestle/internal/matrix"
)

// A Set is all registrations of a homeserver. It does not change, and may be
// used by many goroutines.
type Set struct {
	server  matrix.ServerName
	all     []*Registration
	byID    map[string]*Registration
	byToken map[[sha256.Size]byte]*Registration
	former  map[[sha256.Size]byte]*Registration // by the as_token from before a rotation
	senders map[matrix.UserID]*Registration
	users   *index
	aliases *index
	rooms   *index
}

// NewSet checks that the registrations can stand side by side: IDs, as_tokens
// and senders are unique. The error joins a [Problem] for each that is not.
func NewSet(server matrix.ServerName, regs ...*Registration) (*Set, error) {
	s := &Set{
		server:  server,
		all:     slices.Clone(regs),
		byID:    map[string]*Registration{},
		byToken: map[[sha256.Size]byte]*Registration{},
		former:  map[[sha256.Size]byte]*Registration{},
		senders: map[matrix.UserID]*Registration{},
	}
	var problems []error
	fail := func(r *Registration, line int, format string, args ...any) {
		problems = append(problems, &Problem{r.File, line, fmt.Sprintf(format, args...)})
	}
	for _, r := range s.all {
		if other := s.byID[r.ID]; other != nil {
			fail(r, r.lines.id, "The id %q is taken by %s.", r.ID, other.name())
		}
		token := sha256.Sum256([]byte(r.ASToken))
		if other := s.byToken[token]; other != nil {
			fail(r, r.lines.asToken, "The as_token of %q is that of %s as well; it tells services apart.", r.ID, other.name())
		}
		sender := r.Sender(server)
		if other := s.senders[sender]; other != nil {
			fail(r, r.lines.sender, "The sender %s of %q is that of %s as well.", sender, r.ID, other.name())
		} else if _, err := matrix.ParseUserID(string(sender)); err != nil {
			fail(r, r.lines.sender, "The sender_localpart of %q makes no user ID: %s.", r.ID, err)
		}
		s.byID[r.ID], s.byToken[token], s.senders[sender] = r, r, r
		if r.Previous.ASToken != "" {
			s.former[sha256.Sum256([]byte(r.Previous.ASToken))] = r
		}
	}
	for token, r := range s.former {
		if other := s.byToken[token]; other != nil && other != r {
			fail(other, other.lines.asToken, "The as_token of %q was the as_token of %s, which may still use it.", other.ID, r.name())
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	s.users = newIndex(s.all, func(r *Registration) []Namespace { return r.Namespaces.Users })
	s.aliases = newIndex(s.all, func(r *Registration) []Namespace { return r.Namespaces.Aliases })
	s.rooms = newIndex(s.all, func(r *Registration) []Namespace { return r.Namespaces.Rooms })
	s.users.fixed = s.fixedSenders()
	return s, nil
}

// fixedSenders is what senders match: their own service, exclusively, and
// whoever else watches them.
func (s *Set) fixedSenders() map[string]*matches {
	fixed := map[string]*matches{}
	for sender, own := range s.senders {
		interested := []*Registration{own}
		for _, r := range s.users.match(string(sender)).interested {
			if r != own {
				interested = append(interested, r)
			}
		}
		fixed[string(sender)] = &matches{interested: interested, exclusive: []*Registration{own}}
	}
	return fixed
}

func (r *Registration) name() string {
	if r.File != "" {
		return r.File
	}
	return fmt.Sprintf("the service %q", r.ID)
}

// Server is the name of the homeserver.
func (s *Set) Server() matrix.ServerName { return s.server }

// All returns the registrations in the order in which they were given.
func (s *Set) All() []*Registration { return s.all }

// ByID returns the registration, or nil.
func (s *Set) ByID(id string) *Registration { return s.byID[id] }

// ByToken returns the registration with this as_token, or nil. Tokens are
// looked up by their hash, so that the time it takes tells nothing about them.
func (s *Set) ByToken(token string) *Registration {
	if token == "" {
		return nil
	}
	return s.byToken[sha256.Sum256([]byte(token))]
}

// Holder returns the registration with this as_token, or with it before a
// rotation if that is good at the time. nil: there is none.
func (s *Set) Holder(token string, now time.Time) *Registration {
	if r := s.ByToken(token); r != nil || token == "" {
		return r
	}
	if r := s.former[sha256.Sum256([]byte(token))]; r != nil && r.Previous.Good(now) {
		return r
	}
	return nil
}

// UserWatchers returns the services that are interested in the user: those
// whose sender it is or whose namespace it is in, exclusively or not. Users of
// other homeservers interest nobody (§ Registration). The result is shared and
// must not be changed, as are those of all methods here.
func (s *Set) UserWatchers(user matrix.UserID) []*Registration { return s.user(user).interested }

// AliasWatchers returns the services whose namespace the alias is in.
func (s *Set) AliasWatchers(alias matrix.RoomAlias) []*Registration {
	return s.aliases.find(string(alias)).interested
}

// RoomWatchers returns the services whose namespace the room ID is in.
func (s *Set) RoomWatchers(room matrix.RoomID) []*Registration {
	return s.rooms.find(string(room)).interested
}

// UserOwner returns the service that has claimed the user for itself alone, or
// nil. Of several that did, it is the first.
func (s *Set) UserOwner(user matrix.UserID) *Registration { return first(s.user(user).exclusive) }

// AliasOwner returns the service that has claimed the alias, which must be a
// local one, for itself alone, or nil.
func (s *Set) AliasOwner(alias matrix.RoomAlias) *Registration {
	return first(s.alias(alias).exclusive)
}

// Covers reports whether the service may act as the user: it is its sender, or
// a local user in its namespace, exclusive or not, and no other's sender.
func (s *Set) Covers(r *Registration, user matrix.UserID) bool {
	if own := s.senders[user]; own != nil {
		return own == r
	}
	return slices.Contains(s.UserWatchers(user), r)
}

// CheckUser decides whether the user may be created by the service, or by a
// person if it is nil. The error is M_EXCLUSIVE.
func (s *Set) CheckUser(r *Registration, user matrix.UserID) error {
	if r != nil && !s.Covers(r, user) {
		return matrix.Exclusive("%s is not in the namespace of the application service %s.", user, r.ID)
	}
	return claimed(r, s.user(user).exclusive, "user ID")
}

// CheckAlias is [Set.CheckUser] for creating and deleting aliases.
func (s *Set) CheckAlias(r *Registration, alias matrix.RoomAlias) error {
	m := s.alias(alias)
	if r != nil && !slices.Contains(m.interested, r) {
		return matrix.Exclusive("%s is not in the namespace of the application service %s.", alias, r.ID)
	}
	return claimed(r, m.exclusive, "alias")
}

func claimed(r *Registration, owners []*Registration, kind string) error {
	if len(owners) == 0 || r != nil && slices.Contains(owners, r) {
		return nil
	}
	return matrix.Exclusive("This %s belongs to an application service.", kind)
}

func (s *Set) user(user matrix.UserID) *matches {
	if user.Server() != s.server {
		return noMatches
	}
	return s.users.find(string(user))
}

func (s *Set) alias(alias matrix.RoomAlias) *matches {
	if alias.Server() != s.server {
		return noMatches
	}
	return s.aliases.find(string(alias))
}

func first(list []*Registration) *Registration {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// A Registry holds the set in force, which can be replaced while the server
// runs.
type Registry struct{ set atomic.Pointer[Set] }

// NewRegistry starts with the given set.
func NewRegistry(set *Set) *Registry {
	r := &Registry{}
	r.set.Store(set)
	return r
}

// Load returns the set in force; take it once for one decision.
func (r *Registry) Load() *Set { return r.set.Load() }

// Store puts another set in force.
func (r *Registry) Store(set *Set) { r.set.Store(set) }
