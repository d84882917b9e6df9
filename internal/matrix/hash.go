package matrix

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"

	"trestle/internal/matrix/roomversion"
)

// Base64 is unpadded base64 (Appendices § Unpadded Base64).
func Base64(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

// DecodeBase64 decodes base64 of either alphabet, padded or not.
func DecodeBase64(s string) ([]byte, error) {
	s = strings.TrimRight(s, "=")
	if strings.ContainsAny(s, "-_") {
		return base64.RawURLEncoding.DecodeString(s)
	}
	return base64.RawStdEncoding.DecodeString(s)
}

// ReferenceHash covers what no redaction can take away
// (Server-Server API § Calculating the reference hash for an event).
func (e *Event) ReferenceHash() [sha256.Size]byte {
	return sha256.Sum256(appendRedacted(make([]byte, 0, len(e.raw)), e, false))
}

// CheckHash reports whether the event has the content that its sender hashed.
// If not, all that may be used of it is what [Event.Redact] leaves.
func (e *Event) CheckHash() bool {
	claimed, ok := text(find(find(e.raw, "hashes"), "sha256"))
	if !ok {
		return false
	}
	want, err := DecodeBase64(claimed)
	if err != nil {
		return false
	}
	got := sha256.Sum256(appendWithout(nil, e.raw, "hashes", "signatures", "unsigned"))
	return subtle.ConstantTimeCompare(want, got[:]) == 1
}

// hashedEventID is the event ID that a reference hash makes.
func hashedEventID(v *roomversion.Version, hash [sha256.Size]byte) EventID {
	encoding := base64.RawURLEncoding
	if v.EventIDFormat == roomversion.EventIDBase64 {
		encoding = base64.RawStdEncoding
	}
	id := make([]byte, 1, 1+base64.RawURLEncoding.EncodedLen(sha256.Size))
	id[0] = '$'
	return EventID(encoding.AppendEncode(id, hash[:]))
}
