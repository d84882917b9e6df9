package homeserver

import "trestle/homeserver/rooms"

// Rooms is how tests take users of other servers into rooms.
func (s *Server) Rooms() *rooms.Service { return s.rooms }
