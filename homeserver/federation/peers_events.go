package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"trestle/internal/matrix"
	"trestle/internal/matrix/roomversion"
)

const (
	// oneEvent is how many bytes an answer with one event may have.
	oneEvent = rawEvent + 64<<10
	// maxHistory is how many events are asked for at once; maxHistoryAnswer is how many bytes they may have together, and historyTime how
	// long they may take.
	maxHistory       = 500
	maxHistoryAnswer = 64 << 20
	historyTime      = 2 * time.Minute
	// maxFrom is how many events others are asked for from: they are in the address, or are what a room has open ends of.
	maxFrom = 50
)

// Event is an event of a room (Server-Server API § Retrieving events). Whoever answers may be anybody: it has that ID, and is of
// that room, and no more is known.
func (p *Peers) Event(
	ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, id matrix.EventID,
) (*matrix.Event, error) {
	var events []*matrix.Event
	c := newCollection(v, room)
	c.left = 1
	err := p.client.stream(ctx, Request{
		To: server, Method: http.MethodGet, Limit: oneEvent, URI: uri(federationV1, "event", id),
	}, func(s *splitter) error {
		if err := readEvents(s, map[string]taker{"pdus": c.list(&events)}); err != nil {
			return err
		}
		if len(events) != 1 || events[0].ID != id {
			return errors.New("it is not the event that was asked for")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return events[0], nil
}

// EventAuth is the auth chain of an event (Server-Server API § Retrieving event authorization information), as far as it is made of events of
// the room.
func (p *Peers) EventAuth(
	ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, id matrix.EventID,
) ([]*matrix.Event, error) {
	var events []*matrix.Event
	err := p.client.stream(ctx, Request{
		To: server, Method: http.MethodGet, Limit: roomAnswer, Timeout: roomTime, URI: roomURI(federationV1, "event_auth", room, id),
	}, func(s *splitter) error {
		return readEvents(s, map[string]taker{"auth_chain": newCollection(v, room).list(&events)})
	})
	if err != nil {
		return nil, err
	}
	return events, nil
}

// State is the state of a room before an event, and the auth chains of that state (Server-Server API § Retrieving events, GET
// /state), as far as those are events of the room.
func (p *Peers) State(
	ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, id matrix.EventID,
) (state, auth []*matrix.Event, err error) {
	c := newCollection(v, room)
	err = p.client.stream(ctx, Request{
		To: server, Method: http.MethodGet, Limit: roomAnswer, Timeout: roomTime, URI: stateURI("state", room, id),
	}, func(s *splitter) error {
		return readEvents(s, map[string]taker{"pdus": c.list(&state), "auth_chain": c.list(&auth)})
	})
	if err != nil {
		return nil, nil, err
	}
	return state, auth, nil
}

// StateIDs are the IDs of what [Peers.State] is (GET /state_ids).
func (p *Peers) StateIDs(
	ctx context.Context, server matrix.ServerName, room matrix.RoomID, id matrix.EventID,
) (state, auth []matrix.EventID, err error) {
	err = p.client.stream(ctx, Request{
		To: server, Method: http.MethodGet, Limit: roomAnswer, Timeout: roomTime, URI: stateURI("state_ids", room, id),
	}, func(s *splitter) error {
		return readEvents(s, map[string]taker{"pdu_ids": eventIDs(&state), "auth_chain_ids": eventIDs(&auth)})
	})
	if err != nil {
		return nil, nil, err
	}
	return state, auth, nil
}

func stateURI(operation string, room matrix.RoomID, id matrix.EventID) string {
	return uri(federationV1, operation, room) + "?" + url.Values{"event_id": {string(id)}}.Encode()
}

// eventIDs takes an array of event IDs. One that is none makes the answer worthless: it is known that something is missing, and not
// what.
func eventIDs(into *[]matrix.EventID) taker {
	known := map[matrix.EventID]bool{}
	return taker{most: 6*matrix.MaxIDLength + 2, each: true, take: func(raw []byte) error {
		var text string
		if raw == nil {
			return errors.New("an event ID is too long")
		}
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		id, err := matrix.ParseEventID(text)
		switch {
		case err != nil:
			return err
		case len(*into) == maxEvents:
			return errors.New("it has more event IDs than it may")
		case !known[id]:
			known[id] = true
			*into = append(*into, id)
		}
		return nil
	}}
}

// Backfill is what came before some events of a room, those included, newest first as a rule (Server-Server API § Backfilling and
// retrieving missing events). At most 500 events are asked for, from at most 50; what else comes is left out. They may refer to more
// other events than an event of today may.
func (p *Peers) Backfill(
	ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID, from []matrix.EventID, limit int,
) ([]*matrix.Event, error) {
	limit = min(max(limit, 1), maxHistory)
	query := url.Values{"limit": {strconv.Itoa(limit)}}
	for _, id := range from[:min(len(from), maxFrom)] {
		query.Add("v", string(id))
	}
	c := newCollection(v, room)
	c.parse = receivedHistory
	return p.history(ctx, Request{
		To: server, Method: http.MethodGet, URI: uri(federationV1, "backfill", room) + "?" + query.Encode(),
	}, "pdus", c, limit)
}

// MissingEvents are those between events that are known, the earliest, and others of which it is not known what came before, the
// latest, from a depth on; neither is among them (Server-Server API § Backfilling and retrieving missing events). At most 500 events are asked
// for, with 50 of each list.
func (p *Peers) MissingEvents(
	ctx context.Context, server matrix.ServerName, v *roomversion.Version, room matrix.RoomID,
	earliest, latest []matrix.EventID, minDepth int64, limit int,
) ([]*matrix.Event, error) {
	limit = min(max(limit, 1), maxHistory)
	content := struct {
		Limit    int              `json:"limit"`
		MinDepth int64            `json:"min_depth"`
		Earliest []matrix.EventID `json:"earliest_events"`
		Latest   []matrix.EventID `json:"latest_events"`
	}{limit, max(minDepth, 0), atMost(earliest, maxFrom), atMost(latest, maxFrom)}
	return p.history(ctx, Request{
		To: server, Method: http.MethodPost, URI: uri(federationV1, "get_missing_events", room), Content: content,
	}, "events", newCollection(v, room), limit)
}

// atMost is the beginning of a list, which is not null.
func atMost(ids []matrix.EventID, most int) []matrix.EventID {
	if len(ids) == 0 {
		return []matrix.EventID{}
	}
	return ids[:min(len(ids), most)]
}

// history is a part of a room's history, of at most limit events.
func (p *Peers) history(ctx context.Context, r Request, member string, c *collection, limit int) ([]*matrix.Event, error) {
	r.Limit, r.Timeout, c.left = maxHistoryAnswer, historyTime, 2*maxHistory
	var events []*matrix.Event
	err := p.client.stream(ctx, r, func(s *splitter) error {
		return readEvents(s, map[string]taker{member: c.list(&events)})
	})
	if err != nil {
		return nil, err
	}
	return events[:min(len(events), limit)], nil
}

// readEvents reads an answer all of whose members are needed.
func readEvents(s *splitter, takers map[string]taker) error {
	seen, err := s.object(takers)
	if err != nil {
		return err
	}
	for name := range takers {
		if err := require(seen, name); err != nil {
			return err
		}
	}
	return nil
}

// TimestampToEvent is the event next to a time, in milliseconds, after it or before, and the time of that event, as
// the other server says (Server-Server API § Retrieving events).
func (p *Peers) TimestampToEvent(
	ctx context.Context, server matrix.ServerName, room matrix.RoomID, ts int64, backward bool,
) (id matrix.EventID, at int64, err error) {
	query := url.Values{"ts": {strconv.FormatInt(ts, 10)}, "dir": {"f"}}
	if backward {
		query.Set("dir", "b")
	}
	var found struct {
		ID string `json:"event_id"`
		At *int64 `json:"origin_server_ts"`
	}
	err = p.client.JSON(ctx, Request{
		To: server, Method: http.MethodGet, Limit: maxResolved, URI: uri(federationV1, "timestamp_to_event", room) + "?" + query.Encode(),
	}, &found)
	if err != nil {
		return "", 0, err
	}
	id, err = matrix.ParseEventID(found.ID)
	switch {
	case err != nil:
		return "", 0, fmt.Errorf("%w: %s finds an event at a time: %v", ErrAnswer, server, err)
	case found.At == nil || *found.At > matrix.MaxInteger || *found.At < -matrix.MaxInteger || backward && *found.At > ts || !backward && *found.At < ts:
		return "", 0, fmt.Errorf("%w: %s finds an event at another time than it was asked for", ErrAnswer, server)
	}
	return id, *found.At, nil
}
