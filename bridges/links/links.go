// Package links makes addresses that need no login: each names an event, says until when
// it is good, and is signed. Who has an address can show it to others and can make no other of
// it. It keeps nothing.
package links

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"trestle/internal/matrix"
)

const (
	context   = "trestle bridge link 1\x00" // nothing else is signed by the key with this before it
	macSize   = 16
	maxID     = 1024 // characters of an address's ID
	hashed    = 1    // form of an event ID: $ and a hash (room versions from 4 on)
	named     = 0    // any other
	hashBytes = 32
)

// Why an address leads nowhere.
var (
	ErrForged  = errors.New("not an address of ours")
	ErrExpired = errors.New("the address has expired")
)

// A Link is what an address says.
type Link struct {
	Kind    byte // what of the event is meant, to whoever made the link
	Portal  int64
	Event   matrix.EventID
	Index   int // which one, of several in the event
	Expires time.Time
}

// A Signer makes addresses and reads them again.
type Signer struct{ key []byte }

// NewSigner takes a key that nobody else knows.
func NewSigner(key []byte) *Signer { return &Signer{key} }

// ID is a link as a part of a path: letters, digits, - and _. Its expiry is rounded up to
// a minute.
func (s *Signer) ID(l Link) string {
	payload := append([]byte(nil), l.Kind)
	payload = binary.AppendUvarint(payload, uint64(l.Portal))
	payload = binary.AppendUvarint(payload, uint64(l.Index))
	payload = binary.AppendUvarint(payload, uint64(l.Expires.Unix()+59)/60)
	payload = appendEvent(payload, l.Event)
	return base64.RawURLEncoding.EncodeToString(append(payload, s.mac(payload)...))
}

// Parse is the link behind an ID. Comparing takes the same time whatever was guessed.
func (s *Signer) Parse(id string, now time.Time) (Link, error) {
	if len(id) > maxID {
		return Link{}, ErrForged
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(id)
	if err != nil || strings.ContainsAny(id, "\r\n") || len(raw) <= macSize {
		return Link{}, ErrForged
	}
	payload, mac := raw[:len(raw)-macSize], raw[len(raw)-macSize:]
	if !hmac.Equal(mac, s.mac(payload)) {
		return Link{}, ErrForged
	}
	l, ok := parse(payload)
	if !ok {
		return Link{}, ErrForged
	}
	if now.After(l.Expires) {
		return Link{}, ErrExpired
	}
	return l, nil
}

func (s *Signer) mac(payload []byte) []byte {
	h := hmac.New(sha256.New, s.key)
	h.Write([]byte(context))
	h.Write(payload)
	return h.Sum(nil)[:macSize]
}

// appendEvent writes an event ID, in fewer bytes if it is a hash.
func appendEvent(dst []byte, event matrix.EventID) []byte {
	text, sigil := strings.CutPrefix(string(event), "$")
	hash, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if sigil && err == nil && len(hash) == hashBytes && base64.RawURLEncoding.EncodeToString(hash) == text {
		return append(append(dst, hashed), hash...)
	}
	return append(append(dst, named), event...)
}

func parse(payload []byte) (l Link, ok bool) {
	l.Kind, payload = payload[0], payload[1:]
	var numbers [3]uint64
	for i := range numbers {
		n, size := binary.Uvarint(payload)
		if size <= 0 || n > 1<<62 {
			return l, false
		}
		numbers[i], payload = n, payload[size:]
	}
	l.Portal, l.Index, l.Expires = int64(numbers[0]), int(numbers[1]), time.Unix(int64(numbers[2])*60, 0)
	if len(payload) < 2 {
		return l, false
	}
	switch form, rest := payload[0], payload[1:]; form {
	case named:
		l.Event = matrix.EventID(rest)
	case hashed:
		l.Event = matrix.EventID("$" + base64.RawURLEncoding.EncodeToString(rest))
	default:
		return l, false
	}
	return l, true
}
