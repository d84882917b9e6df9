package rooms

import (
	"context"
	"fmt"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Warm brings rooms into memory that are not there, all at once: one by one
// they would cost a few queries each.
func (s *Service) Warm(ctx context.Context, nids []int64) error {
	entries := s.cache.begin(nids)
	if len(entries) == 0 {
		return nil
	}
	missing := make([]int64, 0, len(entries))
	for nid := range entries {
		missing = append(missing, nid)
	}
	// Others may wait for these rooms by now.
	loaded, err := s.loadAll(context.WithoutCancel(ctx), missing)
	s.cache.end(entries, loaded, err)
	return err
}

func (s *Service) loadAll(ctx context.Context, nids []int64) (map[int64]*room, error) {
	all, err := s.store.Rooms.Stored(ctx, nids)
	if err != nil {
		return nil, err
	}
	keys, err := s.store.State.KeysOf(ctx, nids)
	if err != nil {
		return nil, err
	}
	roots := make([]int64, 0, len(all))
	for _, stored := range all {
		roots = append(roots, stored.Root)
	}
	if err := s.store.State.Load(ctx, roots, false); err != nil {
		return nil, err
	}
	loaded := make(map[int64]*room, len(nids))
	for nid, stored := range all {
		r, err := s.assemble(ctx, nid, stored, keys[nid])
		if matrix.Code(err) != "" {
			continue // it is on its way out
		}
		if err != nil {
			return nil, err
		}
		loaded[nid] = r
	}
	return loaded, nil
}

// assemble is a room of what is stored of it.
func (s *Service) assemble(ctx context.Context, nid int64, stored *storage.StoredRoom, keys []storage.StateKey) (*room, error) {
	info, err := s.store.Rooms.InfoOf(ctx, nid)
	if err != nil {
		return nil, err
	}
	if s.store.Rooms.Hidden(info.ID) {
		return nil, notMember(info.ID)
	}
	tree, err := s.store.State.Tree(ctx, stored.Root)
	if err != nil {
		return nil, err
	}
	r := newRoom(info, keys)
	r.pending = head{tree: tree, extremities: stored.Extremities, depth: stored.Depth, lastPosition: stored.LastPosition, summary: stored.Summary}
	r.newcomers.loaded = stored.LastPosition
	first := r.pending
	r.committed.Store(&first)
	return r, nil
}

// begin makes entries for the rooms that are not there, which [cache.end] has
// to fill: whoever wants these rooms waits for that.
func (c *cache) begin(nids []int64) map[int64]*cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	entries := map[int64]*cached{}
	for _, nid := range nids {
		if _, ok := c.rooms[nid]; ok {
			continue
		}
		entry := &cached{ready: make(chan struct{}), users: 1}
		c.rooms[nid], entries[nid] = entry, entry
		c.evict()
	}
	return entries
}

func (c *cache) end(entries map[int64]*cached, loaded map[int64]*room, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for nid, entry := range entries {
		entry.room, entry.err = loaded[nid], err
		if entry.room == nil && err == nil {
			entry.err = fmt.Errorf("room %d: %w", nid, database.ErrNoRows)
		}
		if entry.err != nil && c.rooms[nid] == entry {
			delete(c.rooms, nid)
		}
		entry.users--
		close(entry.ready)
	}
}
