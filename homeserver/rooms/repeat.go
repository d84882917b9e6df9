package rooms

import (
	"context"
	"errors"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

const (
	// firstLooks is how many new requests of a sender are looked for among the
	// stored ones before it is taken for somebody who does not repeat, and
	// doubtedLooks the same for one who has repeated something after that.
	firstLooks   = 10
	doubtedLooks = 1000
	// keptSenders is of how many that is remembered.
	keptSenders = 100_000
)

// repeats knows whose requests have to be looked for. Most requests are made once,
// and a repeat mostly comes soon, while the first is in memory. Of those that come
// later the database knows: it stores no event twice under one transaction key. So a
// request may go ahead without a look, and is looked for if it is refused. That
// costs those who write to the room at the same time, so senders are looked at first:
// somebody who was cut off, or whose server was, repeats at once (decision 41).
type repeats struct {
	left *lru.Cache[matrix.UserID, int] // looks that are left
}

func newRepeats() repeats { return repeats{lru.New[matrix.UserID, int](keptSenders, nil)} }

// likely reports whether a sender's request should be looked for before it is
// carried out.
func (r repeats) likely(sender matrix.UserID) bool {
	left, known := r.left.Get(sender)
	return !known || left > 0
}

// looked takes in what a look has found.
func (r repeats) looked(sender matrix.UserID, found bool) {
	left, known := r.left.Get(sender)
	switch {
	case !known:
		left = firstLooks
	case found:
		left = max(left, firstLooks)
	case left > 0:
		left--
	default:
		return
	}
	r.left.Put(sender, left)
}

// doubt takes in that a sender has repeated what was not looked for.
func (r repeats) doubt(sender matrix.UserID) { r.left.Put(sender, doubtedLooks) }

// remembered is the event that the same transaction made before, as far as it is
// in memory; empty if it is not.
func (s *Service) remembered(info *storage.RoomInfo, req SendRequest) (matrix.EventID, error) {
	earlier, ok := s.recent.Get(txn{info.NID, req.Sender, req.TxnKey})
	if !ok {
		return "", nil
	}
	id, err := earlier.id()
	if errors.Is(err, errStale) || database.IsUnique(err) {
		return "", nil // the latter was a repeat itself
	}
	return id, err
}

// stored is the event that the same transaction made before, or empty.
func (s *Service) stored(ctx context.Context, info *storage.RoomInfo, req SendRequest) (matrix.EventID, error) {
	senderNID, err := s.store.Users.NID(ctx, string(req.Sender))
	if err != nil {
		return "", err
	}
	return s.store.Events.ByTxn(ctx, info.NID, senderNID, req.TxnKey)
}

// plain tells that a request does nothing but to add a message. What is more than that, such as a redaction,
// is not to be done twice.
func (req SendRequest) plain() bool { return req.StateKey == nil && req.Type != "m.room.redaction" }

// unlessRepeated carries out a request, or is the event that it made before.
func (s *Service) unlessRepeated(ctx context.Context, info *storage.RoomInfo, req SendRequest, carryOut func() (matrix.EventID, error)) (matrix.EventID, error) {
	if req.TxnKey == "" {
		return carryOut()
	}
	if id, err := s.remembered(info, req); id != "" || err != nil {
		return id, err
	}
	if req.plain() && !s.repeats.likely(req.Sender) {
		id, err := carryOut()
		if err == nil {
			return id, nil
		}
		// It may be refused because of what has happened since it was carried out.
		if earlier, lookErr := s.stored(ctx, info, req); lookErr == nil && earlier != "" {
			s.repeats.doubt(req.Sender)
			return earlier, nil
		}
		return "", err
	}
	id, err := s.stored(ctx, info, req)
	if err != nil {
		return "", err
	}
	s.repeats.looked(req.Sender, id != "")
	if id != "" {
		return id, nil
	}
	return carryOut()
}
