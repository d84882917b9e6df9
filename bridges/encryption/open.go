package encryption

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/crypto/olm"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// missingFor is how long nobody waits for keys of somebody whose key did not come: each wait
// holds up the room.
const missingFor = 10 * time.Minute

// An Unreadable says, in a sentence for people, why an event cannot be opened.
type Unreadable struct{ Why string }

func (u *Unreadable) Error() string { return u.Why }

var (
	errAlgorithm = &Unreadable{"It is encrypted in a way that the bridge does not know."}
	errMissing   = &Unreadable{"The bridge has no key to it, and got none when it asked for it."}
	errDamaged   = &Unreadable{"The bridge has a key that does not fit."}
	errRepeated  = &Unreadable{"It is a repetition of another message."}
	errType      = &Unreadable{"Events of its kind have no effect if they are encrypted."}
)

// withheld are the reasons why clients give us no key.
var withheld = map[event.RoomKeyWithheldCode]string{
	event.RoomKeyWithheldBlacklisted:  "The sender has blocked the bridge's device.",
	event.RoomKeyWithheldUnverified:   "The sender's client gives no keys to devices that the sender has not verified, as the bridge's.",
	event.RoomKeyWithheldUnauthorized: "The sender's client does not let the bridge have the key.",
	event.RoomKeyWithheldNoOlmSession: "The sender's client did not reach the bridge's device.",
}

// Open decrypts an event. If the key is missing it waits for it, and asks the sender's devices
// for it as a user of ours, if there is one given; then it fails with an [Unreadable]. It may be called again for the same
// event, and has the same answer then.
func (s *Service) Open(ctx context.Context, e *event.Event, as matrix.UserID) (*event.Event, error) {
	if err := s.Working(ctx); err != nil {
		return nil, err
	}
	content, ok := e.Content.Parsed.(*event.EncryptedEventContent)
	if !ok || content.Algorithm != id.AlgorithmMegolmV1 {
		return nil, errAlgorithm
	}
	k := inbound(kindInbound, e.RoomID, content.SessionID, e.Sender)
	if !storable(k.part) {
		return nil, errDamaged
	}
	until, known := s.missing.Get(e.Sender)
	patient := as != "" && (!known || time.Now().After(until))
	kept, began, asked := s.keptUpTo(), time.Now(), false
	patience := began
	if patient {
		patience = began.Add(s.patience)
	}
	for {
		// A key that has come before the event may not be worked off yet.
		news, worked := s.news(), s.workedUpTo(kept)
		plain, err := s.try(ctx, e)
		if errors.Is(err, errRecords) && ctx.Err() == nil {
			s.log.Error("an event has to wait", "event", e.ID, "err", err)
			pause(ctx, tryAgain)
			continue
		}
		if err == nil || !lacksKey(err) {
			return plain, err
		}
		limit := patience
		if !worked && !patient {
			limit = began.Add(s.patience)
		}
		switch {
		case s.wait(ctx, news, limit):
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case patient && !asked:
			asked = true
			s.request(ctx, e, content, k, as)
			patience = time.Now().Add(s.patience)
		default:
			if as != "" {
				s.missing.Put(e.Sender, time.Now().Add(missingFor))
			}
			return nil, errMissing
		}
	}
}

// lacksKey tells whether an event may be opened later.
func lacksKey(err error) bool {
	return errors.Is(err, crypto.NoSessionFound) || errors.Is(err, olm.UnknownMessageIndex)
}

// wait is whether keys have come before a moment.
func (s *Service) wait(ctx context.Context, news <-chan struct{}, until time.Time) bool {
	left := time.Until(until)
	if left <= 0 {
		return false
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-news:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// request asks the sender's devices for a key.
func (s *Service) request(ctx context.Context, e *event.Event, content *event.EncryptedEventContent, k recordKey, as matrix.UserID) {
	s.requested.Put(k, true)
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	err := s.device(as).do(ctx, func(ctx context.Context, machine *crypto.OlmMachine) error {
		return machine.SendRoomKeyRequest(ctx, e.RoomID, content.SenderKey, content.SessionID, "", map[id.UserID][]id.DeviceID{e.Sender: {"*"}})
	}, nil)
	if err != nil && ctx.Err() == nil {
		s.log.Info("a key was not asked for", "room", e.RoomID, "sender", e.Sender, "err", err)
	}
}

// try decrypts an event with what there is.
func (s *Service) try(ctx context.Context, e *event.Event) (*event.Event, error) {
	var index uint
	var plain *event.Event
	about := withPurpose(ctx, purpose{user: e.Sender, index: &index})
	err := guarded(func() (err error) {
		plain, err = s.reader.DecryptMegolmEvent(about, e)
		return err
	})
	held, broken := (*event.RoomKeyWithheldEventContent)(nil), (*panicError)(nil)
	switch {
	case err == nil:
	case lacksKey(err), errors.Is(err, errRecords), ctx.Err() != nil:
		return nil, err
	case errors.As(err, &held):
		if why := withheld[held.Code]; why != "" {
			return nil, &Unreadable{why}
		}
		return nil, &Unreadable{"The sender's client has withheld the key."}
	case errors.As(err, &broken):
		s.log.Error("an event made the library panic", "event", e.ID, "err", err, "stack", string(broken.stack))
		return nil, errDamaged
	default:
		s.log.Info("an event could not be opened", "event", e.ID, "room", e.RoomID, "err", err)
		return nil, errDamaged
	}
	if err := s.once(ctx, e, index); err != nil {
		return nil, err
	}
	switch plain.Type.Type {
	case event.EventEncrypted.Type, event.EventRedaction.Type:
		return nil, errType
	}
	return plain, nil
}

// once makes sure that what was encrypted at a place of a session is taken for one event only:
// whoever has the ciphertext could send it again.
func (s *Service) once(ctx context.Context, e *event.Event, index uint) error {
	content := e.Content.AsEncrypted()
	k := recordKey{"", kindIndex, string(e.RoomID) + " " + string(content.SessionID), strconv.FormatUint(uint64(index), 10)}
	var first id.EventID
	for {
		var raw []byte
		err := s.db.Update(ctx, func(tx *database.Tx) error {
			name, err := json.Marshal(e.ID)
			if err != nil {
				return err
			}
			if err := tx.Queue(ctx, insertRecord, k.args(name, time.Now().UnixMilli())...); err != nil {
				return err
			}
			return tx.QueryRow(ctx, selectRecord, k.args()...).Scan(&raw)
		})
		if err == nil {
			err = json.Unmarshal(raw, &first)
		}
		if err == nil && first != e.ID {
			return errRepeated
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.log.Error("it was not noted that an event was read; trying again", "event", e.ID, "err", err)
		pause(ctx, tryAgain)
	}
}

// Opened is an event of the homeserver's with what is in it.
func Opened(e *client.Event, plain *event.Event) *client.Event {
	return &client.Event{Event: plain, Seq: e.Seq, Raw: e.Raw}
}
