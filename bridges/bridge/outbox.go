package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// drainPage is how many entries are read from the table at once.
const drainPage = 100

// The kinds of entries.
const (
	kindMessage = "message"
	kindState   = "state"
	kindKick    = "kick"

	kindReaction = "reaction"
)

// An entry is one row of the outbox: something that Matrix is to be told.
type entry struct {
	Kind     string          `json:"kind"`
	Sender   matrix.UserID   `json:"sender,omitempty"` // virtual user; empty: the bridge's own
	Name     string          `json:"name,omitempty"`   // the virtual user's display name
	Type     string          `json:"type,omitempty"`
	StateKey string          `json:"state_key,omitempty"`
	Content  json.RawMessage `json:"content,omitempty"`
	Target   matrix.UserID   `json:"target,omitempty"` // of a kick
	Reason   string          `json:"reason,omitempty"`
	Time     int64           `json:"time"`
	RemoteID string          `json:"remote_id,omitempty"`
	Excerpt  string          `json:"excerpt,omitempty"`
	ReplyTo  string          `json:"reply_to,omitempty"` // the network's ID of the message that is meant
	Once     string          `json:"once,omitempty"`     // what makes it one that may have been sent before

	seq int64
}

// drain is the state of the goroutine that sends a portal's entries. It runs
// only while there are such.
type drain struct {
	running bool
	again   bool  // entries came since it last looked
	sent    int64 // the last entry that was sent or given up
	// inherited is the last entry that an earlier process has left, perhaps sent and not
	// noted; 0 once it is known of one that it was not.
	inherited int64
	found     map[matrix.EventID]bool // what became of such; of the goroutine
}

var (
	selectEntries = database.SQL(`
		SELECT seq, entry
		FROM outbox
		WHERE portal = $1
		AND seq > $2
		ORDER BY seq
		LIMIT 100`)
	deleteSent = database.SQL(`
		DELETE FROM outbox
		WHERE seq = ANY($1)`)
	selectQueued = database.SQL(`
		SELECT seq, portal, entry
		FROM outbox
		ORDER BY seq
		LIMIT 10000000`)
)

// unqueue notes that an entry has left the queue. A virtual user whose last
// message is through may leave the room.
func (p *Portal) unqueue(sender matrix.UserID) {
	p.mu.Lock()
	p.queued[sender]--
	last := p.queued[sender] <= 0
	if last {
		delete(p.queued, sender)
	}
	p.waiters = slices.DeleteFunc(p.waiters, func(w *waiter) bool {
		w.left--
		if w.left == 0 {
			close(w.done)
		}
		return w.left <= 0
	})
	p.mu.Unlock()
	if last && sender != "" {
		p.members.silent(sender)
	}
}

// speaking tells whether messages of a user are still to be sent.
func (p *Portal) speaking(user matrix.UserID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.queued[user] > 0
}

// loadQueued counts what an earlier process left.
func (b *Bridge) loadQueued(ctx context.Context) error {
	rows, err := b.db.Read().Query(ctx, selectQueued)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var seq, portal int64
		var raw []byte
		if err := rows.Scan(&seq, &portal, &raw); err != nil {
			return err
		}
		var e entry
		if err := json.Unmarshal(raw, &e); err != nil {
			return fmt.Errorf("entry of the queue: %w", err)
		}
		if p := b.byID[portal]; p != nil {
			p.queued[e.Sender]++
			p.drain.inherited = seq
			if e.Kind == kindKick && p.gate.guarded {
				p.gate.leaving[e.Target]++
			}
		}
	}
	return rows.Err()
}

// wake has the portal's entries sent, if there is a room to send them to.
func (p *Portal) wake() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drain.again = true
	if p.room != "" && !p.drain.running {
		p.drain.running = p.bridge.goRun(func() { p.send(p.bridge.ctx) })
	}
}

// send is the drain's goroutine.
func (p *Portal) send(ctx context.Context) {
	for {
		p.mu.Lock()
		if !p.drain.again || ctx.Err() != nil {
			p.drain.running = false
			p.mu.Unlock()
			return
		}
		p.drain.again = false
		p.mu.Unlock()
		if err := p.prepare(ctx); err != nil && ctx.Err() == nil && !p.isRetired() {
			p.bridge.log.Error("the homeserver does not say who is in a room; the room has to wait", "room", p.Room(), "err", err)
			time.AfterFunc(prepareAgain, p.wake)
			continue
		}
		if err := p.sendAll(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errRetired) {
			p.bridge.log.Error("the bridge's queue stands still for a moment", "room", p.Room(), "err", err)
			time.AfterFunc(time.Second, p.wake)
		}
	}
}

func (p *Portal) sendAll(ctx context.Context) error {
	for {
		page, err := p.entries(ctx)
		if err != nil || len(page) == 0 {
			return err
		}
		for sent := 0; sent < len(page); {
			n, err := p.sendSome(ctx, page[sent:])
			if err != nil {
				return err
			}
			sent += n
		}
		if len(page) < drainPage {
			return nil
		}
	}
}

// sendOne sends an entry when it may be sent.
func (p *Portal) sendOne(ctx context.Context, e entry) error {
	for {
		leave, err := p.pass(ctx, e)
		if errors.Is(err, errUnprepared) {
			if err := p.prepare(ctx); err != nil {
				return fmt.Errorf("who is in the room: %w", err)
			}
			continue
		}
		if err != nil {
			return err
		}
		room := p.Room()
		event, err := p.deliver(ctx, e, leave.known)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errRetired):
			return err
		}
		if client.Is(err, client.Newcomer) {
			if err := p.newcomer(ctx, leave.changed); err != nil {
				return err
			}
			continue
		}
		if client.Is(err, "M_FORBIDDEN") && p.replaced(ctx, room) {
			continue // to the other room
		}
		if ctx.Err() != nil { // while it was on the way there: it is sent after the restart
			return ctx.Err()
		}
		p.sent(e, event, err)
		p.kicked(ctx, e, leave.arrived, err)
		return nil
	}
}

func (p *Portal) entries(ctx context.Context) ([]entry, error) {
	p.mu.Lock()
	after := p.drain.sent
	p.mu.Unlock()
	rows, err := p.bridge.db.Read().Query(ctx, selectEntries, p.id, after)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []entry
	for rows.Next() {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, err
		}
		page = append(page, e)
	}
	return page, rows.Err()
}

// scanEntry reads a row of seq and entry.
func scanEntry(rows *database.Rows) (e entry, err error) {
	var seq int64
	var raw []byte
	if err = rows.Scan(&seq, &raw); err == nil {
		err = json.Unmarshal(raw, &e)
	}
	e.seq = seq
	return e, err
}

// sent takes an entry out of the queue.
func (p *Portal) sent(e entry, event matrix.EventID, err error) {
	b := p.bridge
	if err != nil {
		b.metrics.refused.Inc()
		b.log.Warn("the homeserver refused an event; it is dropped", "room", p.Room(), "kind", e.Kind, "sender", e.Sender, "err", err)
	} else {
		b.metrics.toMatrix.Inc()
	}
	p.record([]delivered{{e, event}})
}

// delivered is an entry that is in the room as an event, or, without one, will never be.
type delivered struct {
	entry entry
	event matrix.EventID
}

// record notes what became of entries; the last of them is the last that was sent.
func (p *Portal) record(all []delivered) {
	b, ctx := p.bridge, context.Background()
	var seqs []int64
	var messages, reactions [][]any
	for _, d := range all {
		e := d.entry
		seqs = append(seqs, e.seq)
		if d.event == "" {
			continue
		}
		p.noteRemote(e.RemoteID, Known{d.event, e.Sender})
		switch {
		case e.Kind == kindMessage && e.Sender != "":
			messages = append(messages, []any{d.event, p.id, e.Sender, e.RemoteID, e.Excerpt, e.Time})
		case e.Kind == kindReaction:
			reactions = append(reactions, []any{d.event, p.id, e.Sender, e.ReplyTo, e.Reason, e.Time})
		}
	}
	p.mu.Lock()
	p.drain.sent = seqs[len(seqs)-1]
	p.mu.Unlock()
	b.db.Enqueue(func(tx *database.Tx) error {
		err := tx.Queue(ctx, deleteSent, seqs)
		if len(messages) > 0 {
			err = errors.Join(err, tx.ExecMany(ctx, insertMessage, messages))
		}
		if len(reactions) > 0 {
			err = errors.Join(err, tx.ExecMany(ctx, insertReaction, reactions))
		}
		return err
	}, func(err error) {
		// What stays is sent again after a restart, under the same
		// transaction ID, and the homeserver drops it.
		if err != nil && !errors.Is(err, database.ErrClosed) {
			b.log.Error("the bridge's queue was not updated", "err", err)
		}
	})
	for _, d := range all {
		p.unqueue(d.entry.Sender)
	}
}

// transaction names an entry to the homeserver, the same at each attempt.
func (b *Bridge) transaction(e entry) string {
	if e.Once != "" {
		return b.instance + "." + e.Once
	}
	return fmt.Sprintf("%s.%d", b.instance, e.seq)
}

// deliver sends one entry, however long the homeserver is away.
func (p *Portal) deliver(ctx context.Context, e entry, known matrix.EventID) (matrix.EventID, error) {
	b, room := p.bridge, p.Room()
	user := b.client.Bot()
	if e.Sender != "" {
		user = b.client.As(e.Sender)
	}
	if !p.relate(ctx, &e) {
		return "", nil
	}
	var event matrix.EventID
	attempt := func(ctx context.Context) (err error) {
		if p.isRetired() {
			return errRetired
		}
		if e.Sender != "" {
			if err := p.members.ensure(ctx, Ghost{e.Sender, e.Name}); err != nil {
				return err
			}
		}
		switch e.Kind {
		case kindKick:
			err = user.Kick(ctx, room, e.Target, e.Reason)
		case kindState:
			err = user.SendStateKnowing(ctx, room, e.Type, e.StateKey, e.Content, time.UnixMilli(e.Time), known)
		case kindRights, kindBan, kindUnban, kindRedact, kindUnreact:
			err = p.act(ctx, e)
		default:
			event, err = b.post(ctx, user, p, room, client.Message{
				Type: e.Type, Content: e.Content, Time: time.UnixMilli(e.Time),
				TransactionID: b.transaction(e), Known: known,
			})
		}
		return err
	}
	failing := b.noteFailing("send " + e.Kind)
	err := client.Retry(ctx, failing, attempt)
	if client.Is(err, "M_FORBIDDEN") && e.Kind == kindMessage && e.Sender != "" {
		// Our tables may be wrong: the user was kicked a moment ago, or the
		// homeserver has lost it.
		p.members.forget(e.Sender)
		b.forgetGhost(e.Sender)
		err = client.Retry(ctx, failing, attempt)
		if client.Is(err, "M_FORBIDDEN") && p.lift(ctx, e.Sender) == nil {
			err = client.Retry(ctx, failing, attempt)
		}
	}
	return event, err
}
