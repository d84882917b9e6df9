package sender

import (
	"context"
	"fmt"
	"slices"

	"trestle/appservice"
	"trestle/internal/matrix"
)

// Gone is what is kept of services that are not registered any more, in the order
// of their IDs: if one comes back, it goes on there.
func (s *Service) Gone(ctx context.Context) ([]appservice.Place, error) {
	places, err := s.opts.Store.Places(ctx)
	if err != nil {
		return nil, fmt.Errorf("read what is kept of application services: %w", err)
	}
	set := s.opts.Registry.Load()
	return slices.DeleteFunc(places, func(p appservice.Place) bool { return set.ByID(p.Service) != nil }), nil
}

// Forget removes what is kept of a service that is not registered: its place in
// the stream, frozen transactions, dead letters, that it is paused. It returns what
// that was. If it is registered again, it is new. One that is registered is
// M_UNKNOWN (409), one of which nothing is kept M_NOT_FOUND.
func (s *Service) Forget(ctx context.Context, id string) (appservice.Place, error) {
	none := matrix.NotFound("Nothing is kept of an application service %q.", id)
	if !storable(id) {
		return appservice.Place{}, none
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	if s.opts.Registry.Load().ByID(id) != nil {
		return appservice.Place{}, conflict("The application service %s is registered.", id)
	}
	if q := s.queue(id); q != nil {
		s.drop(ctx, q) // it is gone since this moment
	}
	place, err := s.opts.Store.Forget(ctx, id)
	if err != nil {
		return appservice.Place{}, fmt.Errorf("forget application service %s: %w", id, err)
	}
	if place == nil {
		return appservice.Place{}, none
	}
	s.opts.Logger.Warn("application service forgotten by an operator", "appservice", id, "position", place.Position,
		"transactions", place.Frozen, "events", place.Events, "letters", place.Letters)
	return *place, nil
}
