package rooms

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A HierarchyQuery asks for a page of what hangs below a space.
type HierarchyQuery struct {
	Space         matrix.RoomID
	User          matrix.UserID
	SuggestedOnly bool
	Limit         int // rooms; 0 is the usual number
	MaxDepth      int // below the space; negative is as deep as is allowed
	From          string
}

// A Hierarchy is a page of rooms, depth first.
type Hierarchy struct {
	Rooms []*Preview
	Next  string
}

const (
	usualHierarchy = 50
	maxHierarchy   = 100  // rooms of a page
	maxSpaceDepth  = 30   // below the space
	maxSpaceRooms  = 5000 // that are looked at for one page
)

// Hierarchy walks over the rooms of a space (Client-Server API § GET
// /rooms/{roomId}/hierarchy). M_FORBIDDEN if the user may not know the space;
// M_INVALID_PARAM for a token that is not of the same walk.
func (s *Service) Hierarchy(ctx context.Context, q HierarchyQuery) (*Hierarchy, error) {
	info, err := s.known(ctx, q.Space)
	if err != nil {
		return nil, err
	}
	if q.MaxDepth < 0 || q.MaxDepth > maxSpaceDepth {
		q.MaxDepth = maxSpaceDepth
	}
	if q.Limit <= 0 {
		q.Limit = usualHierarchy
	}
	q.Limit = min(q.Limit, maxHierarchy)
	skip, err := q.skip()
	if err != nil {
		return nil, err
	}
	root, err := s.preview(ctx, info, q.User)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return nil, notMember(q.Space)
	}
	w := &walk{s: s, ctx: ctx, q: q, skip: skip, seen: map[matrix.RoomID]bool{}}
	if err := w.visit(info, root, 0); err != nil {
		return nil, err
	}
	page := &Hierarchy{Rooms: w.page}
	if w.more {
		page.Next = q.token(skip + len(w.page))
	}
	return page, nil
}

// A token has what may not change between pages, and how many rooms came before.
func (q HierarchyQuery) token(skip int) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d.%d.%t", skip, q.MaxDepth, q.SuggestedOnly))
}

func (q HierarchyQuery) skip() (skip int, err error) {
	if q.From == "" {
		return 0, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(q.From)
	if err != nil {
		return 0, matrix.InvalidParam("from is no token of this server.")
	}
	if _, err := fmt.Sscanf(string(raw), "%d.", &skip); err != nil || skip < 0 || q.token(skip) != q.From {
		return 0, matrix.InvalidParam("from is no token of a request with the same max_depth and suggested_only.")
	}
	return skip, nil
}

// A walk goes through the rooms depth first, each of them once.
type walk struct {
	s    *Service
	ctx  context.Context
	q    HierarchyQuery
	skip int
	seen map[matrix.RoomID]bool
	page []*Preview
	more bool
}

func (w *walk) visit(info *storage.RoomInfo, p *Preview, depth int) error {
	w.seen[info.ID] = true
	if p.Type == "m.space" {
		var err error
		if p.Children, err = w.s.children(w.ctx, info, w.q.SuggestedOnly); err != nil {
			return err
		}
	}
	switch {
	case w.skip > 0:
		w.skip--
	case len(w.page) == w.q.Limit:
		w.more = true
		return nil
	default:
		w.page = append(w.page, p)
	}
	if depth == w.q.MaxDepth {
		return nil
	}
	for _, child := range p.Children {
		if w.more || len(w.seen) >= maxSpaceRooms {
			return nil
		}
		id := matrix.RoomID(*child.StateKey)
		if w.seen[id] {
			continue
		}
		w.seen[id] = true
		if err := w.descend(id, depth); err != nil {
			return err
		}
	}
	return nil
}

// descend visits a child, if it is known here and to be known to the user.
func (w *walk) descend(id matrix.RoomID, depth int) error {
	info, err := w.s.store.Rooms.Info(w.ctx, id)
	if errors.Is(err, database.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	p, err := w.s.preview(w.ctx, info, w.q.User)
	if err != nil || p == nil {
		return err
	}
	return w.visit(info, p, depth+1)
}

// spaceChild is the content of m.space.child.
type spaceChild struct {
	Via       []string `json:"via"`
	Suggested bool     `json:"suggested"`
	Order     string   `json:"order"`
}

// children are the valid m.space.child events of a space, in its order
// (Client-Server API § Ordering of children within a space).
func (s *Service) children(ctx context.Context, info *storage.RoomInfo, suggestedOnly bool) ([]*storage.Event, error) {
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	events, err := now.Events(ctx, func(key storage.StateKey) bool { return key.Type == "m.space.child" })
	if err != nil {
		return nil, err
	}
	orders := map[*storage.Event]string{}
	events = slices.DeleteFunc(events, func(e *storage.Event) bool {
		var child spaceChild
		if json.Unmarshal(e.Content, &child) != nil {
			// A wrong order or suggestion is as none, but without via there is no child.
			child = spaceChild{}
			var via struct {
				Via []string `json:"via"`
			}
			_ = json.Unmarshal(e.Content, &via)
			child.Via = via.Via
		}
		if validOrder(child.Order) {
			orders[e] = child.Order
		}
		return len(child.Via) == 0 || suggestedOnly && !child.Suggested
	})
	slices.SortFunc(events, func(a, b *storage.Event) int {
		x, y := orders[a], orders[b]
		if (x == "") != (y == "") {
			return strings.Compare(y, x) // those with an order come first
		}
		return cmp.Or(strings.Compare(x, y), cmp.Compare(a.OriginServerTS, b.OriginServerTS), strings.Compare(*a.StateKey, *b.StateKey))
	})
	return events, nil
}

// validOrder: up to 50 printable ASCII characters.
func validOrder(order string) bool {
	for _, c := range []byte(order) {
		if c < 0x20 || c > 0x7e {
			return false
		}
	}
	return order != "" && len(order) <= 50
}

// MutualRooms is the rooms that two users are in.
func (s *Service) MutualRooms(ctx context.Context, one, other matrix.UserID) ([]matrix.RoomID, error) {
	mine, err := s.JoinedRooms(ctx, one)
	if err != nil {
		return nil, err
	}
	theirs, err := s.JoinedRooms(ctx, other)
	if err != nil {
		return nil, err
	}
	shared := make(map[matrix.RoomID]bool, len(theirs))
	for _, id := range theirs {
		shared[id] = true
	}
	mine = slices.DeleteFunc(mine, func(id matrix.RoomID) bool { return !shared[id] })
	slices.Sort(mine)
	return mine, nil
}
