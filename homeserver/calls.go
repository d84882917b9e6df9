package homeserver

import (
	"trestle/homeserver/clientapi"
	"trestle/homeserver/turn"
)

// calls is what clients are told of the servers that calls go through.
func (s *Server) calls() clientapi.CallsConfig {
	t := s.cfg.Calls.TURN
	return clientapi.CallsConfig{
		TURN: turn.New(turn.Options{
			URIs: t.URIs, Secret: t.SharedSecret.Reveal(), Username: t.Username, Password: t.Password.Reveal(),
			Lifetime: t.Lifetime.Std(), Guests: t.Guests,
		}),
		LiveKit: s.cfg.Calls.LiveKit, PolicyServerKey: s.cfg.PolicyServerKey,
	}
}
