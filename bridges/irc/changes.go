package irc

import (
	"context"
	"sync"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// A change is what somebody has made of a room's rights, and IRC is to follow. A channel's changes
// are worked off one after the other, each compared with what IRC has by then: with two under way,
// what the second changes would be judged by a state that the first is about to end.
type change struct {
	by   matrix.UserID
	kind string // changes of one kind by one person replace each other while they wait
	base before // of power: what it was
	// need are the commands by which IRC would follow, and whose power they are about. It is
	// called on the loop.
	need func(ch *channel) (lines []*wire.Message, about []matrix.UserID)
	done []func()
}

// changes are those of a channel. They belong to the network's loop.
type changes struct {
	queue    []*change
	underWay bool            // the first is on its way to IRC
	about    []matrix.UserID // whose power was changed since the room was last made what IRC is
	enforce  bool            // the room is to be made that
}

// quiet tells whether the room has what people of Matrix have made of it, or IRC has refused.
func (c *changes) quiet() bool { return len(c.queue) == 0 && !c.enforce }

// maxChanges is how many changes may wait before the room's next event does.
const maxChanges = 50

// change has IRC follow what somebody has changed in a room, and waits for a moment until it has, if nothing
// else is under way: what comes after it may replace it.
func (n *network) change(ctx context.Context, p *bridge.Portal, c *change, done func()) {
	followed := make(chan struct{})
	c.done = []func(){func() {
		close(followed)
		done()
	}}
	patience := time.Duration(0)
	if !n.ask(ctx, func() {
		ch := n.channel(p.Name())
		if waiting := len(ch.changes.queue); waiting == 0 || waiting > maxChanges {
			patience = roomPatience
		}
		waiting := ch.changes.queue
		if ch.changes.underWay {
			waiting = waiting[1:]
		}
		if last := len(waiting) - 1; last >= 0 && waiting[last].by == c.by && waiting[last].kind == c.kind {
			c.done, c.base.people = append(waiting[last].done, c.done...), waiting[last].base.people
			waiting[last] = c
			return
		}
		ch.changes.queue = append(ch.changes.queue, c)
		n.nextChange(ch)
	}) {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-followed:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// nextChange works off the next change, once the channel is in sight; after the last the room
// gets the rights that IRC has.
func (n *network) nextChange(ch *channel) {
	for !ch.changes.underWay && ch.joined && ch.synced && ch.portal != nil {
		if len(ch.changes.queue) == 0 {
			if ch.changes.enforce {
				ch.portal.SetRights(n.rights(ch), true, ch.changes.about...)
				ch.changes.enforce, ch.changes.about = false, nil
			}
			return
		}
		c := ch.changes.queue[0]
		lines, about := c.need(ch)
		if len(lines) == 0 && len(about) == 0 {
			n.changed(ch)
			continue
		}
		ch.changes.underWay, ch.changes.enforce = true, true
		ch.changes.about = append(ch.changes.about, about...)
		n.goRun(func() { n.carry(ch, c, lines) })
	}
}

// carry has somebody's puppet send the commands of a change, and waits until the bot has heard all that
// the server has said by then.
func (n *network) carry(ch *channel, c *change, lines []*wire.Message) {
	n.sequence(n.ctx, c.by, ch.portal, lines, func(err error) {
		n.goRun(func() {
			if err != nil {
				ch.portal.Notice("IRC did not let " + string(c.by) + " do that: " + reasonOf(err))
			}
			var conn *wire.Conn
			n.ask(n.ctx, func() { conn = n.bot.link.conn })
			if conn != nil {
				_ = conn.Barrier(n.ctx) // if it fails, the channel will be synchronised anew
			}
			n.post(func() {
				ch.changes.underWay = false
				n.changed(ch)
				n.nextChange(ch)
			})
		})
	})
}

// changed takes the first change out of the queue.
func (n *network) changed(ch *channel) {
	done := ch.changes.queue[0].done
	ch.changes.queue = ch.changes.queue[1:]
	n.goRun(func() {
		for _, fn := range done {
			fn()
		}
	})
}

// before are the power levels before a change: of the event before it, and of the one before it that was
// somebody's, not the bridge's, which may be about what was changed earlier. nil: nobody knows.
type before struct {
	any, people *event.PowerLevelsEventContent
}

// differs tells whether a change was one of what level takes from power levels.
func (b before) differs(now int, level func(*event.PowerLevelsEventContent) int) bool {
	return b.any != nil && level(b.any) != now || b.people != nil && level(b.people) != now
}

// speaks tells whether what speaking takes was changed, so that IRC, which may have another mode, has to follow.
func (b before) speaks(now, granted int, other bool) bool {
	if b.any == nil {
		return now != granted
	}
	return now != b.any.EventsDefault || other && b.differs(now, func(l *event.PowerLevelsEventContent) int { return l.EventsDefault })
}

// powers are the power levels of portals' rooms, as their events have come. What somebody has changed is told by
// those before; what the bridge has set may be newer than what they saw.
type powers struct {
	mu    sync.Mutex
	rooms map[matrix.RoomID]*roomPowers
}

// roomPowers are the newest levels of a room, and those before the newest event.
type roomPowers struct{ newest, before before }

// note takes an event, which comes before anybody else gets to see it.
func (p *powers) note(e *client.Event, ours bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rooms == nil {
		p.rooms = map[matrix.RoomID]*roomPowers{}
	}
	room := p.rooms[matrix.RoomID(e.RoomID)]
	if room == nil {
		room = &roomPowers{}
		p.rooms[matrix.RoomID(e.RoomID)] = room
	}
	room.before, room.newest.any = room.newest, e.Content.AsPowerLevels()
	if !ours {
		room.newest.people = room.newest.any
	}
}

// before are the levels before the newest event of a room.
func (p *powers) before(room matrix.RoomID) before {
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.rooms[room]; known != nil {
		return known.before
	}
	return before{}
}
