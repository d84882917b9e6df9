package matrix

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"slices"
	"strings"
)

// SignJSON adds a signature to a JSON object (Appendices § Signing JSON) and
// returns it canonical. Other signatures, and unsigned, stay as they are.
func SignJSON(object []byte, server ServerName, key SigningKey) ([]byte, error) {
	canonical, err := CanonicalJSON(object)
	if err != nil {
		return nil, err
	}
	if !isObject(canonical) {
		return nil, BadJSON("Only a JSON object can be signed.")
	}
	message := appendWithout(nil, canonical, "signatures", "unsigned")
	signature := ed25519.Sign(key.Private, message)
	return withSignature(canonical, server, key.ID, signature)
}

// VerifyJSON checks the signature of one key of one server, or of any other
// entity that signs, such as a user, on a JSON object (Appendices § Checking
// for a Signature).
func VerifyJSON(object []byte, server ServerName, key KeyID, public ed25519.PublicKey) error {
	canonical, err := CanonicalJSON(object)
	if err != nil {
		return err
	}
	if !isObject(canonical) {
		return BadJSON("Only a JSON object can be signed.")
	}
	message := appendWithout(nil, canonical, "signatures", "unsigned")
	return verify(canonical, message, server, key, public)
}

// VerifySignature checks the signature of one key of one server
// (Server-Server API § Validating hashes and signatures on received events).
func (e *Event) VerifySignature(server ServerName, key KeyID, public ed25519.PublicKey) error {
	message := appendRedacted(make([]byte, 0, len(e.raw)), e, false)
	return verify(e.raw, message, server, key, public)
}

// Sign is the event with one more signature, as a server adds to an invite
// for one of its users or to a join that it vouches for.
func (e *Event) Sign(server ServerName, key SigningKey) (*Event, error) {
	message := appendRedacted(make([]byte, 0, len(e.raw)), e, false)
	raw, err := withSignature(e.raw, server, key.ID, ed25519.Sign(key.Private, message))
	if err != nil {
		return nil, err
	}
	return LoadEvent(e.Version, e.ID, raw)
}

// WithSignatures is the event with those of a server that are on another copy
// of it, as when that server has been asked to sign. Nothing else of the copy
// is believed, and the signatures are not checked.
func (e *Event) WithSignatures(copied *Event, server ServerName) (*Event, error) {
	raw := e.raw
	for _, key := range copied.SignatureKeys(server) {
		encoded, _ := text(find(find(find(copied.raw, "signatures"), quoted(server)), quoted(key)))
		signature, err := DecodeBase64(encoded)
		if err != nil || len(signature) != ed25519.SignatureSize {
			return nil, BadJSON("The signature of %s with the key %.100s is none.", server, key)
		}
		if raw, err = withSignature(raw, server, key, signature); err != nil {
			return nil, err
		}
	}
	if len(raw) > MaxEventSize {
		return nil, TooLarge("The event would have %d bytes, more than the %d allowed.", len(raw), MaxEventSize)
	}
	return LoadEvent(e.Version, e.ID, raw)
}

// SignatureKeys lists the keys with which a server claims to have signed.
func (e *Event) SignatureKeys(server ServerName) []KeyID {
	var keys []KeyID
	s := scanObject(find(find(e.raw, "signatures"), quoted(server)))
	for {
		key, _, ok := s.member()
		if !ok {
			return keys
		}
		keys = append(keys, KeyID(unescape(key)))
	}
}

// verify looks up the signature in signed, and checks it against message.
func verify(signed, message []byte, server ServerName, key KeyID, public ed25519.PublicKey) error {
	encoded, ok := text(find(find(find(signed, "signatures"), quoted(server)), quoted(key)))
	if !ok {
		return Forbidden("There is no signature of %s with the key %s.", server, key)
	}
	if !strings.HasPrefix(string(key), "ed25519:") || len(public) != ed25519.PublicKeySize {
		return Forbidden("The key %s of %s is not an ed25519 key.", key, server)
	}
	signature, err := DecodeBase64(encoded)
	if err != nil || !ed25519.Verify(public, message, signature) {
		return Forbidden("The signature of %s with the key %s is wrong.", server, key)
	}
	return nil
}

// quoted is how a key looks in canonical JSON, without its quotes.
func quoted[T ~string](s T) string {
	literal := appendString(nil, s)
	return string(literal[1 : len(literal)-1])
}

// withSignature puts a signature among those of a canonical object.
func withSignature(canonical []byte, server ServerName, key KeyID, signature []byte) ([]byte, error) {
	own := fmt.Appendf(nil, "%s:%s", appendString(nil, key), appendString(nil, Base64(signature)))
	signatures := find(canonical, "signatures")
	if signatures == nil {
		signatures = []byte("{}")
	}
	if !isObject(signatures) {
		return nil, BadJSON("The signatures are not an object.")
	}
	ofServer := find(signatures, quoted(server))
	if ofServer == nil {
		ofServer = []byte("{}")
	}
	if !isObject(ofServer) {
		return nil, BadJSON("The signatures of %s are not an object.", server)
	}
	ofServer = withMember(appendWithout(nil, ofServer, quoted(key)), own)
	own = slices.Concat(appendString(nil, server), []byte(":"), ofServer)
	signatures = withMember(appendWithout(nil, signatures, quoted(server)), own)
	own = slices.Concat([]byte(`"signatures":`), signatures)
	return appendCanonical(nil, withMember(appendWithout(nil, canonical, "signatures"), own), false)
}

// withMember is an object with one more member at its end.
func withMember(object, member []byte) []byte {
	if bytes.Equal(object, []byte("{}")) {
		return slices.Concat([]byte("{"), member, []byte("}"))
	}
	return slices.Concat(object[:len(object)-1], []byte(","), member, []byte("}"))
}
