package rooms

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/matrix/eventauth"
)

// allowedCreate judges a create event, which needs no state.
func allowedCreate(e *matrix.Event) error { return eventauth.Allowed(e, eventauth.StateMap{}) }

// Listed reports whether the public directory lists a room; M_NOT_FOUND for a
// room that is not known.
func (s *Service) Listed(ctx context.Context, id matrix.RoomID) (bool, error) {
	info, err := s.Info(ctx, id)
	if err != nil {
		return false, err
	}
	return s.store.Published.Listed(ctx, info.NID)
}

// SetListed lists a room in the public directory or takes it out: whoever may
// set the canonical alias may, and administrators. M_FORBIDDEN otherwise.
func (s *Service) SetListed(ctx context.Context, user matrix.UserID, admin bool, id matrix.RoomID, listed bool) error {
	info, err := s.Info(ctx, id)
	if err != nil {
		return err
	}
	if !admin {
		joined, err := s.Joined(ctx, id, user)
		if err != nil {
			return err
		}
		power, err := s.PowerLevels(ctx, info)
		if err != nil {
			return err
		}
		if !joined || power.User(user) < power.Event("m.room.canonical_alias", true) {
			return matrix.Forbidden("You may not change whether this room is listed.")
		}
	}
	return s.setListed(ctx, info, "", listed)
}

// SetNetworkListed lists a room in the directory of an application service's network.
func (s *Service) SetNetworkListed(ctx context.Context, appservice, network string, id matrix.RoomID, listed bool) error {
	if strings.IndexByte(network, 0) >= 0 {
		return matrix.InvalidParam("A network's name has no NUL.")
	}
	info, err := s.Info(ctx, id)
	if err != nil {
		return err
	}
	return s.setListed(ctx, info, appservice+"|"+network, listed)
}

func (s *Service) setListed(ctx context.Context, info *storage.RoomInfo, network string, listed bool) error {
	return s.store.DB.Update(ctx, func(tx *database.Tx) error {
		return s.store.Published.Set(ctx, tx, info.NID, network, listed)
	})
}

// A PublicRoomsQuery asks for a page of the directory.
type PublicRoomsQuery struct {
	Search      string
	Network     string // "", or "appservice|network"
	AllNetworks bool
	RoomTypes   []string // "" is a room without a type; nil is any
	Limit       int
	Since       string
}

// A PublicRooms is a page of the directory.
type PublicRooms struct {
	Rooms      []storage.Listing
	Next, Prev string
	Total      int64
}

// maxPublicRooms bounds a page.
const maxPublicRooms = 500

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
	query := storage.DirectoryQuery{
		Network: q.Network, AllNetworks: q.AllNetworks, Search: strings.ReplaceAll(q.Search, "\x00", ""), Types: withoutNUL(q.RoomTypes),
		AfterCount: 1<<62 - 1, Limit: limit + 1,
	}
	if q.Since != "" {
		raw, err := base64.RawURLEncoding.DecodeString(q.Since)
		if err != nil {
			return nil, matrix.InvalidParam("since is no token of this directory.")
		}
		if _, err := fmt.Sscanf(string(raw), "%d.%d", &query.AfterCount, &query.AfterNID); err != nil {
			return nil, matrix.InvalidParam("since is no token of this directory.")
		}
	}
	page := &PublicRooms{}
	var err error
	if page.Total, err = s.store.Published.Count(ctx, q.Network, q.AllNetworks); err != nil {
		return nil, err
	}
	if page.Rooms, err = s.store.Published.Page(ctx, query); err != nil {
		return nil, err
	}
	if len(page.Rooms) > limit {
		page.Rooms = page.Rooms[:limit]
		last := page.Rooms[limit-1]
		page.Next = base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d", last.JoinedMembers, last.RoomNID))
	}
	return page, nil
}

// withoutNUL leaves out what no room can be.
func withoutNUL(types []string) []string {
	return slices.DeleteFunc(slices.Clone(types), func(typ string) bool { return strings.IndexByte(typ, 0) >= 0 })
}

// Summary is what directories show of a room.
func (s *Service) Summary(ctx context.Context, nid int64) (storage.Summary, error) {
	now, err := s.Head(ctx, nid)
	if err != nil {
		return storage.Summary{}, err
	}
	return now.Summary, nil
}
