package federation

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	// askedTogether is how many servers are asked at the same time for the keys of many events: some places are left
	// to others, see keysAtOnce.
	askedTogether = 24
	// askingTogether is how long that takes at most. Servers whose keys have not come by then cost their events.
	askingTogether = time.Minute
	// keptTogether is how many servers are written in one transaction.
	keptTogether = 100
)

// VerifyEvents is those of some events of which [KeyRing.VerifyEvent] would say that their signatures are good, in their order. The
// keys of all servers are asked for at the same time, and those of whom they cannot be had within a minute cost their own
// events alone. An error is one of the database, or that of a context that has ended.
func (k *KeyRing) VerifyEvents(ctx context.Context, events []*matrix.Event) ([]*matrix.Event, error) {
	needed := make([][]matrix.ServerName, len(events))
	all := map[matrix.ServerName]*demand{}
	for i, e := range events {
		needed[i] = signers(e)
		for _, server := range needed[i] {
			addDemand(all, e, server)
		}
	}
	known, err := k.gather(ctx, all)
	if err != nil {
		return nil, err
	}
	good, err := k.verifyAll(ctx, events, needed, known)
	if err != nil {
		return nil, err
	}
	var list []*matrix.Event
	keep := map[matrix.ServerName]bool{}
	for i, e := range events {
		if good[i] {
			list = append(list, e)
			for _, server := range needed[i] {
				keep[server] = true
			}
		}
	}
	return list, k.keepAll(ctx, known, keep)
}

// A demand is what keys of a server are needed for.
type demand struct {
	events int
	needs  map[matrix.KeyID]need
}

// maxDemand is how many keys of a server are looked for beforehand: it has no more.
const maxDemand = keysOfServer

func addDemand(all map[matrix.ServerName]*demand, e *matrix.Event, server matrix.ServerName) {
	d := all[server]
	if d == nil {
		d = &demand{needs: map[matrix.KeyID]need{}}
		all[server] = d
	}
	d.events++
	for _, n := range needs(e, server) {
		if before, ok := d.needs[n.id]; (ok || len(d.needs) < maxDemand) && (!ok || before.at < n.at) {
			d.needs[n.id] = n
		}
	}
}

// gather is the keys of servers, as far as they are known or can be had.
func (k *KeyRing) gather(ctx context.Context, all map[matrix.ServerName]*demand) (map[matrix.ServerName]ring, error) {
	servers := make([]matrix.ServerName, 0, len(all))
	for server := range all {
		servers = append(servers, server)
	}
	// Whoever has most to lose is asked first.
	slices.SortFunc(servers, func(a, b matrix.ServerName) int { return all[b].events - all[a].events })
	limited, cancel := context.WithTimeout(ctx, askingTogether)
	defer cancel()
	rings, errs := make([]ring, len(servers)), make([]error, len(servers))
	inParallel(askedTogether, len(servers), func(i int) {
		rings[i], errs[i] = k.have(ctx, limited, servers[i], all[servers[i]])
	})
	known := make(map[matrix.ServerName]ring, len(servers))
	for i, server := range servers {
		if err := errs[i]; err != nil {
			return nil, err
		}
		known[server] = rings[i]
	}
	return known, nil
}

// have is the keys of a server, which is asked for them, while there is time, if some are needed that are not known.
func (k *KeyRing) have(ctx, limited context.Context, server matrix.ServerName, d *demand) (ring, error) {
	if _, err := matrix.ParseServerName(string(server)); err != nil {
		return ring{}, nil
	}
	if server == k.options.ServerName {
		return k.own(), nil
	}
	known, err := k.ring(ctx, server)
	if err != nil {
		return ring{}, err
	}
	for _, n := range d.needs {
		if _, ok := n.in(known); !ok {
			return k.renewed(ctx, limited, server, known)
		}
	}
	return known, nil
}

// renewed is the keys of a server after it was asked for them, or if that takes too long, those that are known.
func (k *KeyRing) renewed(ctx, limited context.Context, server matrix.ServerName, known ring) (ring, error) {
	if limited.Err() != nil {
		return known, ctx.Err()
	}
	now, err := k.renew(limited, server, "")
	switch {
	case err == nil:
		return now, nil
	case limited.Err() != nil, matrix.Code(err) != "":
		return known, ctx.Err()
	}
	return ring{}, err // of the database, or this key ring is closed
}

// verifyAll checks the signatures of events with keys that are known.
func (k *KeyRing) verifyAll(
	ctx context.Context, events []*matrix.Event, needed [][]matrix.ServerName, known map[matrix.ServerName]ring,
) ([]bool, error) {
	good := make([]bool, len(events))
	inParallel(runtime.GOMAXPROCS(0), len(events), func(i int) {
		if ctx.Err() != nil {
			return
		}
		for _, server := range needed[i] {
			find := func(n need) (key []byte, err error) {
				key, ok := n.in(known[server])
				if !ok {
					return nil, noSuchKey(server, n.id)
				}
				return key, nil
			}
			if checkSignatures(events[i], server, find) != nil {
				return
			}
		}
		good[i] = true
	})
	return good, ctx.Err()
}

// keepAll has the keys of servers stay, see keep.
func (k *KeyRing) keepAll(ctx context.Context, known map[matrix.ServerName]ring, servers map[matrix.ServerName]bool) error {
	var anew []matrix.ServerName
	for server := range servers {
		if !known[server].kept && server != k.options.ServerName {
			anew = append(anew, server)
		}
	}
	slices.Sort(anew)
	for batch := range slices.Chunk(anew, keptTogether) {
		err := k.options.DB.Update(ctx, func(tx *database.Tx) error {
			for _, server := range batch {
				if err := k.options.Store.Keep(ctx, tx, server); err != nil {
					return err
				}
			}
			return nil
		})
		k.saves.Add(1)
		for _, server := range batch {
			k.rings.Delete(server)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// inParallel does n things, so many at once, and waits for them.
func inParallel(atOnce, n int, do func(i int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(atOnce, n) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	all.Wait()
}
