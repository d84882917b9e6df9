package rooms

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

const (
	// aclBytes bounds the access control lists that are held in memory, by the contents of their events.
	aclBytes = 8 << 20
	// aclVerdicts is of how many servers a list remembers what it says of them:
	// each of their transactions asks for it.
	aclVerdicts = 1000
)

// Shut reports whether a room's m.room.server_acl keeps a server out of it
// (Server-Server API § Server Access Control Lists). A room that is not known keeps nobody out.
func (s *Service) Shut(ctx context.Context, room matrix.RoomID, server matrix.ServerName) (bool, error) {
	info, err := s.store.Rooms.Info(ctx, room)
	if errors.Is(err, database.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return s.shut(ctx, info, server)
}

func (s *Service) shut(ctx context.Context, info *storage.RoomInfo, server matrix.ServerName) (bool, error) {
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return false, err
	}
	e, err := now.Event(ctx, "m.room.server_acl", "")
	if e == nil || err != nil {
		return false, err
	}
	key := aclKey{e.NID, e.RedactedBy}
	acl, ok := s.acls.Get(key)
	if !ok {
		acl = parseServerACL(e.Content)
		s.acls.Put(key, acl)
	}
	return !acl.allows(server), nil
}

// An aclKey names a list: an event, whose content a redaction changes.
type aclKey struct{ event, redaction int64 }

// A serverACL is the content of m.room.server_acl. Patterns are in lower case.
type serverACL struct {
	literals    bool // names that are IP addresses are not kept out as such
	allow, deny []string
	size        int
	verdicts    *lru.Cache[string, bool] // by host
}

// parseServerACL takes of a content what has the right type, and is never an
// error: a list with a mistake in it would let everybody in.
func parseServerACL(content json.RawMessage) *serverACL {
	var members map[string]json.RawMessage
	_ = json.Unmarshal(content, &members)
	acl := &serverACL{size: 1000 + len(content), verdicts: lru.New[string, bool](aclVerdicts, nil)}
	acl.literals = string(members["allow_ip_literals"]) != "false"
	acl.allow, acl.deny = patterns(members["allow"]), patterns(members["deny"])
	return acl
}

func patterns(list json.RawMessage) []string {
	var items []json.RawMessage
	_ = json.Unmarshal(list, &items)
	texts := make([]string, 0, len(items))
	for _, item := range items {
		var text *string
		if json.Unmarshal(item, &text) == nil && text != nil {
			texts = append(texts, strings.ToLower(*text))
		}
	}
	return texts
}

// allows goes through the list in the order of m.room.server_acl.
func (a *serverACL) allows(server matrix.ServerName) bool {
	host := strings.ToLower(host(server))
	if allowed, ok := a.verdicts.Get(host); ok {
		return allowed
	}
	allowed := (a.literals || !literal(host)) && !matchesAny(a.deny, host) && matchesAny(a.allow, host)
	a.verdicts.Put(host, allowed)
	return allowed
}

func matchesAny(patterns []string, host string) bool {
	for _, pattern := range patterns {
		if matrix.MatchGlob(pattern, host) {
			return true
		}
	}
	return false
}

// host is a server's name without the port.
func host(server matrix.ServerName) string {
	name := string(server)
	if strings.HasPrefix(name, "[") {
		if end := strings.IndexByte(name, ']'); end >= 0 {
			return name[:end+1]
		}
		return name
	}
	name, _, _ = strings.Cut(name, ":")
	return name
}

// literal reports whether a host is an address by the grammar of server names,
// in which numbers may be above 255 and begin with zeros (Appendices § Server Name).
func literal(host string) bool {
	if strings.HasPrefix(host, "[") {
		return true
	}
	numbers := strings.Split(host, ".")
	for _, number := range numbers {
		if len(number) < 1 || len(number) > 3 || strings.Trim(number, "0123456789") != "" {
			return false
		}
	}
	return len(numbers) == 4
}
