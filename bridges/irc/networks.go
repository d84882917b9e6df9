package irc

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// networks are those of a service. Readers take them as they are at that moment, safely;
// only one goroutine at a time changes them.
type networks struct{ order atomic.Pointer[[]*network] }

func (s *networks) all() []*network {
	if order := s.order.Load(); order != nil {
		return *order
	}
	return nil
}

// add keeps the order of the IDs: of two networks that could mean a name, the first one is asked.
func (s *networks) add(n *network) {
	order := append(slices.Clone(s.all()), n)
	slices.SortStableFunc(order, func(a, b *network) int { return cmp.Compare(a.config.ID, b.config.ID) })
	s.order.Store(&order)
}

func (s *networks) remove(n *network) {
	order := slices.DeleteFunc(slices.Clone(s.all()), func(other *network) bool { return other == n })
	s.order.Store(&order)
}

// all are the networks that are configured.
func (s *Service) all() []*network { return s.networks.all() }

// network is the one with an ID, or nil.
func (s *Service) network(id string) *network {
	for _, n := range s.all() {
		if n.config.ID == id {
			return n
		}
	}
	return nil
}

// settings are what the operator wants of a network.
type settings struct {
	Network
	templates *templates
}

// now is what is in force: it may change from one call to the next. config, and the templates
// of names, are what the network was started with.
func (n *network) now() *settings { return n.live.Load() }
