package appservice

import "trestle/internal/matrix"

// A Cursor is how far the homeserver's delivery to one service has come.
type Cursor struct {
	Service string // the ID of its registration
	// Epoch began the first IDs of the service's transactions. They begin in another
	// way, by chance, whenever the homeserver reads its storage anew: whatever that
	// has forgotten, no ID comes again that the service has on record as done.
	Epoch string
	// Position is the place in the stream up to which everything that the
	// service should see has been frozen into transactions.
	Position int64
	// Number is that of the newest transaction frozen so far; some are left out.
	Number int64
	// Events behind SkippedFrom and up to Skipped are not sent, by an operator's word, or
	// because the service wanted to hear nothing then.
	SkippedFrom, Skipped int64
	// Silent is the place from which the service's registration has had no URL, or 0.
	Silent int64
}

// A Place is what the homeserver keeps of the delivery to one service.
type Place struct {
	Service  string
	Position int64 // of its cursor
	Frozen   int   // transactions that it has not accepted
	Events   int   // how many room events are in them
	Oldest   int64 // when the oldest change in them came about, ms since 1970, or 0
	Letters  int   // dead ones
	Paused   bool
}

// A Frozen is a transaction whose ID and body no longer change. It stays in
// storage until the service has answered 200.
type Frozen struct {
	Service string
	Number  int64  // 1, 2, 3 … for each service, with gaps
	ID      string // in the path
	Body    []byte // exactly as it is sent, at every attempt

	Position int64 // the cursor moves here with the freezing
	Events   int   // how many room events are inside
	Oldest   int64 // when the oldest change inside came about, ms since 1970, or 0

	// Messages are those inside that leave their devices' inboxes when the
	// transaction is acknowledged. They are stored, and not read again.
	Messages []Message
}

// A Message names a message to a device.
type Message struct {
	User     matrix.UserID
	Device   matrix.DeviceID
	Position int64
}
