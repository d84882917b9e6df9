package storage

import (
	"context"
	"errors"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Threads holds which threads users follow (MSC4306).
type Threads struct{ db *database.DB }

// A Subscription is whether a user follows a thread.
type Subscription struct {
	UserNID      int64
	RootNID      int64
	RoomNID      int64
	Subscribed   bool
	Automatic    bool
	Unsubscribed int64 // position of the last time that the user stopped to; 0: never
	Position     int64 // of the last change
	// Of those that are listed.
	Room matrix.RoomID
	Root matrix.EventID
}

var (
	upsertSubscription = database.SQL(`
		INSERT INTO thread_subscriptions (user_nid, root_nid, room_nid, subscribed, automatic, unsubscribed, position)
		VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (user_nid, root_nid) DO UPDATE
		SET subscribed = excluded.subscribed, automatic = excluded.automatic, unsubscribed = excluded.unsubscribed,
			position = excluded.position`)
	selectSubscription = database.SQL(`
		SELECT user_nid, root_nid, room_nid, subscribed, automatic, unsubscribed, position
		FROM thread_subscriptions
		WHERE user_nid = $1 AND root_nid = $2`)
	selectSubscribers = database.SQL(`
		SELECT user_nid
		FROM thread_subscriptions
		WHERE root_nid = $1 AND subscribed
		ORDER BY user_nid
		LIMIT 100000`)
	selectSubscriptions = database.SQL(`
		SELECT t.user_nid, t.root_nid, t.room_nid, t.subscribed, t.automatic, t.unsubscribed, t.position, r.room_id, e.event_id
		FROM thread_subscriptions t
		JOIN rooms r ON r.room_nid = t.room_nid
		JOIN events e ON e.event_nid = t.root_nid
		JOIN memberships m ON m.user_nid = t.user_nid AND m.room_nid = t.room_nid AND m.membership = 'join'
		WHERE t.user_nid = $1 AND t.position > $2 AND t.position <= $3
		ORDER BY t.position DESC
		LIMIT $4`)
	deleteSubscriptionsOfUser = database.SQL(`
		DELETE FROM thread_subscriptions
		WHERE user_nid = $1`)
)

// NewThreads prepares the subject.
func NewThreads(db *database.DB) *Threads { return &Threads{db} }

// Set stores whether a user follows a thread.
func (s *Threads) Set(ctx context.Context, tx *database.Tx, t Subscription) error {
	return tx.Queue(ctx, upsertSubscription, t.UserNID, t.RootNID, t.RoomNID, t.Subscribed, t.Automatic, t.Unsubscribed, t.Position)
}

// Find is what is known of a user and a thread, or nil.
func (s *Threads) Find(ctx context.Context, from database.Querier, userNID, rootNID int64) (*Subscription, error) {
	var t Subscription
	err := from.QueryRow(ctx, selectSubscription, userNID, rootNID).Scan(
		&t.UserNID, &t.RootNID, &t.RoomNID, &t.Subscribed, &t.Automatic, &t.Unsubscribed, &t.Position)
	if errors.Is(err, database.ErrNoRows) {
		return nil, nil
	}
	return &t, err
}

// Subscribers is the numbers of the users who follow a thread.
func (s *Threads) Subscribers(ctx context.Context, rootNID int64) ([]int64, error) {
	rows, err := s.db.Read().Query(ctx, selectSubscribers, rootNID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var nids []int64
	for rows.Next() {
		var nid int64
		if err := rows.Scan(&nid); err != nil {
			return nil, err
		}
		nids = append(nids, nid)
	}
	return nids, rows.Err()
}

// Changes is up to limit threads of rooms that a user is in whose subscriptions
// have changed in (after, upTo], the last change first.
func (s *Threads) Changes(ctx context.Context, userNID, after, upTo int64, limit int) ([]Subscription, error) {
	rows, err := s.db.Read().Query(ctx, selectSubscriptions, userNID, after, upTo, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Subscription
	for rows.Next() {
		var t Subscription
		if err := rows.Scan(&t.UserNID, &t.RootNID, &t.RoomNID, &t.Subscribed, &t.Automatic, &t.Unsubscribed, &t.Position, &t.Room, &t.Root); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// DeleteUser deletes everything about a user.
func (s *Threads) DeleteUser(ctx context.Context, tx *database.Tx, userNID int64) error {
	return tx.Queue(ctx, deleteSubscriptionsOfUser, userNID)
}
