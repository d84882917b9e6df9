package homeserver

// proposals are the features of /versions that are not in the specification
// and are served all the same.
func (s *Server) proposals() map[string]bool {
	later, _ := s.delayed.Limits()
	return map[string]bool{
		"com.beeper.batch_sending":  true,      // history that bridges import
		"org.trestle.ordered":       true,      // many events in one request
		"org.matrix.msc4140":        later > 0, // events that are sent later
		"org.matrix.msc4140.stable": later > 0,
		"org.matrix.msc4143":        true, // transports for calls
		"org.matrix.msc4151":        true, // reports of rooms
		"org.matrix.msc4155":        true, // invites that are not wanted
		"org.matrix.msc4380":        true, // no invites at all
		"org.matrix.msc4380.stable": true,
		// Rooms that two people are in; kinds of rooms in the directory. Clients
		// look for these names still, and not for versions of the specification.
		"uk.half-shot.msc2666.query_mutual_rooms":        true,
		"uk.half-shot.msc2666.query_mutual_rooms.stable": true,
		"org.matrix.msc3827.stable":                      true,

		"org.matrix.msc4222":            true, // state after the timeline in /sync
		"org.matrix.simplified_msc3575": true, // sliding sync
		"org.matrix.msc3030":            true, // the event closest to a time
		"org.matrix.msc3391":            true, // deleting account data
		"org.matrix.msc3814":            true, // dehydrated devices
		"org.matrix.msc3890":            true, // silencing devices from afar
		"org.matrix.msc4306":            true, // threads that users follow
		"org.matrix.msc4308":            true, // the same in sliding sync
		"org.matrix.msc3967":            true, // first cross-signing keys without authentication
		"org.matrix.msc3881":            true, // switching pushers of other devices
		"org.matrix.msc3881.stable":     true,
		"org.matrix.msc4076":            true, // clients that count what is unread themselves
	}
}
