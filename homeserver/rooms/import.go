package rooms

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// MaxImport is how many events one import may have.
const MaxImport = 1000

// An ImportedEvent is a message from another network's past.
type ImportedEvent struct {
	// ID is the event's ID if the application service has chosen one. It has a
	// domain, which IDs of events that are not imported never have. Empty: the
	// server makes one.
	ID        matrix.EventID
	Sender    matrix.UserID
	Type      string
	Content   json.RawMessage
	Timestamp int64 // milliseconds since 1970
}

// An ImportRequest adds history to a room.
type ImportRequest struct {
	Room   matrix.RoomID
	By     matrix.UserID   // who imports, a member of the room
	Events []ImportedEvent // the oldest first
	// Forward puts the events at the room's end, where everybody gets to see
	// them; else they come before everything that is there. ForwardIfEmpty is
	// Forward for a room without messages.
	Forward, ForwardIfEmpty bool
	// Notify lets events at the end count as unread and notify people.
	Notify bool
	// Ghost tells users who need not be in the room for that, unless they are
	// banned from it: the other network knows who said what.
	Ghost func(matrix.UserID) bool
}

// An Import is what became of a request.
type Import struct {
	IDs     []matrix.EventID // in the order of the request
	Forward bool
}

// Import adds history. Events that are there already, by their IDs or, without
// one, by sender, type, time and content, stay where they are. All others go in, or
// none: M_FORBIDDEN by the room's rules as they are now, M_INVALID_PARAM and
// M_BAD_JSON for what cannot be imported, M_TOO_LARGE.
//
// Nothing ever refers to imported events as to what came before: their IDs are
// no hashes, which servers elsewhere would insist on.
func (s *Service) Import(ctx context.Context, req ImportRequest) (*Import, error) {
	info, err := s.known(ctx, req.Room)
	if err != nil {
		return nil, err
	}
	if err := req.check(); err != nil {
		return nil, err
	}
	req.name(s.ServerName)
	var done *Import
	_, err = s.update(ctx, info.NID, func(d *draft) error {
		i := importing{draft: d, req: &req, members: map[matrix.UserID]*matrix.Event{}}
		done, err = i.run()
		return err
	})
	if err != nil {
		return nil, err
	}
	return done, nil
}

func (req *ImportRequest) check() error {
	if len(req.Events) > MaxImport {
		return matrix.TooLarge("%d events are more than the %d that may be imported at once.", len(req.Events), MaxImport)
	}
	seen := make(map[matrix.EventID]bool, len(req.Events))
	for i, e := range req.Events {
		switch {
		case e.Type == "" || e.Type == "m.room.redaction":
			return matrix.InvalidParam("Event %d is of the type %q, which cannot be imported.", i, e.Type)
		case e.Timestamp <= 0 || e.Timestamp > matrix.MaxInteger:
			return matrix.InvalidParam("Event %d needs an origin_server_ts, a time in milliseconds since 1970.", i)
		case e.ID == "":
		case seen[e.ID]:
			return matrix.InvalidParam("The ID %s is there twice.", e.ID)
		case strings.IndexByte(string(e.ID), ':') < 2:
			return matrix.InvalidParam("Event %d: an ID that is chosen looks like $something:domain.", i)
		}
		seen[e.ID] = true
	}
	return nil
}

// name gives IDs to the events that have none: a hash of all that is said of
// them, so that a repeat finds them. Where several are the same, they are counted.
func (req *ImportRequest) name(server matrix.ServerName) {
	count := map[[sha256.Size]byte]int{}
	for i := range req.Events {
		e := &req.Events[i]
		if e.ID != "" {
			continue
		}
		content := new(bytes.Buffer)
		if json.Compact(content, e.Content) != nil {
			content = bytes.NewBuffer(e.Content) // it is refused when the event is built
		}
		sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %d %s", req.Room, e.Sender, e.Type, e.Timestamp, content))
		if count[sum]++; count[sum] > 1 {
			sum = sha256.Sum256(fmt.Appendf(sum[:], "%d", count[sum]))
		}
		e.ID = matrix.EventID("$" + base64.RawURLEncoding.EncodeToString(sum[:]) + ":" + string(server))
	}
}

// importing is one import, under the room's lock.
type importing struct {
	*draft
	req *ImportRequest
	// members is the membership that senders are judged by who are not in the room.
	members map[matrix.UserID]*matrix.Event
}

func (i *importing) run() (*Import, error) {
	if own, err := i.membership(i.req.By); err != nil {
		return nil, err
	} else if own != "join" {
		return nil, notMember(i.req.Room)
	}
	forward, err := i.forward()
	if err != nil {
		return nil, err
	}
	known, err := i.known()
	if err != nil {
		return nil, err
	}
	done := &Import{Forward: forward}
	for _, e := range i.req.Events {
		if known[e.ID] == nil {
			if err := i.add(e); err != nil {
				return nil, err
			}
		}
		done.IDs = append(done.IDs, e.ID)
	}
	if len(i.steps) == 0 {
		return done, nil
	}
	i.place = placement{silent: !i.req.Notify}
	if !forward {
		i.place.before, err = i.makeRoom(int64(len(i.steps)))
	}
	return done, err
}

// forward reports whether the events go to the room's end.
func (i *importing) forward() (bool, error) {
	if i.req.Forward || !i.req.ForwardIfEmpty {
		return i.req.Forward, nil
	}
	if i.room.inFlight(func(e *storage.Event) bool { return !e.IsState() }) {
		return false, nil
	}
	any, err := i.s.store.Events.AnyMessage(i.ctx, i.room.info.NID)
	return !any, err
}

// known is the events that are there already.
func (i *importing) known() (map[matrix.EventID]*storage.Event, error) {
	wanted := make(map[matrix.EventID]bool, len(i.req.Events))
	ids := make([]string, len(i.req.Events))
	for n, e := range i.req.Events {
		wanted[e.ID], ids[n] = true, string(e.ID)
	}
	// Those on their way come first: asked for after the stored ones, an event
	// that is stored in between would be among neither.
	var flying []*storage.Event
	i.room.inFlight(func(e *storage.Event) bool {
		if wanted[e.ID] {
			flying = append(flying, e)
		}
		return false
	})
	found, err := i.s.store.Events.ByIDs(i.ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, e := range flying {
		found[e.ID] = e
	}
	for _, e := range i.req.Events {
		there := found[e.ID]
		if there != nil && (there.RoomNID != i.room.info.NID || there.Sender != e.Sender || there.Type != e.Type) {
			return nil, matrix.InvalidParam("The ID %s is that of another event.", e.ID)
		}
	}
	return found, nil
}

// add decides about an event and puts it beside the others of the room.
func (i *importing) add(e ImportedEvent) error {
	event, err := i.decide(proposal{Sender: e.Sender, Type: e.Type, Content: e.Content, Timestamp: e.Timestamp}, i.judge)
	if err != nil {
		return err
	}
	if event, err = matrix.LoadEvent(event.Version, e.ID, event.JSON()); err != nil {
		return err
	}
	st, err := i.step(event, "")
	if err != nil {
		return err
	}
	i.push(st)
	return nil
}

// judge shows the room as if a ghost were in it.
func (i *importing) judge(v *view, sender matrix.UserID) (eventauth.State, error) {
	if !i.req.Ghost(sender) {
		return v, nil
	}
	switch own, err := i.membership(sender); {
	case err != nil:
		return nil, err
	case own == "join" || own == "ban":
		return v, nil
	}
	member := i.members[sender]
	if member == nil {
		key := string(sender)
		template := matrix.EventTemplate{
			RoomID: i.room.info.ID, Sender: sender, Type: "m.room.member", StateKey: &key, Content: json.RawMessage(`{"membership":"join"}`),
		}
		var err error
		if member, err = template.Build(i.room.info.Version, i.s.ServerName, i.s.Key); err != nil {
			return nil, err
		}
		i.members[sender] = member
	}
	return presence{v, member}, nil
}

// A presence is a room's state with one more member.
type presence struct {
	*view
	member *matrix.Event
}

// Event is the state event under a key, or nil.
func (p presence) Event(typ, stateKey string) *matrix.Event {
	if p.member.Is(typ, stateKey) {
		return p.member
	}
	return p.view.Event(typ, stateKey)
}

// A placement is where the events of a draft go; its zero value is the room's
// end, where they are news.
type placement struct {
	before int64 // the place in the room of the first event, if that is before the others; or 0
	silent bool
}

// of is the places of a draft's event in the room and in the stream.
func (p placement) of(ctx context.Context, tx *database.Tx, i int) (ordering, position int64, err error) {
	if position, err = tx.Position(ctx); err != nil {
		return 0, 0, err
	}
	switch {
	case p.before != 0:
		return p.before + int64(i), position, nil
	case p.silent:
		// A place of its own in the stream is what makes it silent.
		ordering = position
		position, err = tx.Position(ctx)
		return ordering, position, err
	}
	return position, position, nil
}
