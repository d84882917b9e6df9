package homeserver

import (
	"context"
	"crypto/sha256"

	"trestle/homeserver/api"
	"trestle/homeserver/console"
	"trestle/homeserver/console/record"
	"trestle/homeserver/ledger"
	"trestle/homeserver/storage"
	"trestle/internal/telemetry"
)

// connectConsole makes what the operator's console keeps, and what operators do
// about application services.
func (s *Server) connectConsole() {
	s.ledger = ledger.New(ledger.Options{
		Store: storage.NewAppServiceLog(s.db), Deliveries: s.sender, Registrations: s.registrar, Log: s.log,
	})
	s.record = record.New(record.Options{Accounts: s.accounts, DB: s.db, Store: storage.NewConsole(s.db)})
}

// consoleRoutes are the pages of the operator's console, if it is on.
func (s *Server) consoleRoutes(limiter *api.RateLimiter) []api.Route {
	if !s.cfg.Console.Enabled {
		return nil
	}
	secret := sha256.Sum256(append([]byte("console pages\x00"), s.operatorKey...))
	options := console.Options{
		ServerName: s.cfg.ServerName, Version: "Trestle " + telemetry.Build().Version, BaseURL: s.cfg.BaseURL(),
		Secret: secret[:], Record: s.record, Deliveries: s.sender, Ledger: s.ledger, Registry: s.registry,
		Elsewhere: s.elsewhere(),
	}
	if limiter != nil {
		options.Limiter = limiter
	}
	return console.Routes(options)
}

// sampleDeliveries notes how the delivery to application services stands.
func (s *Server) sampleDeliveries(ctx context.Context) error {
	var counts []record.Count
	for _, status := range s.sender.Status() {
		counts = append(counts, record.Count{
			Service: status.ID, Backlog: status.Backlog(), Oldest: status.Oldest, Events: status.Events, Failures: status.Failures,
		})
	}
	return s.record.Sample(ctx, counts)
}
