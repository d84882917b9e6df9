package homeserver

import (
	"trestle/homeserver/api"
	"trestle/homeserver/delayed"
	"trestle/homeserver/storage"
)

func (s *Server) newDelayed(limiter *api.RateLimiter) *delayed.Service {
	o := delayed.Options{
		DB: s.db, Events: storage.NewDelayedEvents(s.db), Rooms: s.rooms, MayAct: s.accounts.MayAct,
		MaxDelay: s.cfg.Delayed.MaxDelay.Std(), MaxPerUser: s.cfg.Delayed.MaxPerUser, Log: s.log,
	}
	if limiter != nil {
		o.Limiter = limiter
	}
	return delayed.New(o)
}

// capabilities are those that depend on the configuration.
func (s *Server) capabilities() map[string]any {
	maxDelay, maxPerUser := s.delayed.Limits()
	limits := map[string]int64{"max_delay_ms": maxDelay.Milliseconds(), "max_scheduled": int64(maxPerUser)}
	return map[string]any{"m.delayed_events": limits, "org.matrix.msc4140.delayed_events": limits}
}
