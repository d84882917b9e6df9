package bridge

import (
	"context"
	"fmt"
	"sync"

	"trestle/appservice/client"
	"trestle/internal/matrix"
)

// members brings a room's virtual users to where the network has them. What is
// wanted is not stored: after a restart the network says it anew.
type members struct {
	portal *Portal

	mu      sync.Mutex
	joined  map[matrix.UserID]bool
	present map[matrix.UserID]bool // in the channel; see synced
	synced  bool                   // the network has said who is
	lazy    bool                   // members join when they first speak
	emptied bool                   // see Empty
	wanted  map[matrix.UserID]want // what differs from joined, or may
	order   []matrix.UserID        // of wanted, as it came
	busy    map[matrix.UserID]bool
	running bool
}

// A want is a membership to be reached.
type want struct {
	ghost  Ghost
	joined bool
	reason string // of leaving
}

func newMembers(p *Portal) *members {
	return &members{
		portal: p, joined: map[matrix.UserID]bool{}, present: map[matrix.UserID]bool{}, wanted: map[matrix.UserID]want{}, busy: map[matrix.UserID]bool{},
	}
}

func (m *members) load(user matrix.UserID) { m.joined[user] = true }

// Join brings a virtual user into the room.
func (p *Portal) Join(g Ghost) { p.members.want(want{ghost: g, joined: true}) }

// Leave takes a virtual user out of the room, after all that it said was sent.
func (p *Portal) Leave(g Ghost, reason string) {
	p.members.want(want{ghost: g, reason: reason})
}

// SetMembers makes these the room's only virtual users. If the room is to be lazy, those
// who are not in it come when they first speak.
func (p *Portal) SetMembers(ghosts []Ghost, lazy bool) {
	m := p.members
	present := map[matrix.UserID]bool{}
	for _, g := range ghosts {
		present[g.ID] = true
	}
	m.mu.Lock()
	var gone []matrix.UserID
	for user := range m.joined {
		if !present[user] {
			gone = append(gone, user)
		}
	}
	for user := range m.present {
		if !present[user] && !m.joined[user] {
			gone = append(gone, user)
		}
	}
	m.synced, m.lazy = true, lazy
	m.mu.Unlock()
	for _, g := range ghosts {
		p.Join(g)
	}
	for _, user := range gone {
		p.Leave(Ghost{ID: user}, "")
	}
}

// Empty takes all virtual users out of the room because the link has ended. Who has come or gone
// in the channel is not told by that, so they leave although the gate may be closed, and it may stay so:
// what they still have to say waits without them.
func (p *Portal) Empty() {
	p.SetMembers(nil, false)
	p.members.mu.Lock()
	p.members.emptied = true
	p.members.mu.Unlock()
	p.members.wake()
}

// Return brings a virtual user back whom the homeserver has taken out of the room.
func (p *Portal) Return(g Ghost) {
	p.members.forget(g.ID)
	p.Join(g)
}

// Ghosts are the virtual users that are in the room.
func (p *Portal) Ghosts() []matrix.UserID {
	p.members.mu.Lock()
	defer p.members.mu.Unlock()
	all := make([]matrix.UserID, 0, len(p.members.joined))
	for user := range p.members.joined {
		all = append(all, user)
	}
	return all
}

func (m *members) want(w want) {
	m.mu.Lock()
	if w.joined {
		m.present[w.ghost.ID], m.emptied = true, false
	} else {
		delete(m.present, w.ghost.ID)
	}
	if w.joined && m.lazy && !m.joined[w.ghost.ID] && !m.busy[w.ghost.ID] {
		delete(m.wanted, w.ghost.ID)
		m.mu.Unlock()
		return
	}
	if _, waits := m.wanted[w.ghost.ID]; !waits {
		m.order = append(m.order, w.ghost.ID)
	}
	m.wanted[w.ghost.ID] = w
	m.mu.Unlock()
	m.wake()
}

// changed notes what the homeserver said about a virtual user.
func (m *members) changed(user matrix.UserID, joined bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.joined[user] != joined {
		m.set(user, joined)
	}
}

// forget has the next message join the user again.
func (m *members) forget(user matrix.UserID) { m.changed(user, false) }

// set is called with mu held.
func (m *members) set(user matrix.UserID, joined bool) {
	if joined {
		m.joined[user] = true
		m.portal.bridge.write(upsertMember, m.portal.id, user, true, "")
	} else {
		delete(m.joined, user)
		m.portal.bridge.write(deleteMember, m.portal.id, user)
	}
}

// ensure joins a virtual user that is about to speak. It may have left the
// channel since; then it leaves the room afterwards.
func (m *members) ensure(ctx context.Context, g Ghost) error {
	m.mu.Lock()
	joined := m.joined[g.ID]
	m.mu.Unlock()
	if !joined {
		if err := m.join(ctx, g); err != nil {
			return err
		}
	}
	return m.portal.bridge.ensureGhost(ctx, g) // who speaks has a profile, for those who look
}

func (m *members) join(ctx context.Context, g Ghost) error {
	b, room := m.portal.bridge, m.portal.Room()
	if err := b.ensureExists(ctx, g.ID); err != nil {
		return err
	}
	if err := b.client.As(g.ID).EnsureJoined(ctx, room, g.Name); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if m.portal.Room() == room { // else it has been replaced meanwhile
		m.changed(g.ID, true)
	}
	return nil
}

// silent notes that all messages of a user were sent. One that has left the channel
// by now only came into the room for them.
func (m *members) silent(user matrix.UserID) {
	m.mu.Lock()
	left := m.synced && !m.present[user] && m.joined[user]
	_, waits := m.wanted[user]
	m.mu.Unlock()
	if left && !waits {
		m.want(want{ghost: Ghost{ID: user}})
		return
	}
	m.wake()
}

// wake starts the goroutine that works off what is wanted.
func (m *members) wake() {
	room, open := m.portal.Room(), m.portal.Open()
	m.mu.Lock()
	defer m.mu.Unlock()
	if room != "" && (open || m.emptied) && !m.running && len(m.order) > 0 {
		m.running = m.portal.bridge.goRun(m.work)
	}
}

// work takes what is wanted in order, several at once, and ends when nothing
// is left that could be done now.
func (m *members) work() {
	b := m.portal.bridge
	for {
		select {
		case b.slots <- struct{}{}:
		case <-b.ctx.Done():
			return
		}
		room, some := m.next(m.atOnce(b.ctx))
		switch {
		case len(some) == 0:
			<-b.slots
			return
		case len(some) > 1:
			// One request after another: who speaks has to wait for one at most.
			m.reachTogether(b.ctx, room, some)
			<-b.slots
			continue
		}
		if !b.goRun(func() {
			defer func() { <-b.slots }()
			m.reach(b.ctx, room, some[0])
		}) {
			<-b.slots
			return
		}
	}
}

// next picks up to n memberships to be reached, and says in which room: not of users that another goroutine
// is at, and no leave of one with messages in the queue. Without any, work is to end.
func (m *members) next(n int) (room matrix.RoomID, picked []want) {
	open := m.portal.Open()
	m.mu.Lock()
	defer m.mu.Unlock()
	room, open = m.portal.Room(), open || m.emptied
	kept, i := m.order[:0], 0
	for ; open && i < len(m.order) && len(picked) < n; i++ {
		user := m.order[i]
		w, waits := m.wanted[user]
		switch {
		case !waits:
		case m.joined[user] == w.joined && !m.busy[user]:
			delete(m.wanted, user)
		case m.busy[user], !w.joined && !m.emptied && m.portal.speaking(user):
			kept = append(kept, user)
		default:
			picked = append(picked, w)
			delete(m.wanted, user)
			m.busy[user] = true
		}
	}
	if rest := m.order[i:]; len(kept) > 0 {
		m.order = append(kept, rest...)
	} else {
		m.order = rest
	}
	m.running = len(picked) > 0
	return room, picked
}

// reach makes one change, however long the homeserver is away, unless the room is replaced by then.
func (m *members) reach(ctx context.Context, room matrix.RoomID, w want) {
	b := m.portal.bridge
	err := client.Retry(ctx, b.noteFailing("change a membership"), func(ctx context.Context) error {
		if m.portal.Room() != room {
			return errAlone
		}
		if w.joined {
			return m.join(ctx, w.ghost)
		}
		return b.client.As(w.ghost.ID).Leave(ctx, room, w.reason)
	})
	m.reached(ctx, room, w, err)
}

// reached notes how a change went.
func (m *members) reached(ctx context.Context, room matrix.RoomID, w want, err error) {
	b := m.portal.bridge
	switch {
	case ctx.Err() != nil:
	case m.portal.Room() != room: // it was replaced: what is wanted there has been said anew
	case err != nil:
		b.metrics.refused.Inc()
		b.log.Warn("the homeserver refused a membership", "room", m.portal.Room(), "user", w.ghost.ID, "joined", w.joined, "err", err)
		if !w.joined {
			m.changed(w.ghost.ID, false)
		}
	default:
		m.changed(w.ghost.ID, w.joined)
	}
	m.mu.Lock()
	delete(m.busy, w.ghost.ID)
	m.mu.Unlock()
	m.wake()
}
