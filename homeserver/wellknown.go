package homeserver

import (
	"trestle/homeserver/clientapi"
	"trestle/internal/matrix"
)

// accountConfig is what clients are told of the server as a whole.
func (s *Server) accountConfig() clientapi.AccountConfig {
	c := clientapi.AccountConfig{
		BaseURL: s.cfg.BaseURL(), RoomVersion: s.cfg.Rooms.DefaultVersion, UnstableFeatures: s.proposals(), Capabilities: s.capabilities(),
		PreferSSO: s.cfg.SSO.Preferred, WellKnown: s.wellKnown(), FederationAt: matrix.ServerName(s.cfg.WellKnown.Server), SupportPage: s.cfg.WellKnown.SupportPage,
	}
	for _, who := range s.cfg.WellKnown.Contacts {
		c.Contacts = append(c.Contacts, clientapi.Contact{MatrixID: matrix.UserID(who.MatrixID), EmailAddress: who.Email, Role: who.Role})
	}
	return c
}

// wellKnown is what clients find at /.well-known/matrix/client beside the
// server. Those that do not ask for transports of calls (MSC4143) yet look
// there for them; what the operator says wins.
func (s *Server) wellKnown() map[string]any {
	members := map[string]any{}
	if foci := clientapi.Transports(s.cfg.Calls.LiveKit); len(foci) > 0 {
		members["org.matrix.msc4143.rtc_foci"] = foci
	}
	for name, value := range s.cfg.WellKnown.ClientMembers() {
		members[name] = value
	}
	return members
}
