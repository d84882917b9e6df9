package sender

import (
	"context"
	"slices"

	"trestle/internal/matrix"
)

// A Kind says what a change is, and so where in a transaction it goes.
type Kind uint8

const (
	// Event is a room event.
	Event Kind = iota
	// Ephemeral is a receipt, typing or presence.
	Ephemeral
	// ToDevice is a message to a device.
	ToDevice
	// DeviceChanged says that the keys of the sender's devices have changed, or
	// that the sender has come into the room.
	DeviceChanged
	// DeviceLeft says that the sender has left the room, and is seen in the
	// rooms that are listed, if there are any.
	DeviceLeft
	// KeyCounts says how many unused keys the sender's devices have.
	KeyCounts

	kinds
)

// A Change is one entry of the homeserver's stream, with what is needed to
// decide who is interested and to write it into a transaction.
type Change struct {
	Position int64
	Kind     Kind

	Room matrix.RoomID // empty for presence and to-device messages
	// Sender is who did it: of an event, the sender; of a receipt or presence,
	// the user; empty for typing.
	Sender matrix.UserID
	// Target is whom it is done to: the state_key of an m.room.member event, or
	// the user whose device a message is for.
	Target matrix.UserID
	Device matrix.DeviceID // for which a message is
	// Membership is that of an m.room.member event, and empty for all others.
	Membership string
	// Reset says that the room's membership changed by more than this event
	// tells, as state resolution can do.
	Reset bool
	// Private is true for a receipt that only its own user's service may see.
	Private bool
	// Only is the ID of the one service that a change of device lists is for:
	// what it sees has changed, not what others do. Empty: all who are interested.
	Only string
	// Rooms are those in which a user with new presence or keys is seen.
	Rooms []matrix.RoomID
	// Keys is what a KeyCounts tells, by device.
	Keys map[matrix.DeviceID]UnusedKeys

	// Time is when it came about, ms since 1970, or 0. An event says so by itself;
	// the sender knows better.
	Time int64
	Size int // about how many bytes Body appends; bounds memory
	Body Body
	// Key is for changes that say how something is, not what has happened: a
	// later one takes the place of an earlier one with the same key that waits.
	Key string
}

// UnusedKeys is how many one-time keys a device has left, by algorithm, and
// the algorithms of its fallback keys that were not given out yet.
type UnusedKeys struct {
	OneTime  map[string]int
	Fallback []string
}

// A Body writes a change as JSON: an event in client format with its room_id,
// an ephemeral event with its room_id if it has one, a to-device message with
// to_user_id and to_device_id. It is asked at most once for each service, when
// a transaction is frozen, and has to be safe for concurrent use. Changes of
// device lists and of keys have none.
type Body interface {
	AppendJSON(dst []byte) []byte
}

// A Source is one kind of change in the stream.
type Source interface {
	// Changes returns the first changes at positions after < p <= upTo, in
	// order of position, none of a position or all: at least so many that they are
	// [Full], unless there are no more, and not many more. Everything up to upTo
	// has been committed.
	Changes(ctx context.Context, after, upTo int64, limit int) ([]Change, error)
}

// PageBytes is how large changes are together, by Size, that are enough at once,
// however few.
const PageBytes = 4 << 20

// Full reports whether changes are enough for a page.
func Full(changes []Change, limit int) bool {
	if len(changes) >= limit {
		return true
	}
	bytes := 0
	for i := range changes {
		bytes += changes[i].Size
	}
	return bytes >= PageBytes
}

// pageAfter is how many changes to read after some, so that they make so many bytes:
// most of them at most.
func pageAfter(changes []Change, bytes, most int) int {
	size := 0
	for i := range changes {
		size += changes[i].Size
	}
	if size == 0 {
		return most
	}
	return min(max(len(changes)*bytes/size, smallPage), most)
}

// A Stream is the source of room events, which knows the stream's end as well.
type Stream interface {
	Source
	// Moves is Changes without events but for memberships, which need no Body.
	Moves(ctx context.Context, after, upTo int64, limit int) ([]Change, error)
	// Head is the newest committed position, of changes of all kinds.
	Head(ctx context.Context) (int64, error)
	// Count is how many events there are at positions after < p <= upTo, or some more.
	Count(ctx context.Context, after, upTo int64) (int64, error)
}

// Rooms tells who is in a room.
type Rooms interface {
	// Room returns the room as it stood when the change at this position had
	// been made, not as it is now: a service that was down must get the events
	// from before its users left. Aliases may be those of now.
	Room(ctx context.Context, room matrix.RoomID, position int64) (Room, error)
}

// A Room is what interest in a room depends on besides its ID.
type Room struct {
	Members []matrix.UserID // joined and local; others do no harm
	Aliases []matrix.RoomAlias
}

// A feed is several sources as one: all, or those of a passage whose events are not sent.
type feed []Source

// moves is a stream without what is not sent of a passage that is skipped.
type moves struct{ Stream }

// Changes implements Source.
func (m moves) Changes(ctx context.Context, after, upTo int64, limit int) ([]Change, error) {
	return m.Stream.Moves(ctx, after, upTo, limit)
}

// newFeed is the sources that there are.
func newFeed(sources ...Source) (f feed) {
	for _, source := range sources {
		if source != nil {
			f = append(f, source)
		}
	}
	return f
}

// sidePage is how many changes are read at once of what is no event: messages
// to devices can be large.
const sidePage = 100

// read returns changes in order, and the position through which they are all
// there are: upTo, or less if there are more than make a page.
func (f feed) read(ctx context.Context, after, upTo int64, limit int) ([]Change, int64, error) {
	through := upTo
	var all []Change
	for i, source := range f {
		limit := limit
		if i > 0 {
			limit = min(limit, sidePage)
		}
		changes, err := source.Changes(ctx, after, through, limit)
		if err != nil {
			return nil, 0, err
		}
		if len(changes) > 0 && Full(changes, limit) {
			through = min(through, changes[len(changes)-1].Position)
		}
		all = append(all, changes...)
	}
	if len(f) > 1 {
		slices.SortStableFunc(all, func(a, b Change) int { return int(a.Position - b.Position) })
		for len(all) > 0 && all[len(all)-1].Position > through {
			all = all[:len(all)-1]
		}
	}
	return all, through, nil
}
