package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

const (
	// maxStripped is how many events describe a room to those who are not in it. Each may be of another server, which is asked for
	// its keys.
	maxStripped = 30
	// knockAnswer is how many bytes they may have together.
	knockAnswer = 2 << 20
	// inviteTime is how long an invited server may take: it may ask somebody, or other servers for keys.
	inviteTime = time.Minute
)

// SendLeave leaves a room with an event that was made of a template (Server-Server API § Leaving Rooms).
func (p *Peers) SendLeave(ctx context.Context, server matrix.ServerName, leave *matrix.Event) error {
	r := Request{
		To: server, Method: http.MethodPut, Content: json.RawMessage(leave.JSON()), Timeout: inviteTime,
		URI: roomURI(federationV2, "send_leave", leave.RoomID, leave.ID),
	}
	_, err := p.client.Bytes(ctx, r)
	if notThere(err) {
		r.URI = roomURI(federationV1, "send_leave", leave.RoomID, leave.ID)
		_, err = p.client.Bytes(ctx, r)
	}
	return err // whatever is in the answer: it has no meaning
}

// SendKnock knocks at a room with an event that was made of a template, and is the stripped state of the room (Server-Server API § Knocking upon a
// room), see [Peers.Stripped].
func (p *Peers) SendKnock(ctx context.Context, server matrix.ServerName, knock *matrix.Event) ([]json.RawMessage, error) {
	var said []json.RawMessage
	err := p.client.stream(ctx, Request{
		To: server, Method: http.MethodPut, Content: json.RawMessage(knock.JSON()), Limit: knockAnswer, Timeout: inviteTime,
		URI: roomURI(federationV1, "send_knock", knock.RoomID, knock.ID),
	}, func(s *splitter) error { return readKnock(s, &said) })
	if err != nil {
		return nil, err
	}
	return p.Stripped(ctx, knock.Version, knock.RoomID, said)
}

// readKnock reads the answer to a knock.
func readKnock(s *splitter, into *[]json.RawMessage) error {
	_, err := s.object(map[string]taker{"knock_room_state": {most: rawEvent, each: true, take: func(raw []byte) error {
		if raw != nil && len(*into) < maxStripped {
			*into = append(*into, append(json.RawMessage(nil), raw...))
		}
		return nil
	}}})
	return err
}

// Stripped is what another server says a room is like to somebody outside, as clients are told it (Client-Server API § Stripped state): type,
// state_key, sender and content of events, thirty at most, one of each type and state key. Those that are whole events, as they all
// should be, have to be ones of the room, and to be signed; what only looks like an event is believed as ever, since servers of before
// version 1.16 have nothing else, except that what claims to have created a room of version 12 or later must have done so.
func (p *Peers) Stripped(ctx context.Context, v *roomversion.Version, room matrix.RoomID, said []json.RawMessage) ([]json.RawMessage, error) {
	slots := make([]strippedEvent, 0, min(len(said), maxStripped))
	var whole []*matrix.Event
	for _, raw := range said[:min(len(said), maxStripped)] {
		s, ok := parseStripped(v, room, raw)
		if !ok {
			continue
		}
		if s.whole != nil {
			whole = append(whole, s.whole)
		}
		slots = append(slots, s)
	}
	good, err := p.Verified(ctx, whole)
	if err != nil {
		return nil, err
	}
	verified := map[*matrix.Event]bool{}
	for _, e := range good {
		verified[e] = true
	}
	list, known := []json.RawMessage{}, map[[2]string]bool{}
	for _, s := range slots {
		slot := [2]string{s.Type, *s.StateKey}
		if s.whole != nil && !verified[s.whole] || known[slot] {
			continue
		}
		raw, err := matrix.MarshalCanonical(s)
		if err != nil {
			continue // numbers of old room versions, which are no JSON of Matrix
		}
		known[slot] = true
		list = append(list, raw)
	}
	return list, nil
}

// A strippedEvent is what clients are told of a state event.
type strippedEvent struct {
	Type     string          `json:"type"`
	StateKey *string         `json:"state_key"`
	Sender   matrix.UserID   `json:"sender"`
	Content  json.RawMessage `json:"content"`

	whole *matrix.Event // of which it was made; nil: it came like this
}

// parseStripped reads an event that describes a room.
func parseStripped(v *roomversion.Version, room matrix.RoomID, raw []byte) (s strippedEvent, ok bool) {
	var kind struct {
		Hashes, Signatures json.RawMessage
	}
	if len(raw) > rawEvent || json.Unmarshal(raw, &kind) != nil {
		return s, false
	}
	if kind.Hashes != nil && kind.Signatures != nil {
		e, err := Received(v, raw)
		if err != nil || e.RoomID != room || !e.IsState() {
			return s, false
		}
		return strippedEvent{e.Type, e.StateKey, e.Sender, e.Content, e}, true
	}
	canonical, err := matrix.CanonicalJSON(raw)
	if err != nil || json.Unmarshal(canonical, &s) != nil {
		return s, false
	}
	_, err = matrix.ParseUserID(string(s.Sender))
	switch {
	case err != nil, s.StateKey == nil, len(s.Type) > matrix.MaxIDLength, len(*s.StateKey) > matrix.MaxIDLength,
		len(s.Content) == 0 || s.Content[0] != '{', len(canonical) > matrix.MaxEventSize, strings.Contains(s.Type+*s.StateKey, "\x00"),
		v.RoomIDFromCreate && s.Type == "m.room.create":
		return s, false
	}
	return s, true
}

// Invite has the server of an invited user sign the invite, which is then in the room (Server-Server API § Inviting to a room). stripped
// tells that server what the room is like: state events, the create event among them, in the format of the room's version.
// What is returned is the event that was sent, with the signature of the other server, which is verified. M_INVITE_BLOCKED and
// M_FORBIDDEN are refusals by the user or the server.
func (p *Peers) Invite(
	ctx context.Context, server matrix.ServerName, invite *matrix.Event, stripped []json.RawMessage,
) (*matrix.Event, error) {
	described := []json.RawMessage{}
	for _, raw := range stripped {
		// Numbers of old room versions can be in no request.
		if canonical, err := matrix.CanonicalJSON(raw); err == nil {
			described = append(described, canonical)
		}
	}
	r := Request{
		To: server, Method: http.MethodPut, Limit: knockAnswer, Timeout: inviteTime,
		URI: roomURI(federationV2, "invite", invite.RoomID, invite.ID),
		Content: map[string]any{
			"room_version": invite.Version.ID, "event": json.RawMessage(invite.JSON()), "invite_room_state": described,
		},
	}
	var returned *matrix.Event
	err := p.client.stream(ctx, r, func(s *splitter) error { return readInvite(s, invite, &returned) })
	if notThere(err) && invite.Version.HashedReferences {
		// Servers of former days, which take every room for one of version 1 or 2.
		r.URI = roomURI(federationV1, "invite", invite.RoomID, invite.ID)
		if r.Content, err = withDescription(invite, described); err != nil {
			return nil, err
		}
		err = p.client.stream(ctx, r, func(s *splitter) error {
			return s.pair(func() error { return readInvite(s, invite, &returned) })
		})
	}
	if err != nil {
		return nil, err
	}
	return p.countersigned(ctx, server, server, invite, returned)
}

// readInvite reads the invite that a server returns.
func readInvite(s *splitter, invite *matrix.Event, into **matrix.Event) error {
	seen, err := s.object(map[string]taker{"event": {most: rawEvent, take: func(raw []byte) (err error) {
		*into, err = newCollection(invite.Version, invite.RoomID).event(raw)
		return err
	}}})
	if err != nil {
		return err
	}
	return require(seen, "event")
}

// withDescription is an invite as it was sent once: what describes the room is in unsigned.
func withDescription(invite *matrix.Event, described []json.RawMessage) (json.RawMessage, error) {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(invite.JSON(), &members); err != nil {
		return nil, fmt.Errorf("invite %s: %w", invite.ID, err)
	}
	unsigned, err := json.Marshal(map[string]any{"invite_room_state": described})
	if err != nil {
		return nil, err
	}
	members["unsigned"] = unsigned
	return json.Marshal(members)
}
