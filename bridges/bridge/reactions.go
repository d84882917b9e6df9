package bridge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

const kindUnreact = "unreact"

var (
	insertReaction = database.SQL(`
		INSERT INTO reactions (event_id, portal, sender, remote_id, content, sent_at)
		VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (event_id) DO NOTHING`)
	selectReaction = database.SQL(`
		SELECT sender, remote_id, content
		FROM reactions
		WHERE event_id = $1`)
	selectReactionsOf = database.SQL(`
		SELECT event_id
		FROM reactions
		WHERE portal = $1
		AND remote_id = $2
		AND sender = $3
		AND content = $4
		ORDER BY sent_at
		LIMIT 10`)
	deleteReaction = database.SQL(`
		DELETE FROM reactions
		WHERE event_id = $1`)
	deleteReactions = database.SQL(`
		DELETE FROM reactions
		WHERE sent_at < $1`)
)

// A Reaction is one that both sides have.
type Reaction struct {
	Sender   matrix.UserID
	RemoteID string // of the message, on the network
	Key      string // what somebody reacted with
}

// NoteReaction remembers a reaction of a Matrix user that the other side is told.
func (p *Portal) NoteReaction(event matrix.EventID, r Reaction, at time.Time) {
	p.bridge.write(insertReaction, event, p.id, r.Sender, r.RemoteID, r.Key, millis(at))
}

// ForgetReaction is called for a reaction that was taken back.
func (p *Portal) ForgetReaction(event matrix.EventID) { p.bridge.write(deleteReaction, event) }

// Reaction finds a reaction by its event; false if the other side was not told.
func (p *Portal) Reaction(ctx context.Context, event matrix.EventID) (r Reaction, ok bool, err error) {
	if err := p.bridge.written(ctx); err != nil {
		return r, false, err
	}
	err = p.bridge.db.Read().QueryRow(ctx, selectReaction, event).Scan(&r.Sender, &r.RemoteID, &r.Key)
	if errors.Is(err, database.ErrNoRows) {
		return r, false, nil
	}
	return r, err == nil, err
}

// Unreact takes a virtual user's reaction to a message back, if there is one when its turn comes.
func (p *Portal) Unreact(sender Ghost, remoteID, key string) {
	if p.Room() == "" || remoteID == "" {
		return
	}
	p.enqueue(entry{
		Kind: kindUnreact, Sender: sender.ID, Name: sender.Name, ReplyTo: remoteID, Reason: key, Time: millis(time.Now()),
	}, nil)
}

// unreact redacts the reactions that an entry means.
func (p *Portal) unreact(ctx context.Context, e entry) error {
	events, err := p.reactionsOf(ctx, e)
	if err != nil {
		return err
	}
	for _, event := range events {
		txn := fmt.Sprintf("%s.%d.%s", p.bridge.instance, e.seq, event)
		if err := p.bridge.client.As(e.Sender).Redact(ctx, p.Room(), event, "", txn); err != nil {
			return err
		}
		p.ForgetReaction(event)
	}
	return nil
}

func (p *Portal) reactionsOf(ctx context.Context, e entry) (events []matrix.EventID, err error) {
	if err := p.bridge.written(ctx); err != nil {
		return nil, err
	}
	rows, err := p.bridge.db.Read().Query(ctx, selectReactionsOf, p.id, e.ReplyTo, e.Sender, e.Reason)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var event matrix.EventID
		if err := rows.Scan(&event); err != nil {
			return nil, err
		}
		events = append(events, event)
	}
	return events, rows.Err()
}

// written waits until what was written before is in the tables.
func (b *Bridge) written(ctx context.Context) error {
	return b.db.Update(ctx, func(*database.Tx) error { return nil })
}
