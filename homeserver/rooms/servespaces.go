package rooms

import (
	"context"
	"errors"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Branch is a room and what hangs right below it, as another server may know them.
type Branch struct {
	Room     *Preview
	Children []*Preview
	// Closed are the children that nobody of the server could come into or look at.
	Closed []matrix.RoomID
}

// Branch is a room and its children, so far as they are known here and up to
// as many as a page has (Server-Server API § GET /hierarchy/{roomId}). M_NOT_FOUND if the
// peer may not know of the room.
func (p Peer) Branch(ctx context.Context, room matrix.RoomID, suggestedOnly bool) (*Branch, error) {
	info, root, err := p.preview(ctx, room)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return nil, matrix.NotFound("Room %s is not known here.", room)
	}
	if root.Type != "m.space" {
		return &Branch{Room: root}, nil
	}
	if root.Children, err = p.s.children(ctx, info, suggestedOnly); err != nil {
		return nil, err
	}
	b := &Branch{Room: root}
	seen := map[matrix.RoomID]bool{room: true}
	for _, child := range root.Children {
		id := matrix.RoomID(*child.StateKey)
		if seen[id] {
			continue
		}
		seen[id] = true
		known, preview, err := p.preview(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case preview != nil:
			b.Children = append(b.Children, preview)
		case known != nil:
			b.Closed = append(b.Closed, id)
		}
		if len(b.Children)+len(b.Closed) >= maxHierarchy {
			break
		}
	}
	return b, nil
}

// preview is a room as the peer may know it. Without a preview that is not at all, and without
// info the room is not known here, where somebody of this server has to be in it.
func (p Peer) preview(ctx context.Context, room matrix.RoomID) (*storage.RoomInfo, *Preview, error) {
	info, err := p.s.store.Rooms.Info(ctx, room)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if here, err := p.s.inhabits(ctx, info); !here || err != nil {
		return nil, nil, err
	}
	federated, err := p.s.federated(ctx, info.NID)
	if err != nil || !federated {
		return info, nil, err
	}
	if shut, err := p.s.shut(ctx, info, p.server); shut || err != nil {
		return info, nil, err
	}
	membership, err := p.membership(ctx, info)
	if err != nil {
		return info, nil, err
	}
	preview, err := p.s.previewAs(ctx, info, membership, func(room matrix.RoomID) (bool, error) {
		allowed, err := p.s.store.Rooms.Info(ctx, room)
		if errors.Is(err, database.ErrNoRows) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return p.inside(ctx, allowed)
	})
	return info, preview, err
}

// membership is the one that makes most known of those that users of the peer have in a room now.
func (p Peer) membership(ctx context.Context, info *storage.RoomInfo) (string, error) {
	now, err := p.s.Head(ctx, info.NID)
	if err != nil {
		return "", err
	}
	sight := p.sight(info)
	for _, membership := range []string{"join", "invite"} {
		if there, err := sight.there(ctx, now, membership); there || err != nil {
			return membership, err
		}
	}
	return "", nil
}
