package client

import (
	"context"
	"errors"
	"time"

	"trestle/internal/database"
)

var (
	insertTransaction = database.SQL(`
		INSERT INTO transactions (id, received_at)
		VALUES ($1, $2)
		ON CONFLICT (id) DO NOTHING`)
	selectKnown = database.SQL(`
		SELECT event_id
		FROM received
		WHERE event_id = ANY($1)
		ORDER BY event_id
		LIMIT 100000`)
	insertReceived = database.SQL(`
		INSERT INTO received (event_id, seq, room_id, received_at, event)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (event_id) DO NOTHING`)
	selectPending = database.SQL(`
		SELECT seq, event
		FROM received
		WHERE event IS NOT NULL
		AND seq > $1
		ORDER BY seq
		LIMIT 10000`)
	selectRoomPending = database.SQL(`
		SELECT seq, event
		FROM received
		WHERE room_id = $1
		AND event IS NOT NULL
		AND seq > $2
		ORDER BY seq
		LIMIT 200`)
	selectLeftOver = database.SQL(`
		SELECT room_id, max(seq)
		FROM received
		WHERE event IS NOT NULL
		GROUP BY room_id
		ORDER BY room_id
		LIMIT 1000000`)
	updateDone = database.SQL(`
		UPDATE received
		SET event = NULL
		WHERE seq = ANY($1)`)
	deleteTransactions = database.SQL(`
		DELETE FROM transactions
		WHERE received_at < $1`)
	deleteReceived = database.SQL(`
		DELETE FROM received
		WHERE event IS NULL
		AND received_at < $1`)
)

// save writes a transaction and returns those of its events that were not
// known; repeat tells that the transaction was.
func (in *Inbox) save(ctx context.Context, transactionID string, events []*Event, also func(context.Context, *database.Tx) error) (fresh []*Event, repeat bool, err error) {
	var ids []string
	for _, e := range events {
		if !e.idle {
			ids = append(ids, e.ID.String())
		}
	}
	err = in.db.Update(ctx, func(tx *database.Tx) error {
		fresh, repeat = nil, false
		n, err := tx.Exec(ctx, insertTransaction, transactionID, now())
		if err != nil || n == 0 {
			repeat = n == 0
			return err
		}
		if err := also(ctx, tx); err != nil || len(events) == 0 {
			return err
		}
		if len(ids) == 0 {
			fresh = events
			return nil
		}
		known, err := knownEvents(ctx, tx, ids)
		if err != nil {
			return err
		}
		rows := make([][]any, 0, len(ids))
		for _, e := range events {
			name := e.ID.String()
			if known[name] {
				continue
			}
			known[name] = true
			fresh = append(fresh, e)
			if e.idle {
				continue
			}
			rows = append(rows, []any{name, e.Seq, e.RoomID.String(), now(), []byte(e.Raw)})
		}
		return tx.ExecMany(ctx, insertReceived, rows)
	})
	return fresh, repeat, err
}

func knownEvents(ctx context.Context, tx *database.Tx, ids []string) (map[string]bool, error) {
	rows, err := tx.Query(ctx, selectKnown, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	known := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		known[id] = true
	}
	return known, rows.Err()
}

// leftOver lists the rooms with events that were not worked off, and the newest
// such event.
func (in *Inbox) leftOver(ctx context.Context) (rooms []string, newest int64, err error) {
	rows, err := in.db.Read().Query(ctx, selectLeftOver)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var room string
		var seq int64
		if err := rows.Scan(&room, &seq); err != nil {
			return nil, 0, err
		}
		rooms, newest = append(rooms, room), max(newest, seq)
	}
	return rooms, newest, rows.Err()
}

// page reads events of all rooms.
func (in *Inbox) page(ctx context.Context, after int64) ([]*Event, error) {
	return scanEvents(in.db.Read().Query(ctx, selectPending, after))
}

// roomPage reads up to roomQueue events of one room.
func (in *Inbox) roomPage(ctx context.Context, room string, after int64) ([]*Event, error) {
	return scanEvents(in.db.Read().Query(ctx, selectRoomPending, room, after))
}

func scanEvents(rows *database.Rows, err error) ([]*Event, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var page []*Event
	for rows.Next() {
		var seq int64
		var raw []byte
		if err := rows.Scan(&seq, &raw); err != nil {
			return nil, err
		}
		e, err := parseEvent(raw)
		if err != nil {
			return nil, err
		}
		e.Seq = seq
		page = append(page, e)
	}
	return page, rows.Err()
}

func markDone(ctx context.Context, seqs []int64) func(*database.Tx) error {
	return func(tx *database.Tx) error {
		return tx.Queue(ctx, updateDone, seqs)
	}
}

// prune forgets transactions and events so old that no homeserver repeats them.
func (in *Inbox) prune(ctx context.Context) error {
	before := time.Now().Add(-keepIDs).UnixMilli()
	return in.db.Update(ctx, func(tx *database.Tx) error {
		return errors.Join(
			tx.Queue(ctx, deleteTransactions, before),
			tx.Queue(ctx, deleteReceived, before))
	})
}
