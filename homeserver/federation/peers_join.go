package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"trestle/internal/matrix"
)

// maxServers is how many servers in a room are told.
const maxServers = 50_000

// A JoinAnswer is a room as a server in it tells who joins it.
type JoinAnswer struct {
	// State is that of the room before the join, and Auth the auth chains of the join and of the state. Those are events of the room,
	// and no more is known of them: nobody has checked signatures, or whether anything is missing.
	State, Auth []*matrix.Event
	// Event is the join as it has to be kept and sent to others. It has the signature of the server that lets the user into
	// a restricted room, if it needs one.
	Event *matrix.Event
	// Servers are those in the room, if that was said.
	Servers []matrix.ServerName
	// LeftOut is how many events came that are none, or are of another room.
	LeftOut int
}

// SendJoin joins a room with an event that was made of a template (Server-Server API § Joining Rooms). All of the state is asked for, which
// in a large room takes its time. After ErrAnswer or Unreachable the room may have been joined: sending the same event again, by
// another server as well, does no harm.
func (p *Peers) SendJoin(ctx context.Context, server matrix.ServerName, join *matrix.Event) (*JoinAnswer, error) {
	r := Request{
		To: server, Method: http.MethodPut, Content: json.RawMessage(join.JSON()), Limit: roomAnswer, Timeout: roomTime,
		URI: roomURI(federationV2, "send_join", join.RoomID, join.ID),
	}
	var reading *joinReading
	err := p.client.stream(ctx, r, func(s *splitter) error {
		reading = newJoinReading(join)
		return reading.read(s)
	})
	if notThere(err) {
		// Servers of before version 1.1.
		r.URI = roomURI(federationV1, "send_join", join.RoomID, join.ID)
		err = p.client.stream(ctx, r, func(s *splitter) error {
			reading = newJoinReading(join)
			return s.pair(func() error { return reading.read(s) })
		})
	}
	if err != nil {
		return nil, err
	}
	answer := &reading.answer
	answer.LeftOut = reading.events.leftOut
	if answer.Event, err = p.authorised(ctx, server, join, reading.returned); err != nil {
		return nil, err
	}
	return answer, nil
}

// joinReading is the answer to a join while it is read.
type joinReading struct {
	answer   JoinAnswer
	events   *collection
	returned *matrix.Event // the join as it came back
	partial  bool
}

func newJoinReading(join *matrix.Event) *joinReading {
	return &joinReading{events: newCollection(join.Version, join.RoomID)}
}

func (j *joinReading) read(s *splitter) error {
	seen, err := s.object(map[string]taker{
		"state":      j.events.list(&j.answer.State),
		"auth_chain": j.events.list(&j.answer.Auth),
		"event": {most: rawEvent, take: func(raw []byte) error {
			// What is wrong with it matters only if the join needs a signature.
			j.returned, _ = j.events.event(raw)
			return nil
		}},
		"members_omitted": {most: len("false"), take: func(raw []byte) error {
			j.partial = string(raw) == "true"
			return nil
		}},
		"servers_in_room": serverNames(&j.answer.Servers),
	})
	switch {
	case err != nil:
		return err
	case j.partial:
		return errors.New("it leaves members out, which nobody has asked for")
	}
	return require(seen, "state", "auth_chain")
}

// serverNames takes those elements of an array that name servers.
func serverNames(into *[]matrix.ServerName) taker {
	return taker{most: 2 * matrix.MaxIDLength, each: true, take: func(raw []byte) error {
		var text string
		if raw == nil || json.Unmarshal(raw, &text) != nil || len(*into) == maxServers {
			return nil
		}
		if name, err := matrix.ParseServerName(text); err == nil {
			*into = append(*into, name)
		}
		return nil
	}}
}

// authorised is a join with the signature of the server whose user lets somebody into a restricted room. Without it nobody would
// believe the join.
func (p *Peers) authorised(ctx context.Context, server matrix.ServerName, join, returned *matrix.Event) (*matrix.Event, error) {
	by := authoriser(join)
	if by == "" || by == join.Sender.Server() {
		return join, nil
	}
	if returned == nil {
		return nil, fmt.Errorf("%w: %s lets %s join, and does not sign that", ErrAnswer, server, join.Sender)
	}
	return p.countersigned(ctx, server, by, join, returned)
}

// countersigned is an event with what another server has signed in addition, of whose copy nothing else is believed.
func (p *Peers) countersigned(ctx context.Context, server, signer matrix.ServerName, e, returned *matrix.Event) (*matrix.Event, error) {
	if returned.ID != e.ID || returned.ReferenceHash() != e.ReferenceHash() {
		return nil, fmt.Errorf("%w: %s returns another event than %s", ErrAnswer, server, e.ID)
	}
	if keys := returned.SignatureKeys(signer); len(keys) == 0 || len(keys) > maxSignatures {
		return nil, fmt.Errorf("%w: %s returns %s with %d signatures of %s", ErrAnswer, server, e.ID, len(keys), signer)
	}
	signed, err := e.WithSignatures(returned, signer)
	if err != nil {
		return nil, fmt.Errorf("%w: %s returns %s: %v", ErrAnswer, server, e.ID, err)
	}
	err = p.keys.verifySignature(ctx, signed, signer)
	switch matrix.Code(err) {
	case "":
		return signed, err
	case "M_LIMIT_EXCEEDED":
		return nil, err
	}
	return nil, fmt.Errorf("%w: %s returns %s: %v", ErrAnswer, server, e.ID, err)
}
