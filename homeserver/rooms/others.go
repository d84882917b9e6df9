package rooms

import (
	"context"
	"maps"
	"slices"

	"trestle/homeserver/storage"
	"trestle/homeserver/storage/statetree"
	"trestle/internal/matrix"
)

// Others is which other servers have joined members in one state of a room. Immutable.
type Others struct {
	root int64
	// So many of the room's state keys were looked at, as they were numbered then; found is whether one of them is
	// of a user of another server. Without one, there is nothing in any state to look for.
	keys  int
	table uint64
	found bool

	members map[matrix.ServerName]int
	servers []matrix.ServerName
}

// Root names the state.
func (o *Others) Root() int64 { return o.root }

// Servers is the servers in the order of their names. It must not be changed.
func (o *Others) Servers() []matrix.ServerName { return o.servers }

// Has reports whether a server has a joined member.
func (o *Others) Has(server matrix.ServerName) bool { return o.members[server] > 0 }

// Others finds the other servers in the state of a root. What was found of another state of the room, if anything, makes that
// cheap: in a room that nobody from elsewhere was ever invited to, nothing is read. [database.ErrNoRows] if the room is no more.
func (s *Service) Others(ctx context.Context, nid, root int64, known *Others) (*Others, error) {
	now, err := s.Head(ctx, nid)
	if err != nil {
		return nil, err
	}
	keys, table := now.keys.numbered()
	found := &Others{root: root, keys: len(keys), table: table}
	looked := 0
	if known != nil && known.table == table {
		found.found, looked = known.found, known.keys
	}
	found.found = found.found || slices.ContainsFunc(keys[min(looked, len(keys)):], s.elsewhere)
	if !found.found {
		return found, nil
	}
	if now.tree.Root() != root {
		if now.tree, err = s.store.State.Tree(ctx, root); err != nil {
			return nil, err
		}
	}
	changes, err := now.since(ctx, known)
	if err != nil {
		return nil, err
	}
	found.members = map[matrix.ServerName]int{}
	if known != nil {
		found.members = maps.Clone(known.members)
	}
	if found.members, err = s.recount(ctx, found.members, changes, keys); err != nil {
		return nil, err
	}
	found.servers = slices.Sorted(maps.Keys(found.members))
	return found, nil
}

// since is how the state differs from the one for which something is known, or all of it.
func (n *Snapshot) since(ctx context.Context, known *Others) ([]statetree.Change, error) {
	var old statetree.Tree
	var err error
	if known != nil {
		if old, err = n.s.store.State.Tree(ctx, known.root); err != nil {
			return nil, err
		}
	} else if err = n.s.store.State.Load(ctx, []int64{n.Root()}, true); err != nil { // all of it is looked at
		return nil, err
	}
	return statetree.Diff(ctx, n.s.store.State, old, n.tree)
}

// recount takes changes of state into numbers of members.
func (s *Service) recount(ctx context.Context, members map[matrix.ServerName]int, changes []statetree.Change, keys []StateKey) (map[matrix.ServerName]int, error) {
	var nids []int64
	var signs []int
	for _, c := range changes {
		if int(c.Key) >= len(keys) || !s.elsewhere(keys[c.Key]) {
			continue
		}
		for nid, sign := range map[int64]int{c.Old: -1, c.New: 1} {
			if nid != 0 {
				nids, signs = append(nids, nid), append(signs, sign)
			}
		}
	}
	if members == nil {
		members = map[matrix.ServerName]int{}
	}
	events, err := s.store.Events.ByNIDs(ctx, nids)
	if err != nil {
		return nil, err
	}
	for i, e := range events {
		if e.Membership() != "join" {
			continue
		}
		server := matrix.UserID(*e.StateKey).Server()
		if members[server] += signs[i]; members[server] == 0 {
			delete(members, server)
		}
	}
	return members, nil
}

// elsewhere reports whether a state key is the membership of a user of another server.
func (s *Service) elsewhere(key storage.StateKey) bool {
	if key.Type != "m.room.member" || key.Key == "" || key.Key[0] != '@' {
		return false
	}
	server := matrix.UserID(key.Key).Server()
	return server != "" && server != s.ServerName
}
