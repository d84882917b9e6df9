package irc

import (
	"context"
	"maps"
	"slices"
)

// policyWatch is what reads a network's rules: one for each room, and for the file. It belongs to
// whoever starts the network or changes its settings.
type policyWatch struct {
	rooms map[string]context.CancelFunc // by what the operator calls them
	file  string
	end   context.CancelFunc // of reading the file
}

// followPolicies reads the rules that are to be respected now, and goes on reading the file. Rules of
// rooms that are still named stay as they are; those of another file, until that has been read.
func (n *network) followPolicies() {
	now, w := n.now(), &n.watching
	for _, name := range slices.Collect(maps.Keys(w.rooms)) {
		if !slices.Contains(now.PolicyRooms, name) {
			w.rooms[name]()
			delete(w.rooms, name)
			n.post(func() { n.dropPolicies(name) })
		}
	}
	for _, name := range now.PolicyRooms {
		if w.rooms[name] != nil {
			continue
		}
		if w.rooms == nil {
			w.rooms = map[string]context.CancelFunc{}
		}
		var ctx context.Context
		ctx, w.rooms[name] = context.WithCancel(n.ctx)
		n.goRun(func() { n.enterPolicyRoom(ctx, name) })
	}
	if now.BanFile != w.file {
		n.followBanFile(now.BanFile)
	}
}

// followBanFile reads another file from now on, or none.
func (n *network) followBanFile(path string) {
	w := &n.watching
	if w.end != nil {
		w.end()
	}
	w.file, w.end = path, nil
	if path == "" {
		n.post(func() {
			n.policies.file = nil
			n.applyPolicies()
		})
		return
	}
	var ctx context.Context
	ctx, w.end = context.WithCancel(n.ctx)
	n.readBanFile(ctx, path, nil) // before anybody is connected
	n.goRun(func() { n.watchBanFile(ctx, path) })
}

// dropPolicies forgets the rules of a room, unless it is named in another way, too.
func (n *network) dropPolicies(name string) {
	id := n.policies.named[name]
	delete(n.policies.named, name)
	if slices.Contains(slices.Collect(maps.Values(n.policies.named)), id) {
		return
	}
	delete(n.policies.rooms, id)
	n.applyPolicies()
}
