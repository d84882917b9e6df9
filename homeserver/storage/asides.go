package storage

import (
	"context"
	"fmt"
	"slices"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

var (
	insertAside = database.SQL(`
		INSERT INTO asides (event_nid, event_id, room_nid, verdict, branch_root, redacted_by, json)
		VALUES ($1, $2, $3, $4, $5, $6, $7)`)
	// A verdict is passed on what was only known by its references before.
	updateAside = database.SQL(`
		UPDATE asides
		SET verdict = $2, branch_root = $3, redacted_by = $4, json = $5
		WHERE event_nid = $1`)
	deleteAside = database.SQL(`
		DELETE FROM asides
		WHERE event_nid = $1`)
	selectAsidesByNID = database.SQL(`
		SELECT event_nid, event_id, room_nid, verdict, branch_root, redacted_by, json
		FROM asides
		WHERE event_nid = ANY($1)
		ORDER BY event_nid`)
	selectAsidesByIDs = database.SQL(`
		SELECT event_nid, event_id, room_nid, verdict, branch_root, redacted_by, json
		FROM asides
		WHERE event_id = ANY($1)
		ORDER BY event_id`)
	insertEarlyRedaction = database.SQL(`
		INSERT INTO early_redactions (target_id, redaction_nid, room_nid)
		VALUES ($1, $2, $3)
		ON CONFLICT (target_id, redaction_nid) DO NOTHING`)
	deleteEarlyRedactions = database.SQL(`
		DELETE FROM early_redactions
		WHERE target_id = $1`)
	selectEarlyRedactions = database.SQL(`
		SELECT target_id, redaction_nid
		FROM early_redactions
		WHERE room_nid = $1 AND target_id = ANY($2)
		ORDER BY redaction_nid`)
	updateFirstRoot = database.SQL(`
		UPDATE rooms
		SET first_root = $2
		WHERE room_nid = $1`)
	selectFirstRoot = database.SQL(`
		SELECT first_root
		FROM rooms
		WHERE room_nid = $1`)
	insertFrontier = database.SQL(`
		INSERT INTO room_frontiers (room_nid, event_id)
		VALUES ($1, $2)
		ON CONFLICT (room_nid, event_id) DO NOTHING`)
	deleteFrontier = database.SQL(`
		DELETE FROM room_frontiers
		WHERE room_nid = $1 AND event_id = $2`)
	selectFrontier = database.SQL(`
		SELECT event_id
		FROM room_frontiers
		WHERE room_nid = $1
		ORDER BY event_id
		LIMIT $2`)
)

// SetAside stores an event that is in no stream, or what is new about one.
func (s *Events) SetAside(ctx context.Context, tx *database.Tx, e *Event, known bool) error {
	if known {
		return tx.Queue(ctx, updateAside, e.NID, int64(e.Verdict), e.Branch, e.RedactedBy, e.JSON())
	}
	return tx.Queue(ctx, insertAside, e.NID, string(e.ID), e.RoomNID, int64(e.Verdict), e.Branch, e.RedactedBy, e.JSON())
}

// TakeBack removes an event from those that are in no stream: it is about to be put into it.
func (s *Events) TakeBack(ctx context.Context, tx *database.Tx, nid int64) error {
	return tx.Queue(ctx, deleteAside, nid)
}

// CacheAside keeps an event that is in no stream and was just committed.
func (s *Events) CacheAside(e *Event) { s.keep(e) }

// Known is those of the events that are known, in the stream or beside it.
func (s *Events) Known(ctx context.Context, ids []matrix.EventID) (map[matrix.EventID]*Event, error) {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	found, err := s.ByIDs(ctx, names)
	if err != nil || len(found) == len(ids) {
		return found, err
	}
	names = slices.DeleteFunc(names, func(id string) bool { return found[matrix.EventID(id)] != nil })
	for chunk := range slices.Chunk(names, atOnce) {
		events, err := s.queryAsides(ctx, selectAsidesByIDs, chunk)
		if err != nil {
			return nil, err
		}
		for _, e := range events {
			found[e.ID] = e
		}
	}
	return found, nil
}

// addAsides adds those of the events that are in no stream.
func (s *Events) addAsides(ctx context.Context, found map[int64]*Event, nids []int64) error {
	nids = slices.DeleteFunc(slices.Clone(nids), func(nid int64) bool { return found[nid] != nil })
	for chunk := range slices.Chunk(nids, atOnce) {
		events, err := s.queryAsides(ctx, selectAsidesByNID, chunk)
		if err != nil {
			return err
		}
		for _, e := range events {
			found[e.NID] = e
		}
	}
	return nil
}

func (s *Events) queryAsides(ctx context.Context, stmt *database.Statement, args ...any) ([]*Event, error) {
	list, err := s.fetchAsides(ctx, stmt, args)
	if err != nil {
		return nil, err
	}
	if err := s.learn(ctx, list); err != nil {
		return nil, err
	}
	events := make([]*Event, len(list))
	for i := range list {
		row := &list[i]
		info, err := s.rooms.InfoOf(ctx, row.RoomNID)
		if err != nil {
			return nil, err
		}
		e := row.Event
		if e.Event, err = matrix.LoadEvent(info.Version, matrix.EventID(row.id), row.raw); err != nil {
			return nil, fmt.Errorf("stored event %s: %w", row.id, err)
		}
		events[i] = s.keep(&e)
	}
	return events, nil
}

func (s *Events) fetchAsides(ctx context.Context, stmt *database.Statement, args []any) (list []eventRow, err error) {
	rows, err := s.db.Read().Query(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var row eventRow
		var verdict int64
		if err := rows.Scan(&row.NID, &row.id, &row.RoomNID, &verdict, &row.Branch, &row.RedactedBy, &row.raw); err != nil {
			return nil, err
		}
		row.Verdict = Verdict(verdict)
		list = append(list, row)
	}
	return list, rows.Err()
}

// RedactEarly notes a redaction of an event that has not come yet.
func (s *Events) RedactEarly(ctx context.Context, tx *database.Tx, target matrix.EventID, redaction *Event) error {
	return tx.Queue(ctx, insertEarlyRedaction, string(target), redaction.NID, redaction.RoomNID)
}

// ForgetEarly drops the redactions of an event, which has come.
func (s *Events) ForgetEarly(ctx context.Context, tx *database.Tx, target matrix.EventID) error {
	return tx.Queue(ctx, deleteEarlyRedactions, string(target))
}

// EarlyRedactions is the numbers of the redactions that came before what they redact.
func (s *Events) EarlyRedactions(ctx context.Context, roomNID int64, targets []matrix.EventID) (map[matrix.EventID][]int64, error) {
	names := make([]string, len(targets))
	for i, id := range targets {
		names[i] = string(id)
	}
	rows, err := s.db.Read().Query(ctx, selectEarlyRedactions, roomNID, names)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[matrix.EventID][]int64{}
	for rows.Next() {
		var target string
		var nid int64
		if err := rows.Scan(&target, &nid); err != nil {
			return nil, err
		}
		found[matrix.EventID(target)] = append(found[matrix.EventID(target)], nid)
	}
	return found, rows.Err()
}

// Begin notes the state before the first event of a room that is in the stream.
func (r *Rooms) Begin(ctx context.Context, tx *database.Tx, roomNID, root int64) error {
	return tx.Queue(ctx, updateFirstRoot, roomNID, root)
}

// FirstRoot is the state before the first event of a room that is in the stream, 0 if it is none.
func (r *Rooms) FirstRoot(ctx context.Context, roomNID int64) (root int64, err error) {
	err = r.db.Read().QueryRow(ctx, selectFirstRoot, roomNID).Scan(&root)
	return root, err
}

// MoveFrontier notes where a room's history goes on elsewhere, and where it does not any more.
func (r *Rooms) MoveFrontier(ctx context.Context, tx *database.Tx, roomNID int64, missing, reached []matrix.EventID) error {
	for _, id := range reached {
		if err := tx.Queue(ctx, deleteFrontier, roomNID, string(id)); err != nil {
			return err
		}
	}
	for _, id := range missing {
		if err := tx.Queue(ctx, insertFrontier, roomNID, string(id)); err != nil {
			return err
		}
	}
	return nil
}

// Frontier is up to limit events from which a room's history goes on elsewhere.
func (r *Rooms) Frontier(ctx context.Context, roomNID int64, limit int) ([]matrix.EventID, error) {
	rows, err := r.db.Read().Query(ctx, selectFrontier, roomNID, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []matrix.EventID
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		list = append(list, matrix.EventID(id))
	}
	return list, rows.Err()
}
