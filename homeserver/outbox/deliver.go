package outbox

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"

	"trestle/homeserver/federation"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	// maxPDUs is how many events a transaction may have (Server-Server API § Transactions), and maxBytes how large they are
	// together, if it is more than one: what is on its way to all servers is in memory.
	maxPDUs  = 50
	maxBytes = 512 << 10
	// maxLogged is of how many events in a transaction it is logged that they were refused.
	maxLogged = 3
)

// A turn is what is to be done for a destination now.
type turn struct {
	name        matrix.ServerName
	transaction storage.Transaction // that was made before; empty: none
	unsure      bool                // it may be another one
	failing     bool                // that is known
	refused     int                 // how often the transaction was called no good
	thin, send  bool
}

// An outcome is what came of a turn.
type outcome struct {
	transaction storage.Transaction // that is next
	unsure      bool
	gone        int  // so many events wait no more
	nothing     bool // there was nothing that waited
	thinned     bool

	taken     bool          // the destination has taken a transaction
	tried     bool          // it was sent one
	err       error         // why it has not taken it
	away      bool          // with err: it could not be reached
	refused   bool          // with err: it says that the transaction is no good
	givenUp   bool          // with refused: it is not sent again
	fault     bool          // with err: it is not the destination's
	until     time.Time     // with err: it is to be left alone so long, if it is not heard from
	notBefore time.Duration // with err: it wants to be left alone for so long
}

// work does what a turn is for. Its context ends when the work has to be broken off.
func (s *Service) work(ctx context.Context, t turn) (o outcome) {
	o.transaction = t.transaction
	if err := s.turn(ctx, t, &o); err != nil {
		// It is not known what is stored.
		o.err, o.fault, o.unsure = err, true, true
		if ctx.Err() == nil {
			s.Log.WarnContext(ctx, "events wait for a server", "server", t.name, "err", err)
		}
	}
	return o
}

func (s *Service) turn(ctx context.Context, t turn, o *outcome) (err error) {
	if t.unsure {
		if o.transaction, err = s.store.Transaction(ctx, t.name); err != nil {
			return err
		}
	}
	if t.thin {
		if err := s.thin(ctx, t.name, o); err != nil {
			return err
		}
	}
	if !t.send {
		return nil
	}
	if o.transaction.ID == "" {
		if err := s.freeze(ctx, t.name, 0, o); err != nil || o.transaction.ID == "" {
			return err
		}
	}
	pdus, err := s.load(ctx, t.name, o.transaction)
	if err != nil {
		return err
	}
	if len(pdus) > 0 {
		s.deliver(ctx, t, pdus, o)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // it is sent again after the next start
	case errors.Is(o.err, federation.ErrDenied):
		o.err = nil
		return s.drop(ctx, t.name, o)
	case o.err != nil && !o.givenUp:
		if !t.failing {
			s.noteFailing(ctx, t.name)
		}
		return nil
	}
	return s.freeze(ctx, t.name, o.transaction.Through, o)
}

// freeze stores what the next transaction is made of, before anybody is sent it, and removes what the destination has taken:
// so it is the same transaction, with the same ID, however often it is sent.
func (s *Service) freeze(ctx context.Context, name matrix.ServerName, taken int64, o *outcome) error {
	entries, err := s.store.Entries(ctx, name, taken, math.MaxInt64, maxPDUs)
	if err != nil {
		return err
	}
	var next storage.Transaction
	if len(entries) > 0 {
		events, err := s.events(ctx, entries)
		if err != nil {
			return err
		}
		next = storage.Transaction{ID: rand.Text(), At: s.Now().UnixMilli()}
		size := 0
		for _, entry := range entries {
			if e := events[entry.EventNID]; e != nil {
				if size += len(e.JSON()); size > maxBytes && next.Through > 0 {
					break
				}
			}
			next.Through = entry.Position
		}
	}
	var gone int64
	err = s.Store.DB.Update(ctx, func(tx *database.Tx) error {
		gone, err = s.store.Freeze(ctx, tx, name, taken, next)
		return err
	})
	if err != nil {
		return err
	}
	o.transaction, o.gone, o.nothing = next, o.gone+int(gone), len(entries) == 0
	return nil
}

// load is the events of a transaction, as they are sent.
func (s *Service) load(ctx context.Context, name matrix.ServerName, t storage.Transaction) ([]json.RawMessage, error) {
	entries, err := s.store.Entries(ctx, name, 0, t.Through, maxPDUs)
	if err != nil {
		return nil, err
	}
	events, err := s.events(ctx, entries)
	if err != nil {
		return nil, err
	}
	pdus := make([]json.RawMessage, 0, len(entries))
	for _, entry := range entries {
		e := events[entry.EventNID]
		if e == nil {
			continue // it was deleted
		}
		// What old rooms allow cannot be part of a request that is signed.
		if !e.Version.StrictJSON {
			if _, err := matrix.CanonicalJSON(e.JSON()); err != nil {
				s.Log.WarnContext(ctx, "an event cannot be sent to other servers", "event", e.ID, "err", err)
				continue
			}
		}
		pdus = append(pdus, e.JSON())
	}
	return pdus, nil
}

// events is those that are not gone, by their numbers.
func (s *Service) events(ctx context.Context, entries []storage.OutboxEntry) (map[int64]*storage.Event, error) {
	nids := make([]int64, 0, len(entries))
	for _, entry := range entries {
		if !entry.Gone {
			nids = append(nids, entry.EventNID)
		}
	}
	list, err := s.Store.Events.ByNIDs(ctx, nids)
	if err != nil {
		return nil, err
	}
	events := make(map[int64]*storage.Event, len(list))
	for _, e := range list {
		events[e.NID] = e
	}
	return events, nil
}

// A transaction is what another server is sent (Server-Server API § Transactions).
type transaction struct {
	Origin matrix.ServerName `json:"origin"`
	At     int64             `json:"origin_server_ts"`
	PDUs   []json.RawMessage `json:"pdus"`
}

// deliver sends a transaction once.
func (s *Service) deliver(ctx context.Context, t turn, pdus []json.RawMessage, o *outcome) {
	began := time.Now()
	var answer json.RawMessage
	o.err = s.Client.JSON(ctx, federation.Request{
		To: t.name, Method: http.MethodPut, URI: "/_matrix/federation/v1/send/" + o.transaction.ID, Timeout: s.Timeout,
		Content: transaction{s.ServerName, o.transaction.At, pdus},
	}, &answer)
	o.tried = true
	var unreachable *federation.Unreachable
	var refusal *federation.Refusal
	switch {
	case o.err == nil:
		o.taken = true
	case ctx.Err() != nil:
		return
	case errors.As(o.err, &unreachable):
		o.away, o.until, o.tried = true, unreachable.Until, unreachable.Err != nil
	case errors.As(o.err, &refusal):
		o.notBefore = refusal.RetryAfter
		o.refused = refusal.Status == http.StatusBadRequest || refusal.Status == http.StatusRequestEntityTooLarge
		if o.givenUp = o.refused && t.refused+1 >= refusals; o.givenUp {
			s.Log.ErrorContext(ctx, "a transaction that a server does not take is given up", "server", t.name, "events", len(pdus), "err", o.err)
		}
	}
	if o.tried {
		s.metrics.transaction(o, len(pdus), time.Since(began))
	}
	if o.taken {
		s.logRefused(ctx, t.name, answer)
	}
}

// logRefused logs some of the events of a transaction that another server has not let into their rooms. They are not sent
// again: it would not let them in then.
func (s *Service) logRefused(ctx context.Context, name matrix.ServerName, answer json.RawMessage) {
	var said struct {
		PDUs map[string]json.RawMessage `json:"pdus"`
	}
	if json.Unmarshal(answer, &said) != nil {
		return // it has taken the transaction, whatever it says of it
	}
	logged := 0
	for id, raw := range said.PDUs {
		var event struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(raw, &event) != nil || event.Error == "" {
			continue
		}
		if logged++; logged > maxLogged {
			return
		}
		s.Log.InfoContext(ctx, "a server does not want an event", "server", name, "event", fmt.Sprintf("%.255q", id), "says", fmt.Sprintf("%.200q", event.Error))
	}
}

// noteFailing stores since when a destination fails, for the next start.
func (s *Service) noteFailing(ctx context.Context, name matrix.ServerName) {
	err := s.Store.DB.Update(ctx, func(tx *database.Tx) error { return s.store.Failing(ctx, tx, name, s.Now().UnixMilli()) })
	if err != nil {
		s.Log.WarnContext(ctx, "since when a server fails is not noted", "server", name, "err", err)
	}
}

// thin leaves of each room the newest event that waits for a destination, the transaction's aside.
func (s *Service) thin(ctx context.Context, name matrix.ServerName, o *outcome) error {
	var gone int64
	err := s.Store.DB.Update(ctx, func(tx *database.Tx) (err error) {
		gone, err = s.store.Thin(ctx, tx, name, o.transaction.Through)
		return err
	})
	if err != nil {
		return err
	}
	o.gone, o.thinned = o.gone+int(gone), true
	s.metrics.events.WithLabelValues(eventsSkipped).Add(float64(gone))
	return nil
}

// drop removes all that waits for a server with which this one has nothing to do any more.
func (s *Service) drop(ctx context.Context, name matrix.ServerName, o *outcome) error {
	var gone int64
	err := s.Store.DB.Update(ctx, func(tx *database.Tx) (err error) {
		gone, err = s.store.Drop(ctx, tx, name)
		return err
	})
	if err != nil {
		return err
	}
	o.gone, o.transaction = o.gone+int(gone), storage.Transaction{}
	return nil
}
