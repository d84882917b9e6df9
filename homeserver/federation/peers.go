package federation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

// Peers asks other servers about rooms (Server-Server API § Joining Rooms, § Inviting to a room, § Leaving Rooms, § Knocking,
// § Backfilling and retrieving missing events, § Retrieving events).
//
// All of its methods have the errors of [Client.JSON]: [ErrDenied], [Unreachable], [Refusal], [ErrAnswer], and that of a context that
// has ended. [TryNext] says whether to ask another server, and [ForUser] puts them in terms of those for whom a server was asked.
//
// What events say is not proven by their being returned: those that are lists have to go through [Peers.Verified] and the
// authorization rules.
type Peers struct {
	client *Client
	keys   *KeyRing
}

// NewPeers makes a Peers.
func NewPeers(client *Client, keys *KeyRing) *Peers { return &Peers{client, keys} }

const (
	// What is as large as a room may have so many bytes and take so long: one of 50,000 members has some 80 MB.
	roomAnswer = 128 << 20
	roomTime   = 5 * time.Minute
	// maxEvents is how many events are in an answer.
	maxEvents = 500_000
	// rawEvent is how many bytes an event may have as it comes: with white space, escapes, and what was not signed.
	rawEvent = 4 * matrix.MaxEventSize
)

const (
	federationV1 = "/_matrix/federation/v1/"
	federationV2 = "/_matrix/federation/v2/"
)

// uri is the address of an operation.
func uri[T ~string](version, operation string, parts ...T) string {
	var b strings.Builder
	b.WriteString(version)
	b.WriteString(operation)
	for _, part := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(string(part)))
	}
	return b.String()
}

// roomURI is the address of an operation about an event of a room.
func roomURI(version, operation string, room matrix.RoomID, event matrix.EventID) string {
	return uri(version, operation, string(room), string(event))
}

// notThere reports whether a server, or a proxy before it, does not know an operation.
func notThere(err error) bool {
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Code != "" && refusal.Code != "M_UNRECOGNIZED" {
		return false
	}
	switch refusal.Status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed:
		return true
	}
	return false
}

// Received is an event as another server has sent it: in the format of its room version (see [matrix.ParseEvent]), and if it does
// not have the content that its sender hashed, redacted (Server-Server API § Validating hashes and signatures on received events).
//
// It has to come before its signatures are looked at. Which ones those are follows from the content, and what is taken away
// afterwards must not have spared one: an invite with a third_party_invite that its sender has not hashed would need no signature, and
// be everybody's invite after that.
func Received(v *roomversion.Version, raw []byte) (*matrix.Event, error) {
	e, err := matrix.ParseEvent(v, raw)
	return hashed(e, err)
}

// receivedHistory is [Received] for events of former days, see [matrix.ParseHistoricEvent].
func receivedHistory(v *roomversion.Version, raw []byte) (*matrix.Event, error) {
	e, err := matrix.ParseHistoricEvent(v, raw)
	return hashed(e, err)
}

func hashed(e *matrix.Event, err error) (*matrix.Event, error) {
	if err != nil || e.CheckHash() {
		return e, err
	}
	return e.Redact()
}

// A collection is the events of a room that come in an answer.
type collection struct {
	version *roomversion.Version
	room    matrix.RoomID
	parse   func(*roomversion.Version, []byte) (*matrix.Event, error) // nil: Received
	left    int                                                       // how many more may come
	leftOut int                                                       // those that are no events of the room
}

func newCollection(v *roomversion.Version, room matrix.RoomID) *collection {
	return &collection{version: v, room: room, left: maxEvents, parse: Received}
}

// list takes an array of events. What is there twice is taken once.
func (c *collection) list(into *[]*matrix.Event) taker {
	known := map[matrix.EventID]bool{}
	return taker{most: rawEvent, each: true, take: func(raw []byte) error {
		if c.left--; c.left < 0 {
			return errors.New("it has more events than it may")
		}
		e, err := c.event(raw)
		switch {
		case err != nil:
			c.leftOut++
		case !known[e.ID]:
			known[e.ID] = true
			*into = append(*into, e)
		}
		return nil
	}}
}

// event is an event of the room.
func (c *collection) event(raw []byte) (*matrix.Event, error) {
	if raw == nil {
		return nil, matrix.TooLarge("The event has more than %d bytes.", rawEvent)
	}
	e, err := c.parse(c.version, raw)
	if err != nil {
		return nil, err
	}
	if e.RoomID != c.room {
		return nil, matrix.BadJSON("The event is of another room.")
	}
	return e, nil
}

// require wants members of an answer.
func require(seen map[string]bool, names ...string) error {
	for _, name := range names {
		if !seen[name] {
			return fmt.Errorf("it has no %s", name)
		}
	}
	return nil
}

// Verified is those of some events whose signatures are good, in their order, see [KeyRing.VerifyEvents].
func (p *Peers) Verified(ctx context.Context, events []*matrix.Event) ([]*matrix.Event, error) {
	return p.keys.VerifyEvents(ctx, events)
}
