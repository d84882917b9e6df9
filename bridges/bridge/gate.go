package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/internal/matrix"
)

// prepareAgain is the wait after the homeserver would not say who is in a room.
const prepareAgain = 30 * time.Second

// newcomerWait is how long the homeserver may take to tell of a join that it has mentioned.
const newcomerWait = 2 * time.Second

// errUnprepared is why nothing may pass: the room is new, or somebody came whom we have not heard of.
var errUnprepared = errors.New("it is not known who is in the room")

// Guards may be implemented by a [Remote] whose channels are not for everybody
// in their rooms.
type Guards interface {
	// Guarded tells whether what is said in a channel may only reach its room
	// while everybody in the room is in the channel.
	Guarded(key Key) bool
}

// A gate holds back what the network says while somebody is in the room who is not in
// the channel. What is held back stays in the outbox, in order. The gate is closed
// until the homeserver has said who is in the room: somebody may have come
// while the bridge was away. It belongs to the portal and its mutex.
type gate struct {
	guarded  bool
	ready    bool                    // prepare is done
	openings int                     // how often others have changed who may read the room
	present  map[matrix.UserID]bool  // who is in the channel, as the network says
	leaving  map[matrix.UserID]int   // removals in the outbox of people who were in the channel when they got there
	pushing  map[matrix.UserID]bool  // removals that do not wait for the outbox
	arrived  map[matrix.UserID]int64 // when people came into the room, counted
	arrival  int64
	lastSeq  map[matrix.UserID]int64 // the newest join of each that has been heard, by its place
	heard    matrix.EventID          // up to which it is known who has come
	changed  chan struct{}           // closed and made anew when the gate may have opened
}

func newGate() gate {
	return gate{
		present: map[matrix.UserID]bool{}, leaving: map[matrix.UserID]int{},
		pushing: map[matrix.UserID]bool{}, arrived: map[matrix.UserID]int64{}, lastSeq: map[matrix.UserID]int64{}, changed: make(chan struct{}),
	}
}

// historyVisibility is the room's: who may read what was said before they came.
func (g *gate) historyVisibility() string {
	if g.guarded {
		return "joined"
	}
	return "shared"
}

// guard closes the gate of a new portal if its network wants that.
func (p *Portal) guard() {
	if g, ok := p.bridge.remote.(Guards); ok {
		p.gate.guarded = g.Guarded(p.key)
	}
}

// open is called with mu held.
func (p *Portal) open() bool {
	g := &p.gate
	if p.moving {
		return false
	}
	if !g.guarded {
		return true
	}
	if !g.ready {
		return false
	}
	for user := range p.people {
		if !g.present[user] && g.leaving[user] == 0 {
			return false
		}
	}
	return true
}

// Open tells whether what the network says may reach the room now.
func (p *Portal) Open() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open()
}

// moved tells those who wait that the gate may have opened.
func (p *Portal) moved() {
	p.mu.Lock()
	close(p.gate.changed)
	p.gate.changed = make(chan struct{})
	p.mu.Unlock()
	p.members.wake()
}

// pass waits until an entry may be sent. Removals always may: they open the gate, as bans do.
// The answer is what the homeserver is to be told about our knowledge of the room.
func (p *Portal) pass(ctx context.Context, e entry) (leave passage, err error) {
	for {
		p.mu.Lock()
		if p.retired {
			p.mu.Unlock()
			return leave, errRetired
		}
		open, moving := p.open(), p.moving
		unprepared := p.gate.guarded && !p.gate.ready
		leave = passage{changed: p.gate.changed, arrived: p.gate.arrived[e.Target]}
		if p.gate.guarded {
			leave.known = p.gate.heard
		}
		p.mu.Unlock()
		if !moving && (open || e.Kind == kindKick || e.Kind == kindBan) {
			return leave, nil
		}
		if !moving && unprepared {
			return leave, errUnprepared
		}
		select {
		case <-leave.changed:
		case <-ctx.Done():
			return leave, ctx.Err()
		}
	}
}

// A passage is leave to send an entry, and how things stood when it was given.
type passage struct {
	known   matrix.EventID
	changed <-chan struct{}
	arrived int64 // of the entry's target
}

// heard notes, before the homeserver may believe that we know it, that somebody has come into a
// guarded room, or has changed who may read it.
func (b *Bridge) heard(e *client.Event) {
	b.noteEncryption(e)
	b.heardUpgrade(e)
	p := b.FindRoom(matrix.RoomID(e.RoomID))
	if p == nil {
		return
	}
	p.mu.Lock()
	if !p.gate.guarded {
		p.mu.Unlock()
		return
	}
	if e.Type == event.StateMember && e.StateKey != nil && e.Content.AsMember().Membership == event.MembershipJoin {
		user := matrix.UserID(*e.StateKey)
		if _, ghost := b.remote.Ghost(user); !ghost && user != b.client.Bot().ID {
			p.gate.arrival++
			p.gate.arrived[user] = p.gate.arrival
			p.gate.lastSeq[user] = e.Seq
			p.people[user] = e.Content.AsMember().Displayname
		}
	}
	p.gate.heard = matrix.EventID(e.ID)
	opened := e.Type == event.StateHistoryVisibility && e.StateKey != nil && matrix.UserID(e.Sender) != b.client.Bot().ID
	if opened { // perhaps to everybody: nothing is said before that is as it should be
		p.gate.ready = false
		p.gate.openings++
	}
	p.mu.Unlock()
	p.moved()
	if opened {
		p.wake()
	}
}

// outdated tells whether somebody who has left by an event has been heard to join after it: the
// event is worked off late.
func (p *Portal) outdated(user matrix.UserID, e *client.Event) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gate.lastSeq[user] > e.Seq
}

// newcomer waits until we have heard of whoever it was because of whom the homeserver has
// refused an event. If that does not come, we ask again who is there.
func (p *Portal) newcomer(ctx context.Context, changed <-chan struct{}) error {
	timer := time.NewTimer(newcomerWait)
	defer timer.Stop()
	select {
	case <-changed:
		return nil
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	p.mu.Lock()
	p.gate.ready = false
	p.mu.Unlock()
	return p.prepare(ctx)
}

// SetPresent notes that a Matrix user is in the channel, or no longer, as the network says.
func (p *Portal) SetPresent(user matrix.UserID, present bool) {
	p.mu.Lock()
	if present {
		p.gate.present[user] = true
	} else {
		delete(p.gate.present, user)
	}
	p.mu.Unlock()
	p.moved()
}

// Absent are the people in a guarded room who are not in the channel.
func (p *Portal) Absent() []matrix.UserID {
	p.mu.Lock()
	defer p.mu.Unlock()
	var absent []matrix.UserID
	for user := range p.people {
		if p.gate.guarded && !p.gate.present[user] && p.gate.leaving[user] == 0 {
			absent = append(absent, user)
		}
	}
	return absent
}

// Held is how much waits because of those.
func (p *Portal) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open() {
		return 0
	}
	held := 0
	for _, n := range p.queued {
		held += n
	}
	return held
}

// prepare makes sure of who may read what, and learns who is in the room, once in
// the life of a process.
func (p *Portal) prepare(ctx context.Context) error {
	p.mu.Lock()
	done, guarded, room, openings := p.gate.ready, p.gate.guarded, p.room, p.gate.openings
	p.mu.Unlock()
	if done {
		return nil
	}
	if err := p.setVisibility(ctx); err != nil && (guarded || p.Plumbed()) {
		return err
	}
	if guarded {
		if err := p.learnPeople(ctx, room); err != nil {
			return err
		}
	}
	p.mu.Lock()
	p.gate.ready = p.room == room && p.gate.openings == openings // else it has been replaced or changed meanwhile
	p.mu.Unlock()
	p.moved()
	return nil
}

// setVisibility follows the network's policy, which may have been another one before.
func (p *Portal) setVisibility(ctx context.Context) error {
	if p.Plumbed() {
		return p.readable(ctx)
	}
	if _, ok := p.bridge.remote.(Guards); !ok || p.Direct() {
		return nil
	}
	const kind = "m.room.history_visibility"
	bot, want := p.bridge.client.Bot(), map[string]string{"history_visibility": p.gate.historyVisibility()}
	return client.Retry(ctx, p.bridge.noteFailing("see to a room's history"), func(ctx context.Context) error {
		var now map[string]string
		raw, err := bot.State(ctx, p.Room(), kind, "")
		if err != nil && !client.Is(err, "M_NOT_FOUND") {
			return err
		}
		if err == nil && json.Unmarshal(raw, &now) == nil && maps.Equal(now, want) {
			return nil
		}
		return bot.SendState(ctx, p.Room(), kind, "", want, time.Now())
	})
}

func (p *Portal) learnPeople(ctx context.Context, room matrix.RoomID) error {
	var joined map[matrix.UserID]string
	err := client.Retry(ctx, p.bridge.noteFailing("ask who is in a room"), func(ctx context.Context) error {
		newest, err := p.bridge.client.Bot().Newest(ctx, room) // before the list, so that whoever comes in between is news
		if err != nil {
			return err
		}
		p.mu.Lock()
		if p.room == room {
			p.gate.heard = newest
		}
		p.mu.Unlock()
		joined, err = p.bridge.client.Bot().JoinedMembers(ctx, room)
		return err
	})
	if err != nil {
		return err
	}
	maps.DeleteFunc(joined, func(user matrix.UserID, _ string) bool {
		_, ghost := p.bridge.remote.Ghost(user)
		return ghost || user == p.bridge.client.Bot().ID
	})
	for user, name := range joined {
		p.mu.Lock()
		_, known := p.people[user]
		known = known || p.room != room
		p.mu.Unlock()
		if !known { // the event about it is still on its way
			p.setPerson(user, name, true)
		}
	}
	return nil
}

// Remove takes a Matrix user out of the room, behind what was said before. One who has
// not been in the channel may see nothing of that, and goes at once.
func (p *Portal) Remove(user matrix.UserID, reason string) {
	if p.Room() == "" || p.Plumbed() {
		return
	}
	p.mu.Lock()
	inOrder := !p.gate.guarded || p.gate.present[user]
	if p.gate.guarded && inOrder {
		p.gate.leaving[user]++
	}
	p.mu.Unlock()
	if inOrder {
		p.enqueue(entry{Kind: kindKick, Target: user, Reason: reason, Time: millis(time.Now())}, nil)
	} else {
		p.push(user, reason)
	}
}

// push removes a user without waiting for the outbox.
func (p *Portal) push(user matrix.UserID, reason string) {
	p.mu.Lock()
	busy := p.gate.pushing[user]
	p.gate.pushing[user] = true
	arrived := p.gate.arrived[user]
	p.mu.Unlock()
	if busy {
		return
	}
	p.bridge.goRun(func() {
		ctx := p.bridge.ctx
		err := client.Retry(ctx, p.bridge.noteFailing("remove a user"), func(ctx context.Context) error {
			return p.bridge.client.Bot().Kick(ctx, p.Room(), user, reason)
		})
		p.mu.Lock()
		delete(p.gate.pushing, user)
		p.mu.Unlock()
		if ctx.Err() == nil {
			p.removed(ctx, user, arrived, err)
		}
	})
}

// removed notes how a removal went of somebody who had arrived as given: who has come
// again since is in the room. Somebody whom the homeserver does not let us remove keeps
// the gate closed.
func (p *Portal) removed(ctx context.Context, user matrix.UserID, arrived int64, err error) {
	if err != nil && !p.outside(ctx, user) {
		p.bridge.log.Error("somebody who is not in the channel cannot be removed; the room hears nothing more",
			"room", p.Room(), "user", user, "err", err)
		return
	}
	p.mu.Lock()
	gone := p.gate.arrived[user] == arrived
	p.mu.Unlock()
	if gone {
		p.setPerson(user, "", false)
	}
}

// kicked notes how a removal went that was in the outbox.
func (p *Portal) kicked(ctx context.Context, e entry, arrived int64, err error) {
	if e.Kind != kindKick || !p.gate.guarded {
		return
	}
	p.mu.Lock()
	if p.gate.leaving[e.Target]--; p.gate.leaving[e.Target] <= 0 {
		delete(p.gate.leaving, e.Target)
	}
	p.mu.Unlock()
	p.removed(ctx, e.Target, arrived, err)
}

// outside asks the homeserver whether a user is not in the room; if it does not say, nobody knows.
func (p *Portal) outside(ctx context.Context, user matrix.UserID) bool {
	joined, err := p.bridge.client.Bot().JoinedMembers(ctx, p.Room())
	if err != nil {
		return false
	}
	_, in := joined[user]
	return !in
}
