package encryption

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/internal/matrix"
)

// Algorithm is how rooms are encrypted that the bridge can take part in.
const Algorithm = string(id.AlgorithmMegolmV1)

// A Message is one that is to be encrypted.
type Message struct {
	As       matrix.UserID // whose device encrypts
	Room     matrix.RoomID
	Settings json.RawMessage // content of the room's m.room.encryption
	Type     string
	Content  json.RawMessage
	Readers  []matrix.UserID // who gets the key; nobody else does
}

// Seal is the content of the m.room.encrypted event that a message becomes. Those who shall read
// it have the key by then, as far as their devices can be reached. It never encrypts twice at the
// same place, whatever happens to the process: the step is durable before anybody sees what was
// made with it. An error is the homeserver's; while the database is away it waits.
//
// A key is used only as long as exactly the same devices may have it.
func (s *Service) Seal(ctx context.Context, m Message) (json.RawMessage, error) {
	if err := s.Working(ctx); err != nil {
		return nil, err
	}
	var sealed *event.EncryptedEventContent
	seal := func(ctx context.Context, machine *crypto.OlmMachine) (err error) {
		sealed, err = s.seal(ctx, machine, m)
		return err
	}
	for {
		err := s.device(m.As).do(ctx, seal, nil)
		if err == nil {
			return json.Marshal(sealed)
		}
		if !errors.Is(err, errRecords) || ctx.Err() != nil {
			return nil, fmt.Errorf("encrypt for %s: %w", m.Room, err)
		}
		s.log.Error("a message has to wait", "room", m.Room, "err", err)
		pause(ctx, tryAgain)
	}
}

func (s *Service) seal(ctx context.Context, machine *crypto.OlmMachine, m Message) (*event.EncryptedEventContent, error) {
	settings := &event.EncryptionEventContent{}
	_ = json.Unmarshal(m.Settings, settings) // else the library's defaults
	room, readers := id.RoomID(m.Room), mautrixIDs(m.Readers)
	if err := s.others.refresh(ctx, machine, readers); err != nil {
		return nil, err
	}
	ctx = withPurpose(ctx, purpose{audience: s.others.audience(readers), settings: settings})
	sealed, err := machine.EncryptMegolmEvent(ctx, room, event.NewEventType(m.Type), m.Content)
	if !crypto.IsShareError(err) {
		return sealed, err
	}
	if err := machine.ShareGroupSession(ctx, room, readers); err != nil {
		return nil, err
	}
	return machine.EncryptMegolmEvent(ctx, room, event.NewEventType(m.Type), m.Content)
}
