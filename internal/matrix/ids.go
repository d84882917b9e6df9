package matrix

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxIDLength is the most bytes that a user ID, room ID, alias or event ID may
// have, sigil and server name included (Appendices § Common Identifier Format).
const MaxIDLength = 255

// A ServerName is a host name or address with an optional port
// (Appendices § Server Name).
type ServerName string

// A UserID is "@localpart:server".
type UserID string

// A RoomID is "!opaque:server", or "!hash" from room version 12 on.
type RoomID string

// A RoomAlias is "#localpart:server".
type RoomAlias string

// An EventID is "$hash" (room versions 3 and later) or "$opaque:server".
type EventID string

// A DeviceID names one login of a user; opaque.
type DeviceID string

// A KeyID is "algorithm:identifier".
type KeyID string

// ParseServerName checks the grammar of Appendices § Server Name.
func ParseServerName(s string) (ServerName, error) {
	if s == "" || len(s) > MaxIDLength {
		return "", fmt.Errorf("server name %.80q has a length outside 1 to %d", s, MaxIDLength)
	}
	host, port := s, ""
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", fmt.Errorf("server name %.80q has no closing bracket", s)
		}
		if ip := net.ParseIP(s[1:end]); ip == nil || !strings.Contains(s[1:end], ":") {
			return "", fmt.Errorf("server name %.80q holds no IPv6 address", s)
		}
		rest := s[end+1:]
		if rest == "" {
			return ServerName(s), nil
		}
		if rest[0] != ':' {
			return "", fmt.Errorf("server name %.80q has text after its address", s)
		}
		host, port = "", rest[1:]
	} else if i := strings.IndexByte(s, ':'); i >= 0 {
		host, port = s[:i], s[i+1:]
		if host == "" {
			return "", fmt.Errorf("server name %.80q has no host", s)
		}
	} else {
		port = "0"
	}
	for i := range len(host) {
		c := host[i]
		if !isAlnum(c) && c != '-' && c != '.' {
			return "", fmt.Errorf("server name %.80q may not contain %q", s, rune(c))
		}
	}
	if len(port) > 5 || port == "" {
		return "", fmt.Errorf("server name %.80q has a port that is none", s)
	}
	for i := range len(port) {
		if port[i] < '0' || port[i] > '9' {
			return "", fmt.Errorf("server name %.80q has a port that is none", s)
		}
	}
	if n, err := strconv.Atoi(port); err != nil || n > 65535 {
		return "", fmt.Errorf("server name %.80q has a port above 65535", s)
	}
	return ServerName(s), nil
}

// ParseUserID accepts what Appendices § User Identifiers calls a historical
// user ID: any printable local part. New accounts are held to
// [ValidLocalpart] as well.
func ParseUserID(s string) (UserID, error) {
	if err := checkID(s, '@', "user ID"); err != nil {
		return "", err
	}
	return UserID(s), nil
}

// ParseRoomAlias checks a room alias: any local part without NUL or colon.
func ParseRoomAlias(s string) (RoomAlias, error) {
	if err := checkID(s, '#', "room alias"); err != nil {
		return "", err
	}
	if strings.IndexByte(s, ':') == 1 {
		return "", fmt.Errorf("room alias %.80q has no local part", s)
	}
	return RoomAlias(s), nil
}

// ParseRoomID checks a room ID of any room version.
func ParseRoomID(s string) (RoomID, error) {
	if len(s) < 2 || len(s) > MaxIDLength || s[0] != '!' || strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return "", fmt.Errorf("%.80q is not a room ID", s)
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		if _, err := ParseServerName(s[i+1:]); err != nil {
			return "", fmt.Errorf("room ID %.80q: %w", s, err)
		}
	}
	return RoomID(s), nil
}

// ParseEventID checks an event ID of any room version.
func ParseEventID(s string) (EventID, error) {
	if len(s) < 2 || len(s) > MaxIDLength || s[0] != '$' || strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return "", fmt.Errorf("%.80q is not an event ID", s)
	}
	return EventID(s), nil
}

// ValidLocalpart reports whether a new account may have this local part:
// a-z, 0-9 and ._=-/+ (Appendices § User Identifiers).
func ValidLocalpart(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("._=-/+", c) < 0 {
			return false
		}
	}
	return s != ""
}

// NewUserID puts a user ID together; it checks nothing.
func NewUserID(localpart string, server ServerName) UserID {
	return UserID("@" + localpart + ":" + string(server))
}

// NewRoomAlias puts an alias together; it checks nothing.
func NewRoomAlias(localpart string, server ServerName) RoomAlias {
	return RoomAlias("#" + localpart + ":" + string(server))
}

// Localpart is the part between the sigil and the first colon.
func (id UserID) Localpart() string { return localpart(string(id)) }

// Server is the part behind the first colon, or empty.
func (id UserID) Server() ServerName { return server(string(id)) }

// Localpart is the part between the sigil and the first colon.
func (id RoomAlias) Localpart() string { return localpart(string(id)) }

// Server is the part behind the first colon, or empty.
func (id RoomAlias) Server() ServerName { return server(string(id)) }

// Server is the part behind the first colon; empty from room version 12 on.
func (id RoomID) Server() ServerName { return server(string(id)) }

// CreateEventID is the ID of the room's create event, in room versions that
// make the room ID of it.
func (id RoomID) CreateEventID() EventID {
	if id == "" {
		return ""
	}
	return EventID("$" + id[1:])
}

func localpart(s string) string {
	if s == "" {
		return ""
	}
	if i := strings.IndexByte(s, ':'); i > 0 {
		return s[1:i]
	}
	return s[1:]
}

func server(s string) ServerName {
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return ServerName(s[i+1:])
	}
	return ""
}

func checkID(s string, sigil byte, kind string) error {
	if len(s) > MaxIDLength {
		return fmt.Errorf("%s %.80q… is longer than %d bytes", kind, s, MaxIDLength)
	}
	if s == "" || s[0] != sigil {
		return fmt.Errorf("%s %.80q does not begin with %q", kind, s, rune(sigil))
	}
	i := strings.IndexByte(s, ':')
	if i < 0 {
		return fmt.Errorf("%s %.80q has no server name", kind, s)
	}
	if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
		return fmt.Errorf("%s %.80q has characters that are not allowed", kind, s)
	}
	if _, err := ParseServerName(s[i+1:]); err != nil {
		return fmt.Errorf("%s %.80q: %w", kind, s, err)
	}
	return nil
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
