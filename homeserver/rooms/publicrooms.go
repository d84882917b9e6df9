package rooms

import (
	"context"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A PublicRoomsQuery asks for a page of the directory.
type PublicRoomsQuery struct {
	Search      string
	Network     string // "", or "appservice|network"
	AllNetworks bool
	RoomTypes   []string // "" is a room without a type; nil is any
	Limit       int
	Since       string
	Federated   bool // only rooms in which those of other servers may be
}

// A PublicRooms is a page of the directory. Next and Prev are empty at its ends.
type PublicRooms struct {
	Rooms      []storage.Listing
	Next, Prev string
	Total      int64
}

// maxPublicRooms bounds a page.
const maxPublicRooms = 500

// A place in the directory is beside a room, which need not be in it any more.
// Its token is the direction in which to read on, and what rooms are ordered by.
type place struct {
	backward bool
	count    int64
	nid      int64
}

func (p place) token() string {
	direction := "f"
	if p.backward {
		direction = "b"
	}
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s.%d.%d", direction, p.count, p.nid))
}

func parsePlace(token string) (p place, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return p, matrix.InvalidParam("since is no token of this directory.")
	}
	var direction rune
	if _, err := fmt.Sscanf(string(raw), "%c.%d.%d", &direction, &p.count, &p.nid); err != nil || direction != 'f' && direction != 'b' {
		return p, matrix.InvalidParam("since is no token of this directory.")
	}
	p.backward = direction == 'b'
	return p, nil
}

// PublicRooms is a page of the directory, largest rooms first. M_INVALID_PARAM
// for a token that this server did not make.
func (s *Service) PublicRooms(ctx context.Context, q PublicRoomsQuery) (*PublicRooms, error) {
	limit := q.Limit
	if limit <= 0 || limit > maxPublicRooms {
		limit = maxPublicRooms
	}
	if strings.IndexByte(q.Network, 0) >= 0 {
		return nil, matrix.InvalidParam("A network's name has no NUL.")
	}
	from := place{count: math.MaxInt64}
	if q.Since != "" {
		var err error
		if from, err = parsePlace(q.Since); err != nil {
			return nil, err
		}
	}
	page := &PublicRooms{}
	var err error
	if page.Total, err = s.store.Published.Count(ctx, q.Network, q.AllNetworks); err != nil {
		return nil, err
	}
	page.Rooms, err = s.store.Published.Page(ctx, storage.DirectoryQuery{
		Network: q.Network, AllNetworks: q.AllNetworks, Search: strings.ReplaceAll(q.Search, "\x00", ""), Types: withoutNUL(q.RoomTypes),
		Count: from.count, NID: from.nid, Backward: from.backward, Limit: limit + 1,
	})
	if err != nil {
		return nil, err
	}
	page.turn(from, q.Since == "", limit)
	if q.Federated {
		page.Rooms, err = s.onlyFederated(ctx, page.Rooms)
	}
	return page, err
}

// turn brings the rooms, one more than wanted if there is one, in their order,
// and finds out where the pages beside this one are.
func (p *PublicRooms) turn(from place, first bool, limit int) {
	more := len(p.Rooms) > limit
	p.Rooms = p.Rooms[:min(len(p.Rooms), limit)]
	if from.backward {
		slices.Reverse(p.Rooms)
	}
	// Beside an empty page is the room from which it was asked for.
	before, after := place{true, from.count, from.nid + 1}, place{false, from.count, from.nid - 1}
	if len(p.Rooms) > 0 {
		head, tail := p.Rooms[0], p.Rooms[len(p.Rooms)-1]
		before, after = place{true, head.JoinedMembers, head.RoomNID}, place{false, tail.JoinedMembers, tail.RoomNID}
	}
	if from.backward || more {
		p.Next = after.token()
	}
	if from.backward && more || !from.backward && !first {
		p.Prev = before.token()
	}
}

// withoutNUL leaves out what no room can be.
func withoutNUL(types []string) []string {
	return slices.DeleteFunc(slices.Clone(types), func(typ string) bool { return strings.IndexByte(typ, 0) >= 0 })
}

// WantedTypes are the types of rooms that a request names, null for rooms without one; nil if it names none.
func WantedTypes(named []*string) []string {
	if named == nil {
		return nil
	}
	types := make([]string, len(named))
	for i, typ := range named {
		if typ != nil {
			types[i] = *typ
		}
	}
	return types
}
