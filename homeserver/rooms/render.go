package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Reader is whom an event is shown to.
type Reader struct {
	User   matrix.UserID
	Device matrix.DeviceID
	// NoRoomID leaves the room ID out, as /sync does.
	NoRoomID bool
	// Federation asks for all that servers exchange of events.
	Federation bool
}

// TxnKey scopes a transaction ID to a device and to what the request does:
// the event type, or the event that is redacted. Lengths keep the parts apart.
func TxnKey(device matrix.DeviceID, scope, id string) string {
	return strconv.Itoa(len(device)) + "." + strconv.Itoa(len(scope)) + "." + string(device) + scope + id
}

// transactionID is the ID in a key, if the key is of that device.
func transactionID(key string, device matrix.DeviceID) string {
	first, rest, _ := strings.Cut(key, ".")
	second, rest, _ := strings.Cut(rest, ".")
	ofDevice, err1 := strconv.Atoi(first)
	ofScope, err2 := strconv.Atoi(second)
	if err1 != nil || err2 != nil || ofDevice < 0 || ofScope < 0 || ofDevice+ofScope > len(rest) || rest[:ofDevice] != string(device) {
		return ""
	}
	return rest[ofDevice+ofScope:]
}

// delayedPrefix tells the keys of delayed events from those of requests.
const delayedPrefix = "delayed."

// DelayedTxnKey is the key under which a delayed event is sent, once.
func DelayedTxnKey(delayID string) string { return delayedPrefix + delayID }

// AppendClient appends an event in the client format as a reader sees it.
// membership is the reader's at the event; empty leaves it out.
func (s *Service) AppendClient(ctx context.Context, dst []byte, e *storage.Event, reader Reader, membership string) ([]byte, error) {
	return s.appendClient(ctx, dst, e, reader, membership, nil)
}

func (s *Service) appendClient(ctx context.Context, dst []byte, e *storage.Event, reader Reader, membership string, unsigned map[string]json.RawMessage) ([]byte, error) {
	o, err := s.ClientOptions(ctx, e, reader, membership)
	if err != nil {
		return nil, err
	}
	if s.forgotten(e, membership) {
		return appendForgotten(dst, e, o)
	}
	o.Unsigned = unsigned
	return e.AppendClient(dst, o), nil
}

// forgotten reports whether an event is shown as if it were redacted: its
// sender wanted to be forgotten, and the reader was not there when it was sent
// (Client-Server API § Account deactivation). Who was there has seen it.
func (s *Service) forgotten(e *storage.Event, membership string) bool {
	return membership != "" && membership != "join" && s.Erased != nil && s.Erased(e.Sender)
}

func appendForgotten(dst []byte, e *storage.Event, o matrix.ClientOptions) ([]byte, error) {
	rest, err := e.Redact()
	if err != nil {
		return nil, err
	}
	o.PrevContent = nil
	return rest.AppendClient(dst, o), nil
}

// ClientOptions is what a reader sees of an event beside the event itself.
func (s *Service) ClientOptions(ctx context.Context, e *storage.Event, reader Reader, membership string) (matrix.ClientOptions, error) {
	o := s.plainOptions(e, reader)
	o.Membership = membership
	before, err := s.beside(ctx, e.ReplacesNID)
	if err != nil {
		return o, err
	}
	if before != nil {
		o.PrevContent, o.PrevSender, o.ReplacesState = before.Content, before.Sender, before.ID
	}
	redaction, err := s.beside(ctx, e.RedactedBy)
	if err != nil {
		return o, err
	}
	if redaction != nil {
		// What became of the redaction itself is not told here: a chain of
		// redactions would make this event as long as the chain.
		o.RedactedBecause = redaction.AppendClient(nil, s.plainOptions(redaction, reader))
	}
	return o, nil
}

// beside is an event that is shown with another, or nil if there is none any more:
// state outlasts the redactions of a history that is purged, and a room goes event
// by event.
func (s *Service) beside(ctx context.Context, nid int64) (*storage.Event, error) {
	if nid == 0 {
		return nil, nil
	}
	e, err := s.store.Events.ByNID(ctx, nid)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return e, err
}

// plainOptions is what a reader sees of an event but for other events.
func (s *Service) plainOptions(e *storage.Event, reader Reader) matrix.ClientOptions {
	age := max(0, s.Now().UnixMilli()-e.OriginServerTS)
	o := matrix.ClientOptions{Age: &age, NoRoomID: reader.NoRoomID, Federation: reader.Federation}
	if e.TxnKey != "" && reader.User == e.Sender && reader.User != "" {
		if id, delayed := strings.CutPrefix(e.TxnKey, delayedPrefix); delayed {
			o.DelayID = id
		} else {
			o.TransactionID = transactionID(e.TxnKey, reader.Device)
		}
	}
	return o
}

// Client is an event in the client format.
func (s *Service) Client(ctx context.Context, e *storage.Event, reader Reader, membership string) (json.RawMessage, error) {
	return s.AppendClient(ctx, make([]byte, 0, len(e.JSON())+256), e, reader, membership)
}

// ClientWith is Client with further members of unsigned.
func (s *Service) ClientWith(ctx context.Context, e *storage.Event, reader Reader, membership string, unsigned map[string]json.RawMessage) (json.RawMessage, error) {
	return s.appendClient(ctx, make([]byte, 0, len(e.JSON())+256), e, reader, membership, unsigned)
}

// Clients is a list of events in the client format.
func (s *Service) Clients(ctx context.Context, events []*storage.Event, reader Reader) ([]json.RawMessage, error) {
	list := make([]json.RawMessage, len(events))
	for i, e := range events {
		var err error
		if list[i], err = s.Client(ctx, e, reader, ""); err != nil {
			return nil, err
		}
	}
	return list, nil
}
