package homeserver

import (
	"trestle/homeserver/api"
	"trestle/homeserver/legacyapi"
)

// legacy is the Client-Server API of 2014, a part of which is that of today.
func (s *Server) legacy(today []api.Route) []api.Route {
	return legacyapi.Routes(legacyapi.Services{
		ServerName: s.cfg.ServerName, Accounts: s.accounts, Rooms: s.rooms, Ephemeral: s.ephemeral, Sync: s.sync,
	}, today)
}
