package homeserver

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"trestle/homeserver/registrar"
	"trestle/homeserver/storage"
)

// newRegistrar makes what looks after registrations.
func (s *Server) newRegistrar() *registrar.Service {
	var tokens []string
	for _, token := range s.cfg.Registration.AppServices {
		tokens = append(tokens, token.Reveal())
	}
	return registrar.New(registrar.Options{
		Tokens:     tokens,
		ServerName: s.cfg.ServerName, Folders: s.cfg.AppServices, Registry: s.registry, Names: storage.NewNames(s.db),
		InForce: s.registrationsChanged, Log: s.log,
	})
}

// followRegistrations takes in registrations that have changed. Files that are
// wrong leave everything as it was.
func (s *Server) followRegistrations(ctx context.Context) error {
	if !s.watch.changed() && !s.registrar.Unfinished() {
		return nil
	}
	return s.ReloadRegistrations(ctx)
}

// ReloadRegistrations reads all registrations again and goes on with them.
func (s *Server) ReloadRegistrations(ctx context.Context) error {
	_, err := s.registrar.Reload(ctx)
	return err
}

// registrationsChanged goes on with another set.
func (s *Server) registrationsChanged(ctx context.Context) error {
	s.unread.Ghosts()
	s.asides.unsure(s.notifier.Position())
	return s.sender.Reload(ctx)
}

// hangups returns the task of reading registrations again at each SIGHUP,
// whether files look changed or not. The signal is caught from now on.
func (s *Server) hangups() func(context.Context) error {
	received := make(chan os.Signal, 1)
	signal.Notify(received, syscall.SIGHUP)
	return func(ctx context.Context) error {
		defer signal.Stop(received)
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-received:
			}
			changes, err := s.registrar.Reload(ctx)
			if err != nil {
				s.log.ErrorContext(ctx, "registrations are refused", "err", err)
				continue
			}
			s.log.InfoContext(ctx, "registrations read again", "appservices", len(s.registry.Load().All()), "changes", len(changes))
		}
	}
}
