package matrix

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"

	"trestle/internal/matrix/roomversion"
)

// An EventTemplate is an event before it is hashed and signed.
type EventTemplate struct {
	RoomID         RoomID // empty in a create event of room version 12 and later
	Sender         UserID
	Type           string
	StateKey       *string
	Content        json.RawMessage
	OriginServerTS int64 // milliseconds
	Depth          int64
	PrevEvents     []EventID
	AuthEvents     []EventID
	Redacts        EventID

	// ReferenceHashes are those of PrevEvents and AuthEvents; only room
	// versions 1 and 2 want them.
	ReferenceHashes map[EventID][sha256.Size]byte
}

// Build makes the event: canonical, hashed, signed and within the size
// limits. Its errors are M_BAD_JSON for content that Matrix does not allow
// and M_TOO_LARGE.
func (t EventTemplate) Build(v *roomversion.Version, server ServerName, key SigningKey) (*Event, error) {
	if err := t.check(v); err != nil {
		return nil, err
	}
	content, err := t.content(v)
	if err != nil {
		return nil, err
	}
	b := builder{EventTemplate: t, version: v, content: content}
	if v.EventIDFormat == roomversion.EventIDInEvent {
		b.id = EventID("$" + RandomString(18) + ":" + string(server))
	}
	scratch := make([]byte, 0, len(content)+1024)
	hash := sha256.Sum256(b.append(scratch))
	b.hash = hash[:]

	redacted := b
	redacted.content = appendRedactedContent(nil, v, t.Type, content)
	redacted.Redacts = ""
	signed := redacted.append(scratch)
	if v.EventIDFormat != roomversion.EventIDInEvent {
		b.id = hashedEventID(v, sha256.Sum256(signed))
	}
	b.server, b.key, b.signature = server, key.ID, ed25519.Sign(key.Private, signed)
	raw := b.append(make([]byte, 0, len(signed)+len(content)+256))
	if len(raw) > MaxEventSize {
		return nil, TooLarge("The event would have %d bytes, more than the %d allowed.", len(raw), MaxEventSize)
	}
	return LoadEvent(v, b.id, raw)
}

// Proposal is the event as the server of its sender has to complete, hash and
// sign it, canonical (Server-Server API § Joining Rooms).
func (t EventTemplate) Proposal(v *roomversion.Version) (json.RawMessage, error) {
	if err := t.check(v); err != nil {
		return nil, err
	}
	content, err := t.content(v)
	if err != nil {
		return nil, err
	}
	b := builder{EventTemplate: t, version: v, content: content}
	return b.append(nil), nil
}

// check refuses what no event may have.
func (t EventTemplate) check(v *roomversion.Version) error {
	if err := checkLengths(t.Type, t.StateKey); err != nil {
		return err
	}
	if len(t.Sender) > MaxIDLength || len(t.RoomID) > MaxIDLength {
		return TooLarge("The sender or the room ID has more than %d bytes.", MaxIDLength)
	}
	if t.Depth < 0 || t.Depth > MaxInteger || t.OriginServerTS < -MaxInteger || t.OriginServerTS > MaxInteger {
		return BadJSON("The event's depth or time is outside ±(2^53-1).")
	}
	isCreate := t.Type == "m.room.create" && t.StateKey != nil && *t.StateKey == ""
	if (t.RoomID == "") != (isCreate && v.RoomIDFromCreate) {
		return errors.New("build event: a room ID is wanted, except in create events of versions that derive it")
	}
	return nil
}

// content is the content in canonical form.
func (t EventTemplate) content(v *roomversion.Version) ([]byte, error) {
	content, err := AppendCanonicalJSON(make([]byte, 0, len(t.Content)+64), t.Content)
	if err != nil {
		return nil, err
	}
	if !isObject(content) {
		return nil, BadJSON("The content of an event must be an object.")
	}
	if t.Redacts != "" && v.RedactsInContent {
		target := append([]byte(`"redacts":`), appendString(nil, t.Redacts)...)
		return CanonicalJSON(withMember(appendWithout(nil, content, "redacts"), target))
	}
	return content, nil
}

// A builder writes the members of an event that are known so far.
type builder struct {
	EventTemplate
	version   *roomversion.Version
	content   []byte // canonical
	id        EventID
	hash      []byte // content hash
	server    ServerName
	key       KeyID
	signature []byte
}

// append writes the event with its keys in canonical order.
func (b *builder) append(dst []byte) []byte {
	dst = b.appendReferences(append(dst, `{"auth_events":`...), b.AuthEvents)
	dst = append(append(dst, `,"content":`...), b.content...)
	dst = strconv.AppendInt(append(dst, `,"depth":`...), b.Depth, 10)
	if b.id != "" && b.version.EventIDFormat == roomversion.EventIDInEvent {
		dst = appendString(append(dst, `,"event_id":`...), b.id)
	}
	if b.hash != nil {
		dst = append(dst, `,"hashes":{"sha256":"`...)
		dst = append(base64.RawStdEncoding.AppendEncode(dst, b.hash), `"}`...)
	}
	dst = strconv.AppendInt(append(dst, `,"origin_server_ts":`...), b.OriginServerTS, 10)
	dst = b.appendReferences(append(dst, `,"prev_events":`...), b.PrevEvents)
	if b.Redacts != "" && !b.version.RedactsInContent {
		dst = appendString(append(dst, `,"redacts":`...), b.Redacts)
	}
	if b.RoomID != "" {
		dst = appendString(append(dst, `,"room_id":`...), b.RoomID)
	}
	dst = appendString(append(dst, `,"sender":`...), b.Sender)
	if b.signature != nil {
		dst = appendString(append(dst, `,"signatures":{`...), b.server)
		dst = appendString(append(dst, `:{`...), b.key)
		dst = append(base64.RawStdEncoding.AppendEncode(append(dst, `:"`...), b.signature), `"}}`...)
	}
	if b.StateKey != nil {
		dst = appendString(append(dst, `,"state_key":`...), *b.StateKey)
	}
	return append(appendString(append(dst, `,"type":`...), b.Type), '}')
}

func (b *builder) appendReferences(dst []byte, ids []EventID) []byte {
	dst = append(dst, '[')
	for i, id := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		if !b.version.HashedReferences {
			dst = appendString(dst, id)
			continue
		}
		dst = append(appendString(append(dst, '['), id), `,{`...)
		if hash, ok := b.ReferenceHashes[id]; ok {
			dst = append(dst, `"sha256":"`...)
			dst = append(base64.RawStdEncoding.AppendEncode(dst, hash[:]), '"')
		}
		dst = append(dst, `}]`...)
	}
	return append(dst, ']')
}
