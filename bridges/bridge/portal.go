package bridge

import (
	"context"
	"encoding/json"
	"maps"
	"sync"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// A Portal is a channel and, once somebody wants it, a room.
type Portal struct {
	bridge *Bridge
	id     int64
	key    Key

	members *members // virtual users

	mu      sync.Mutex
	gate    gate
	name    string
	alias   matrix.RoomAlias
	room    matrix.RoomID // empty: none yet
	topic   string
	wanted  bool
	plumbed bool                     // the room is another's; see Plumb
	retired bool                     // the portal is no more; see Retire
	people  map[matrix.UserID]string // joined Matrix users and their display names
	queued  map[matrix.UserID]int    // entries of the outbox by sender
	drain   drain

	granted granted       // see SetRights
	listing listing       // see Hide
	told    told          // what the room says of the channel
	creator matrix.UserID // who had the portal made; may be empty

	moving     bool          // the room is being replaced: nothing is sent
	upgrading  sync.Mutex    // held by whoever moves the portal; taken first
	unfollowed matrix.RoomID // a replacement that is none
	former     []formerRoom  // the newest first

	righting bool                     // what the room says will soon be looked at
	bans     map[matrix.UserID]string // their masks; see NoteBan

	remoteKey string // see SetRemoteKey
	unvisited int64  // since when the room waits for the first to come, Unix ms; 0: it does not

	waiters []*waiter
}

func newPortal(b *Bridge) *Portal {
	p := &Portal{bridge: b, gate: newGate(), people: map[matrix.UserID]string{}, queued: map[matrix.UserID]int{}, bans: map[matrix.UserID]string{}}
	p.members = newMembers(p)
	return p
}

// row is what upsertPortal takes.
func (p *Portal) row() []any {
	return []any{p.id, p.key.Network, storable(p.key.Channel), storable(p.name), p.alias, p.room, p.topic, p.wanted}
}

// ID is the portal's number, which it keeps.
func (p *Portal) ID() int64 { return p.id }

// Key names the channel.
func (p *Portal) Key() Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key
}

// Name is the channel's name as people spell it.
func (p *Portal) Name() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.name
}

// Room is the room's ID, empty if there is none.
func (p *Portal) Room() matrix.RoomID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.room
}

// Wanted tells whether somebody asked the bridge to listen in the channel.
func (p *Portal) Wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted
}

// SetWanted notes that the bridge is to listen in the channel, or no longer.
func (p *Portal) SetWanted(wanted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted != wanted && !p.retired {
		p.wanted = wanted
		p.bridge.write(upsertPortal, p.row()...)
	}
}

// People are the Matrix users in the room that are not ours, with their
// display names.
func (p *Portal) People() map[matrix.UserID]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.people)
}

// Person is the display name of a Matrix user in the room; false if they are not there.
func (p *Portal) Person(user matrix.UserID) (name string, in bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name, in = p.people[user]
	return name, in
}

// setPerson notes that a Matrix user is in the room, or no longer.
func (p *Portal) setPerson(user matrix.UserID, name string, joined bool) {
	p.mu.Lock()
	if joined {
		p.gate.arrival++
		p.gate.arrived[user] = p.gate.arrival
		p.people[user] = name
		p.visit()
		p.bridge.write(upsertMember, p.id, user, false, storable(name))
	} else {
		delete(p.gate.arrived, user)
		delete(p.people, user)
		p.bridge.write(deleteMember, p.id, user)
	}
	p.mu.Unlock()
	p.moved()
}

// A Message is what somebody said on the other side.
type Message struct {
	Sender   Ghost
	Content  any // of m.room.message
	Time     time.Time
	RemoteID string // the network's ID of the message, if it has such
	ReplyTo  string // the network's ID of the message that it answers, if it says so
	Excerpt  string // for quoting it in a reply
}

// Say puts a message into the queue towards Matrix. stored, if not nil, is called once it is
// safe there; it must not block. Messages reach the room in the order of the calls.
func (p *Portal) Say(m Message, stored func()) {
	p.enqueue(entry{
		Kind: kindMessage, Sender: m.Sender.ID, Name: m.Sender.Name, Type: "m.room.message",
		Content: encode(m.Content), Time: millis(m.Time), RemoteID: m.RemoteID, Excerpt: m.Excerpt, ReplyTo: m.ReplyTo,
	}, stored)
}

// Notice has the bridge's own user say something in the room. Without a room
// it is dropped.
func (p *Portal) Notice(text string) {
	if p.Room() == "" {
		return
	}
	content := map[string]string{"msgtype": "m.notice", "body": text}
	voice := p.voice()
	p.enqueue(entry{
		Kind: kindMessage, Sender: voice.ID, Name: voice.Name, Type: "m.room.message", Content: encode(content), Time: millis(time.Now()),
	}, nil)
}

// SetTopic changes the room's topic, if it has another. The bridge's own user
// does it, since virtual users have no power.
func (p *Portal) SetTopic(topic string, at time.Time) {
	p.mu.Lock()
	same := p.topic == topic || p.plumbed || p.retired
	p.topic = topic
	if !same {
		p.bridge.write(upsertPortal, p.row()...)
	}
	room := p.room
	p.mu.Unlock()
	if same || room == "" {
		return
	}
	p.enqueue(entry{
		Kind: kindState, Type: "m.room.topic", Content: encode(map[string]string{"topic": topic}), Time: millis(at),
	}, nil)
}

// Topic is the room's topic as far as the bridge knows.
func (p *Portal) Topic() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.topic
}

var trimOutbox = database.SQL(`
	DELETE FROM outbox
	WHERE portal = $1
	AND seq <= (
		SELECT seq
		FROM outbox
		WHERE portal = $1
		ORDER BY seq DESC
		LIMIT 1 OFFSET $2
	)
	RETURNING entry`)

// maxMoving is how many entries may wait for a room that replaces another.
const maxMoving = 10000

// Trim drops all but the newest n entries that wait for a room to be created, or all but the newest ten
// thousand that wait for one that the bridge may not join yet.
func (p *Portal) Trim(ctx context.Context, n int) error {
	switch {
	case p.Moving():
		n = max(n, maxMoving)
	case p.Room() != "":
		return nil
	}
	var dropped []entry
	err := p.bridge.db.Update(ctx, func(tx *database.Tx) error {
		rows, err := tx.Query(ctx, trimOutbox, p.id, n)
		if err != nil {
			return err
		}
		defer rows.Close()
		dropped, err = scanEntries(rows)
		return err
	})
	for _, e := range dropped {
		p.unqueue(e.Sender)
	}
	return err
}

func scanEntries(rows *database.Rows) ([]entry, error) {
	var all []entry
	for rows.Next() {
		var raw []byte
		var e entry
		if err := rows.Scan(&raw); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, rows.Err()
}
