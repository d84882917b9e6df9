package bridge

import (
	"context"
	"errors"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// maxRemembered bounds what one look into the past finds.
const maxRemembered = 10000

var (
	selectLastSent = database.SQL(`
		SELECT sent_at
		FROM messages
		WHERE portal = $1
		ORDER BY sent_at DESC
		LIMIT 1`)
	selectSentBetween = database.SQL(`
		SELECT sender, remote_id, excerpt, sent_at
		FROM messages
		WHERE portal = $1
		AND sent_at BETWEEN $2 AND $3
		ORDER BY sent_at
		LIMIT 10000`)
	selectWaiting = database.SQL(`
		SELECT seq, entry
		FROM outbox
		WHERE portal = $1
		ORDER BY seq DESC
		LIMIT 10000`)
)

// LastHeard is when the newest message was said that the portal has, or had; zero
// if there is none.
func (p *Portal) LastHeard(ctx context.Context) (time.Time, error) {
	waiting, err := p.waiting(ctx)
	if err != nil {
		return time.Time{}, err
	}
	var last int64
	err = p.bridge.db.Read().QueryRow(ctx, selectLastSent, p.id).Scan(&last)
	if err != nil && !errors.Is(err, database.ErrNoRows) {
		return time.Time{}, err
	}
	for _, m := range waiting {
		last = max(last, millis(m.Time))
	}
	if last == 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(last), nil
}

// Said is what the portal has of the time from one moment to another, on both sides and
// on the way between them. What came before the call is in it.
func (p *Portal) Said(ctx context.Context, from, to time.Time) ([]Sent, error) {
	said, err := p.waiting(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := p.bridge.db.Read().Query(ctx, selectSentBetween, p.id, millis(from), millis(to))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m Sent
		var at int64
		if err := rows.Scan(&m.Sender, &m.RemoteID, &m.Excerpt, &at); err != nil {
			return nil, err
		}
		m.Time = time.UnixMilli(at)
		said = append(said, m)
	}
	return said, rows.Err()
}

// waiting are the messages of the network that are in the outbox. It is asked before the table
// of those that have left it: what goes from one to the other meanwhile is found in both.
func (p *Portal) waiting(ctx context.Context) ([]Sent, error) {
	stored := make(chan struct{})
	p.bridge.Stored(func() { close(stored) })
	select {
	case <-stored:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	rows, err := p.bridge.db.Read().Query(ctx, selectWaiting, p.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Sent
	for rows.Next() && len(all) < maxRemembered {
		e, err := scanEntry(rows)
		if err != nil {
			return nil, err
		}
		if e.Kind == kindMessage && e.Sender != "" {
			all = append(all, Sent{Sender: e.Sender, RemoteID: e.RemoteID, Excerpt: e.Excerpt, Time: time.UnixMilli(e.Time)})
		}
	}
	return all, rows.Err()
}

// IsGhost tells whether a user is a virtual one.
func (b *Bridge) IsGhost(user matrix.UserID) bool {
	_, ghost := b.remote.Ghost(user)
	return ghost
}
