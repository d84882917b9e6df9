package homeserver

import (
	"trestle/homeserver/adminapi"
	"trestle/homeserver/api"
	"trestle/homeserver/notices"
	"trestle/homeserver/storage"
	"trestle/internal/matrix"
	"trestle/internal/telemetry"
)

// noticesUser sends the notices of the server; empty if nobody does.
func (s *Server) noticesUser() matrix.UserID {
	if s.cfg.Notices.LocalPart == "" {
		return ""
	}
	return matrix.NewUserID(s.cfg.Notices.LocalPart, s.cfg.ServerName)
}

// adminRoutes is the operator's API.
func (s *Server) adminRoutes() []api.Route {
	n := s.cfg.Notices
	return adminapi.Routes(adminapi.Services{
		ServerName: s.cfg.ServerName, Version: "Trestle " + telemetry.Build().Version,
		Accounts: s.accounts, Rooms: s.rooms, Media: s.media, Reports: s.reports, Pushers: s.pushers, SSO: s.sso, Outbox: s.peers.sends(),
		Registry: s.registry, Sender: s.sender, Registrar: s.registrar, Ledger: s.ledger,
		Notices: notices.New(notices.Options{
			DB: s.db, Store: storage.NewNotices(s.db), Accounts: s.accounts, Rooms: s.rooms,
			User: s.noticesUser(), DisplayName: n.DisplayName, AvatarURL: n.AvatarURL,
			RoomName: n.RoomName, RoomTopic: n.RoomTopic, AutoJoin: n.AutoJoin,
		}),
	})
}
