package encryption

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice"
	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	maxMessage   = 64 << 10      // bytes of one message to a device
	enoughKeys   = 25            // of those that are used once; with fewer left, there are more made
	unwedgeAgain = 1 * time.Hour // between new sessions with the same device
	pruneEvery   = 6 * time.Hour //
)

var (
	insertMessage = database.SQL(`
		INSERT INTO encryption_inbox (seq, message)
		VALUES ($1, $2)
		ON CONFLICT (seq) DO NOTHING`)
	selectMessages = database.SQL(`
		SELECT seq, message
		FROM encryption_inbox
		ORDER BY seq
		LIMIT 100`)
	deleteMessage = database.SQL(`
		DELETE FROM encryption_inbox
		WHERE seq = $1`)

	dummyType = event.ToDeviceDummy
)

func dummyContent() event.Content { return event.Content{Raw: map[string]any{}} }

// Keep keeps what is in a transaction for our devices; see client.Inbox.
func (s *Service) Keep(ctx context.Context, txn *appservice.Transaction) (write func(context.Context, *database.Tx) error, done func(), err error) {
	var rows [][]any
	for _, raw := range txn.ToDevice {
		if e := parse(raw); e == nil || !s.ours(e) {
			continue
		}
		seq, err := s.ids.Next(ctx)
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, []any{seq, []byte(raw)})
	}
	write = func(ctx context.Context, tx *database.Tx) error {
		if len(rows) == 0 {
			return nil
		}
		return tx.ExecMany(ctx, insertMessage, rows)
	}
	return write, func() { s.kept(txn, rows) }, nil
}

// kept takes in what need not be durable: whose devices have changed, how many keys are left, and
// which messages are to be worked off.
func (s *Service) kept(txn *appservice.Transaction, rows [][]any) {
	if lists := txn.DeviceLists; lists != nil {
		s.others.changed(append(mautrixIDs(lists.Changed), mautrixIDs(lists.Left)...))
	}
	s.mu.Lock()
	if n := len(rows); n > 0 {
		s.keptSeq = max(s.keptSeq, rows[n-1][0].(int64))
	}
	for user, devices := range txn.OneTimeKeyCounts {
		counts, ours := devices[s.owned[user]]
		if left := counts[string(id.KeyAlgorithmSignedCurve25519)]; ours && left < enoughKeys {
			s.short[user] = left
		}
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// parse reads a message to a device, nil if it is none that we take.
func parse(raw json.RawMessage) *event.Event {
	e := &event.Event{}
	if len(raw) > maxMessage || json.Unmarshal(raw, e) != nil {
		return nil
	}
	e.Type.Class = event.ToDeviceEventType
	switch e.Type {
	case event.ToDeviceEncrypted, event.ToDeviceRoomKeyWithheld, event.ToDeviceOrgMatrixRoomKeyWithheld:
	default:
		return nil
	}
	if e.Content.ParseRaw(e.Type) != nil {
		return nil
	}
	return e
}

func (s *Service) ours(e *event.Event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	device, ok := s.owned[matrix.UserID(e.ToUserID)]
	return ok && device == matrix.DeviceID(e.ToDeviceID)
}

// work takes messages in, in order.
func (s *Service) work(ctx context.Context) {
	again := time.NewTicker(pruneEvery)
	defer again.Stop()
	for ctx.Err() == nil {
		if err := s.takeAll(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("messages to the bridge's devices have to wait", "err", err)
			pause(ctx, tryAgain)
			continue
		}
		s.topUp(ctx)
		select {
		case <-s.wake:
		case <-again.C:
			if err := prune(ctx, s.db); err != nil && ctx.Err() == nil {
				s.log.Warn("old records of encryption were not removed", "err", err)
			}
		case <-ctx.Done():
		}
	}
}

type received struct {
	seq     int64
	message []byte
}

func (s *Service) takeAll(ctx context.Context) error {
	for {
		page, err := s.page(ctx)
		if err != nil {
			return err
		}
		for _, r := range page {
			if err := s.take(ctx, r); err != nil {
				return err
			}
		}
		s.worked(page)
		if len(page) == 0 {
			return nil
		}
	}
}

// keptUpTo is the number of the newest message that has come since the start.
func (s *Service) keptUpTo() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keptSeq
}

// workedUpTo reports whether everything up to a message, and what was left from before
// the start, is worked off.
func (s *Service) workedUpTo(seq int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.began && s.workedSeq >= seq
}

// worked notes that messages are worked off; none: there is nothing left from before the start.
func (s *Service) worked(page []received) {
	s.mu.Lock()
	news := len(page) > 0 || !s.began
	if n := len(page); n > 0 {
		s.workedSeq = max(s.workedSeq, page[n-1].seq)
	} else {
		s.began = true
	}
	s.mu.Unlock()
	if news {
		s.tellNews()
	}
}

func (s *Service) page(ctx context.Context) (page []received, err error) {
	rows, err := s.db.Read().Query(ctx, selectMessages)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r received
		if err := rows.Scan(&r.seq, &r.message); err != nil {
			return nil, err
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

// take opens one message. That it is gone from the table, the step of the session that opened it,
// and what was in it become durable together: a process that is killed before that opens it
// again, and one that is killed later does not. One that nobody can open is dropped.
func (s *Service) take(ctx context.Context, r received) error {
	gone := func(tx *database.Tx) error { return s.remove(ctx, tx, r.seq) }
	e := parse(r.message)
	if e == nil || !s.ours(e) {
		return s.db.Update(ctx, gone)
	}
	d, opened := s.device(matrix.UserID(e.ToUserID)), true
	about := withPurpose(ctx, purpose{user: e.Sender, wanted: func(k recordKey) bool {
		_, asked := s.requested.Get(k)
		return asked
	}})
	err := d.do(about, func(ctx context.Context, machine *crypto.OlmMachine) error {
		switch content := e.Content.Parsed.(type) {
		case *event.EncryptedEventContent:
			machine.HandleEncryptedEvent(ctx, e)
			_, forUs := content.OlmCiphertext[machine.GetAccount().IdentityKey()]
			opened = d.store.opened || !forUs
		case *event.RoomKeyWithheldEventContent:
			machine.HandleRoomKeyWithheld(ctx, content)
		}
		return nil
	}, gone)
	if broken := (*panicError)(nil); errors.As(err, &broken) {
		s.log.Error("a message to a device made the library panic; it is dropped", "sender", e.Sender, "err", err, "stack", string(broken.stack))
		return s.db.Update(ctx, gone)
	}
	if err != nil {
		if client.Temporary(err) || ctx.Err() != nil || !refused(err) {
			return err
		}
		s.log.Warn("a device that the homeserver does not let us have gets no messages", "user", d.user, "err", err)
		return s.db.Update(ctx, gone)
	}
	if !opened {
		s.unwedge(ctx, d, e)
	}
	return nil
}

// refused tells whether an error is the homeserver's.
func refused(err error) bool {
	return client.Is(err, "M_FORBIDDEN") || client.Is(err, "M_EXCLUSIVE") || client.Is(err, "M_NOT_FOUND") || client.Is(err, "M_UNRECOGNIZED")
}

// unwedge begins anew with a device that encrypts with a session which we do not have.
func (s *Service) unwedge(ctx context.Context, d *device, e *event.Event) {
	key := e.Content.AsEncrypted().SenderKey
	s.log.Info("a message to a device could not be opened", "user", d.user, "sender", e.Sender)
	name := string(d.user) + " " + string(key)
	if last, known := s.unwedged.Get(name); known && time.Since(last) < unwedgeAgain || !storable(string(key)) {
		return
	}
	s.unwedged.Put(name, time.Now())
	if err := d.unwedge(ctx, e.Sender, key); err != nil && ctx.Err() == nil {
		s.log.Info("no new session was begun with a device", "sender", e.Sender, "err", err)
	}
}

// topUp makes new keys for devices that have few left.
func (s *Service) topUp(ctx context.Context) {
	s.mu.Lock()
	short := s.short
	s.short = map[matrix.UserID]int{}
	s.mu.Unlock()
	for user, left := range short {
		err := s.device(user).do(ctx, func(ctx context.Context, machine *crypto.OlmMachine) error {
			return machine.ShareKeys(ctx, left)
		}, nil)
		if err != nil && ctx.Err() == nil {
			s.log.Warn("a device has few keys left, and could not be given more", "user", user, "err", err)
		}
	}
}
