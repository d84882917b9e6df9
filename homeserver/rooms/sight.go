package rooms

import (
	"context"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// A Sight decides which events of a room one user may see (Client-Server API
// § Server behaviour of room history visibility).
type Sight struct {
	s      *Service
	info   *storage.RoomInfo
	now    *Snapshot
	user   matrix.UserID
	hidden bool // the user has forgotten the room
	joined bool // the user is in the room
	// left is how the user's last time in the room ended; nil if there was none or it lasts.
	left *storage.Event

	root       int64 // of the memo
	rule       *storage.Event
	visibility string
	membership string
}

// Sight is the sight of a user in a room.
func (s *Service) Sight(ctx context.Context, info *storage.RoomInfo, user matrix.UserID) (*Sight, error) {
	m, err := s.store.Members.In(ctx, info.NID, user)
	if err != nil {
		return nil, err
	}
	return s.SightAs(ctx, info, user, m)
}

// SightAs is the sight of a user who stands there in a room, nil for nowhere.
func (s *Service) SightAs(ctx context.Context, info *storage.RoomInfo, user matrix.UserID, m *storage.Membership) (*Sight, error) {
	now, err := s.Head(ctx, info.NID)
	if err != nil {
		return nil, err
	}
	sight := &Sight{s: s, info: info, now: now, user: user, root: -1}
	if m == nil {
		return sight, nil
	}
	if m.Membership == "join" {
		sight.joined = true
		return sight, nil
	}
	sight.hidden = m.Forgotten
	sight.left, err = s.Departure(ctx, m.EventNID)
	return sight, err
}

// Departure is the event by which a user who is not in a room was last taken
// out of it, nil if the user was never in. nid is of the user's newest member event.
func (s *Service) Departure(ctx context.Context, nid int64) (*storage.Event, error) {
	const furthest = 100 // changes of membership since then
	e, err := s.store.Events.ByNID(ctx, nid)
	for range furthest {
		if err != nil || e.ReplacesNID == 0 {
			return nil, err
		}
		var before *storage.Event
		before, err = s.store.Events.ByNID(ctx, e.ReplacesNID)
		if err == nil && before.Membership() == "join" {
			return e, nil
		}
		e = before
	}
	return nil, err
}

// Of reports whether the user may see an event, and the user's membership at it.
func (g *Sight) Of(ctx context.Context, e *storage.Event) (visible bool, membership string, err error) {
	if g.root != e.Root {
		if err := g.at(ctx, e.Root); err != nil {
			return false, "", err
		}
	}
	visibility, membership := g.visibility, g.membership
	shown := membership
	if shown == "" {
		shown = "leave"
	}
	if g.hidden && visibility != "world_readable" {
		return false, shown, nil
	}
	// Everybody may know what became of their own membership.
	if g.allows(e, visibility, membership) || e.Is("m.room.member", string(g.user)) {
		return true, shown, nil
	}
	if !e.IsState() || e.ReplacesNID == 0 {
		return false, shown, nil
	}
	// A change of the visibility itself is seen if either side of it can be.
	if e.Is("m.room.history_visibility", "") {
		before, err := g.s.store.Events.ByNID(ctx, e.ReplacesNID)
		return err == nil && g.allows(e, visibilityOf(before), membership), shown, err
	}
	return false, shown, nil
}

func (g *Sight) at(ctx context.Context, root int64) error {
	state, err := g.s.At(ctx, g.info.NID, root)
	if err != nil {
		return err
	}
	m, err := state.Membership(ctx, g.user)
	if err != nil {
		return err
	}
	if m == "join" && !g.hidden {
		// Who is in a room sees it whatever its visibility is.
		g.root, g.membership = root, m
		return nil
	}
	v, err := state.Event(ctx, "m.room.history_visibility", "")
	if err != nil {
		return err
	}
	if g.visibility == "" || v != g.rule {
		g.rule, g.visibility = v, visibilityOf(v)
	}
	g.root, g.membership = root, m
	return nil
}

func (g *Sight) allows(e *storage.Event, visibility, membership string) bool {
	switch {
	case visibility == "world_readable", membership == "join":
		return true
	case visibility == "shared":
		return g.joined || g.left != nil && until(e, g.left)
	case visibility == "invited":
		return membership == "invite"
	}
	return false
}

// until reports whether an event was there when a user left.
func until(e, left *storage.Event) bool {
	if left.Backfilled() {
		return e.Ordering <= left.Ordering // it is told of late itself
	}
	return e.Position <= left.Position
}

func visibilityOf(e *storage.Event) string {
	if e == nil {
		return "shared"
	}
	switch v := field(e.Event, "history_visibility"); v {
	case "world_readable", "invited", "joined":
		return v
	}
	return "shared"
}
