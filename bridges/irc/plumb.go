package irc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"trestle/bridges/bridge"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// What becomes of somebody's wish that a room be linked with a channel.
const (
	plumbAsked   = "asked"   // an operator of the channel has to answer
	plumbGranted = "granted" // one has agreed; the room is about to be linked
	plumbLinked  = "linked"
	plumbEnding  = "ending" // nothing is passed on any more; the bridge is about to leave the room
	plumbRefused = "refused"
	plumbExpired = "expired" // nobody has answered
)

const (
	maxOpenAsked = 100              // questions of a network that are open
	plumbHistory = time.Hour        // how long it is known that something was refused, and not asked again
	maxPlumbers  = 1000             // Matrix users whose pace is remembered
	plumbBurst   = 5                // wishes of one of them at once
	plumbPace    = 2 * time.Minute  // and then one in so long
	plumbWait    = 20 * time.Second // for the homeserver, in one step
)

// Codes of errors that other bridges' provisioning APIs have, too.
const (
	codeUnknownNetwork = "IRC_UNKNOWN_NETWORK"
	codeUnknownChannel = "IRC_UNKNOWN_CHANNEL"
	codeAskedAlready   = "IRC_EXISTING_REQUEST"
	codeLinkedAlready  = "IRC_DOUBLE_BRIDGE"
	codeNoPower        = "IRC_NOT_ENOUGH_POWER"
	codeNoOperator     = "IRC_BAD_OPERATOR_TARGET"
)

var (
	selectPlumbs = database.SQL(`
		SELECT content
		FROM irc_plumbs
		ORDER BY id
		LIMIT 1000000`)
	upsertPlumb = database.SQL(`
		INSERT INTO irc_plumbs (id, state, network, room_id, content)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE
		SET state = excluded.state, room_id = excluded.room_id, content = excluded.content`)
	deletePlumb = database.SQL(`
		DELETE FROM irc_plumbs
		WHERE id = $1`)
)

// A plumb is a room of Matrix and a channel that are linked, or that somebody wants to be.
type plumb struct {
	ID      string        `json:"id"`
	State   string        `json:"state"`
	Network string        `json:"network"`
	Channel []byte        `json:"channel"` // folded
	Name    []byte        `json:"name"`    // as people spell it
	Key     []byte        `json:"key,omitempty"`
	Room    matrix.RoomID `json:"room"`
	AskedBy matrix.UserID `json:"asked_by"`
	Tell    matrix.RoomID `json:"tell"`              // where AskedBy hears what becomes of it
	Nick    string        `json:"nick,omitempty"`    // of the operator who is to be asked; empty: of some
	World   bool          `json:"world,omitempty"`   // the consent is for a room that everybody can read
	Granted string        `json:"granted,omitempty"` // who has agreed: nick!user@host
	Account string        `json:"account,omitempty"` // of services, as which
	Reason  string        `json:"reason,omitempty"`  // why it was refused, or ends
	Until   int64         `json:"until"`             // Unix milliseconds until which an answer counts, or the end is remembered
	Since   int64         `json:"since"`             // when it got into its state
	Members int           `json:"members,omitempty"` // of the room, when it was asked
	Title   string        `json:"title,omitempty"`   // of the room
	Open    bool          `json:"open,omitempty"`    // anybody may join it
}

func (p plumb) key() bridge.Key { return bridge.Key{Network: p.Network, Channel: string(p.Channel)} }

// grantedBy is the nick of who has agreed: others need not know from where.
func (p plumb) grantedBy() string {
	nick, _, _ := strings.Cut(p.Granted, "!")
	return nick
}

// active tells whether a room or channel can't be linked otherwise because of this.
func (p plumb) active() bool { return p.State != plumbRefused && p.State != plumbExpired }

// lodged tells whether the channel has, or is about to have, the room.
func (p plumb) lodged() bool { return p.State == plumbGranted || p.State == plumbLinked }

// plumbs are those of all networks. They are safe for concurrent use.
type plumbs struct {
	db *database.DB

	writing sync.Mutex // held over a change and its commit

	mu   sync.Mutex
	all  map[string]plumb
	pace *lru.Cache[matrix.UserID, *meter]
}

func loadPlumbs(ctx context.Context, db *database.DB) (*plumbs, error) {
	p := &plumbs{db: db, all: map[string]plumb{}, pace: lru.New[matrix.UserID, *meter](maxPlumbers, nil)}
	rows, err := db.Read().Query(ctx, selectPlumbs)
	if err != nil {
		return nil, fmt.Errorf("read the links with rooms: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var content string
		var one plumb
		if err := rows.Scan(&content); err != nil {
			return nil, fmt.Errorf("read the links with rooms: %w", err)
		}
		if err := json.Unmarshal([]byte(content), &one); err != nil {
			return nil, fmt.Errorf("a link with a room: %w", err)
		}
		p.all[one.ID] = one
	}
	return p, rows.Err()
}

// take tells whether a user may wish for one more.
func (p *plumbs) take(user matrix.UserID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	m, known := p.pace.Get(user)
	if !known {
		m = newMeter(plumbLimit)
		p.pace.Put(user, m)
	}
	return m.take(time.Now())
}

// get is one of them.
func (p *plumbs) get(id string) (plumb, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one, ok := p.all[id]
	return one, ok
}

// find lists those that match, in no order.
func (p *plumbs) find(match func(plumb) bool) (found []plumb) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.all {
		if match(one) {
			found = append(found, one)
		}
	}
	return found
}

// ofRoom is what a room is linked with, or about to be.
func (p *plumbs) ofRoom(room matrix.RoomID) (plumb, bool) {
	return first(p.find(func(one plumb) bool { return one.Room == room && one.active() }))
}

// ofChannel is what a channel is linked with, or about to be.
func (p *plumbs) ofChannel(key bridge.Key) (plumb, bool) {
	return first(p.find(func(one plumb) bool { return one.key() == key && one.active() }))
}

func first(found []plumb) (plumb, bool) {
	if len(found) == 0 {
		return plumb{}, false
	}
	return found[0], true
}

// errMoved means that something else has become of a plumb meanwhile.
var errMoved = errors.New("the link is in another state")

// add stores a new one, if neither its room nor its channel has another.
func (p *plumbs) add(ctx context.Context, one plumb) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	open := 0
	for _, other := range p.find(func(other plumb) bool { return other.Network == one.Network }) {
		if other.State == plumbAsked {
			open++
		}
	}
	_, room := p.ofRoom(one.Room)
	_, channel := p.ofChannel(one.key())
	switch {
	case room, channel:
		return matrix.NewError(409, codeAskedAlready, "The room or the channel is being linked, or is linked already.")
	case open >= maxOpenAsked:
		return matrix.LimitExceeded(plumbPace)
	}
	return p.write(ctx, one)
}

// write is called with writing held.
func (p *plumbs) write(ctx context.Context, one plumb) error {
	err := p.db.Update(ctx, func(tx *database.Tx) error { return one.store(ctx, tx) })
	if err != nil {
		return fmt.Errorf("store a link with a room: %w", err)
	}
	p.put(one)
	return nil
}

func (p *plumbs) put(one plumb) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[one.ID] = one
}

func (p plumb) store(ctx context.Context, tx *database.Tx) error {
	content, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return tx.Queue(ctx, upsertPlumb, p.ID, p.State, p.Network, p.Room, string(content))
}

// move brings one from one of some states into another, durably; errMoved if it is in none of
// them. With commit that does the writing.
func (p *plumbs) move(ctx context.Context, id string, from []string, change func(*plumb), commit func(plumb) error) (plumb, error) {
	p.writing.Lock()
	defer p.writing.Unlock()
	one, ok := p.get(id)
	for _, state := range from {
		if !ok || one.State != state {
			continue
		}
		one.Since = time.Now().UnixMilli()
		change(&one)
		if commit == nil {
			return one, p.write(ctx, one)
		}
		err := commit(one)
		if err == nil {
			p.put(one)
		}
		return one, err
	}
	return one, errMoved
}

// drop forgets one.
func (p *plumbs) drop(ctx context.Context, id string) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	err := p.db.Update(ctx, func(tx *database.Tx) error { return tx.Queue(ctx, deletePlumb, id) })
	if err != nil {
		return fmt.Errorf("forget a link with a room: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, id)
	return nil
}

// prune forgets what was refused long ago.
func (p *plumbs) prune(ctx context.Context, now time.Time) error {
	for _, old := range p.find(func(one plumb) bool { return !one.active() && one.Until < now.UnixMilli() }) {
		if err := p.drop(ctx, old.ID); err != nil {
			return err
		}
	}
	return nil
}
