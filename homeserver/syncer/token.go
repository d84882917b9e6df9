// Package syncer reads rooms for clients: /sync, and history before and after
// a place. It writes nothing.
package syncer

import (
	"strconv"
	"strings"

	"trestle/internal/matrix"
)

// A Token is a place between two changes: everything at or before Position has
// been seen. Serial is the same for typing and presence, which are not stored;
// after a restart every serial is old. Sent is how far the messages to a device
// were handed out where they did not all fit into one answer; 0 is Position.
type Token struct {
	Position int64
	Serial   int64
	Sent     int64
}

// String is "s" and the position, then the others behind "_" if there are any.
func (t Token) String() string {
	s := "s" + strconv.FormatInt(t.Position, 10)
	if t.Serial != 0 || t.Sent != 0 {
		s += "_" + strconv.FormatInt(t.Serial, 10)
	}
	if t.Sent != 0 {
		s += "_" + strconv.FormatInt(t.Sent, 10)
	}
	return s
}

// ParseToken reads a token, or a pos of sliding sync, which is one with more
// behind a dot. M_INVALID_PARAM for anything else that String does not make.
func ParseToken(s string) (Token, error) {
	var t Token
	s, _, _ = strings.Cut(s, ".")
	parts := strings.Split(strings.TrimPrefix(s, "s"), "_")
	wrong := matrix.InvalidParam("%.100q is no token of this server.", s)
	if !strings.HasPrefix(s, "s") || len(parts) > 3 {
		return t, wrong
	}
	for i, into := range []*int64{&t.Position, &t.Serial, &t.Sent}[:len(parts)] {
		n, err := strconv.ParseInt(parts[i], 10, 64)
		if err != nil || i > 0 && n < 0 {
			return Token{}, wrong
		}
		*into = n
	}
	return t, nil
}

// sent is how far the messages to a device were handed out.
func (t Token) sent() int64 {
	if t.Sent != 0 {
		return t.Sent
	}
	return t.Position
}

// serialBy is a token's serial as of now. One that has not been reached is of a
// process whose clock was ahead, and older than all of this one.
func serialBy(serial, now int64) int64 {
	if serial > now {
		return 0
	}
	return serial
}
