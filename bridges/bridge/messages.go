package bridge

import (
	"context"
	"errors"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// keepMessages is how long a message can be replied to, edited or redacted so
// that the other side knows which one is meant.
const keepMessages = 90 * 24 * time.Hour

var (
	insertMessage = database.SQL(`
		INSERT INTO messages (event_id, portal, sender, remote_id, excerpt, sent_at)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (event_id) DO NOTHING`)
	selectMessage = database.SQL(`
		SELECT sender, remote_id, excerpt, sent_at
		FROM messages
		WHERE event_id = $1`)
	selectRemoteMessage = database.SQL(`
		SELECT event_id, sender
		FROM messages
		WHERE portal = $1
		AND remote_id = $2
		AND remote_id <> ''
		ORDER BY sent_at DESC
		LIMIT 1`)
	deleteMessages = database.SQL(`
		DELETE FROM messages
		WHERE sent_at < $1`)
)

// A Sent is a message that both sides have.
type Sent struct {
	Sender   matrix.UserID
	RemoteID string
	Excerpt  string
	Time     time.Time
}

// NoteMessage remembers a message of a Matrix user that the other side has.
func (p *Portal) NoteMessage(event matrix.EventID, m Sent) {
	p.noteRemote(m.RemoteID, Known{event, m.Sender})
	p.bridge.write(insertMessage, event, p.id, m.Sender, m.RemoteID, m.Excerpt, millis(m.Time))
}

// Message finds a message by its event; false if it is too old or unknown.
func (p *Portal) Message(ctx context.Context, event matrix.EventID) (Sent, bool, error) {
	var m Sent
	var at int64
	err := p.bridge.db.Read().QueryRow(ctx, selectMessage, event).Scan(&m.Sender, &m.RemoteID, &m.Excerpt, &at)
	if errors.Is(err, database.ErrNoRows) {
		return m, false, nil
	}
	m.Time = time.UnixMilli(at)
	return m, err == nil, err
}

// EventOf finds the event of a message by the network's ID.
func (p *Portal) EventOf(ctx context.Context, remoteID string) (matrix.EventID, bool, error) {
	known, ok, err := p.Known(ctx, remoteID)
	return known.Event, ok, err
}

// Known finds the event of a message, and whose it is, by the network's ID.
func (p *Portal) Known(ctx context.Context, remoteID string) (Known, bool, error) {
	if known, ok := p.bridge.recent.Get(remoteKey{p.id, remoteID}); ok {
		return known, true, nil
	}
	var known Known
	err := p.bridge.db.Read().QueryRow(ctx, selectRemoteMessage, p.id, remoteID).Scan(&known.Event, &known.Sender)
	if !errors.Is(err, database.ErrNoRows) {
		return known, err == nil, err
	}
	event, ok, err := p.partOf(ctx, remoteID)
	if err != nil || !ok {
		return known, false, err
	}
	sent, _, err := p.Message(ctx, event)
	return Known{event, sent.Sender}, err == nil, err
}

// pruneMessages forgets old messages, once an hour.
func (b *Bridge) pruneMessages(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			b.write(deleteMessages, millis(time.Now().Add(-keepMessages)))
			b.write(deleteParts, millis(time.Now().Add(-keepMessages)))
			b.write(deleteReactions, millis(time.Now().Add(-keepMessages)))
		case <-ctx.Done():
			return
		}
	}
}
