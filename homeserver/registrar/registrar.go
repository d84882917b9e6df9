// Package registrar looks after the registration files of application services
// while the server runs: it alone puts what is in them in force, changes them
// for the operator, and explains them.
package registrar

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/registration"
)

// Names are the names that exist, page by page in their order.
type Names interface {
	Accounts(ctx context.Context, after matrix.UserID, limit int) ([]storage.NamedAccount, error)
	Aliases(ctx context.Context, after matrix.RoomAlias, limit int) ([]matrix.RoomAlias, error)
	Rooms(ctx context.Context, after matrix.RoomID, limit int) ([]matrix.RoomID, error)
}

// Options are what a [Service] works with.
type Options struct {
	ServerName matrix.ServerName
	Folders    []string // with registrations; new ones go into the first
	Registry   *registration.Registry
	Names      Names
	// InForce is told that the registry has another set.
	InForce func(context.Context) error
	// Tokens are the as_tokens that services may register themselves with.
	Tokens []string
	Now    func() time.Time // time.Now unless set
	Log    *slog.Logger
}

// A Service looks after registrations.
type Service struct {
	options Options
	offline bool // nothing is in force, the files only change

	mu     sync.Mutex // one reads or changes files at a time
	untold bool       // the last set did not reach everybody
}

// New makes a service of what has been loaded.
func New(options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Service{options: options}
}

// Offline makes the service work on folders without putting anything in force:
// for commands while no server runs.
func (s *Service) Offline(folders []string) {
	s.options.Folders, s.offline = folders, true
}

// Load reads the registrations in folders, which it makes if need be.
func Load(server matrix.ServerName, folders []string) (*registration.Set, error) {
	all, err := readFolders(folders)
	if err != nil {
		return nil, err
	}
	return registration.NewSet(server, all...)
}

func readFolders(folders []string) ([]*registration.Registration, error) {
	var all []*registration.Registration
	for _, folder := range folders {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, err
		}
		regs, err := registration.LoadDir(folder)
		if err != nil {
			return nil, err
		}
		all = slices.Concat(all, regs)
	}
	return all, nil
}

// Reload reads all files again and puts them in force, and says what is
// different. If anything is wrong in any of them, everything stays as it was.
func (s *Service) Reload(ctx context.Context) ([]registration.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reload(ctx)
}

// Unfinished reports whether what is in force has not reached everybody, so that
// Reload is worth another try though no file is different.
func (s *Service) Unfinished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.untold
}

func (s *Service) reload(ctx context.Context) ([]registration.Change, error) {
	set, err := Load(s.options.ServerName, s.options.Folders)
	if err != nil {
		return nil, fmt.Errorf("the registrations stay as they were: %w", err)
	}
	if s.offline {
		return nil, nil
	}
	changes := registration.Differences(s.options.Registry.Load(), set)
	if len(changes) == 0 && !s.untold {
		return nil, nil
	}
	s.options.Registry.Store(set)
	for _, c := range changes {
		s.options.Log.InfoContext(ctx, "registration of an application service", "appservice", c.ID, "change", c.Kind, "keys", c.Keys)
	}
	for _, r := range set.All() {
		for _, w := range r.Warnings {
			if slices.ContainsFunc(changes, func(c registration.Change) bool { return c.ID == r.ID }) {
				s.options.Log.WarnContext(ctx, "registration of an application service: "+w.Error(), "appservice", r.ID)
			}
		}
	}
	err = s.options.InForce(ctx)
	s.untold = err != nil
	return changes, err
}
