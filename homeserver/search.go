package homeserver

import (
	"github.com/prometheus/client_golang/prometheus"

	"trestle/homeserver/reports"
	"trestle/homeserver/search"
)

// connectSearch makes what finds events, and what takes reports about them.
func (s *Server) connectSearch() {
	s.search = search.New(search.Options{
		Store: s.store, Rooms: s.rooms, Relations: s.related, Sync: s.sync, Position: s.notifier.Position, Log: s.log,
	})
	s.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "trestle_search_positions_behind", Help: "Changes whose words cannot be searched yet.",
	}, func() float64 { return float64(s.search.Behind()) }))
	s.reports = reports.New(reports.Options{
		DB: s.db, Store: s.store.Reports, Users: s.store.Users, Rooms: s.rooms, Accounts: s.accounts, Log: s.log,
	})
}
