package storage

import (
	"context"

	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Relations holds how events relate to others of their room. Redacted events
// relate to nothing any more.
type Relations struct {
	db *database.DB
}

// A Child is an event that relates to another one.
type Child struct {
	NID      int64
	Parent   matrix.EventID
	Type     string
	Ordering int64
}

// A Tally is the children of one parent that have one relation type.
type Tally struct {
	Parent matrix.EventID
	Type   string
	Count  int64
	Mine   bool // one of them is the reader's
}

// A ChildQuery chooses children of events of a room.
type ChildQuery struct {
	RoomNID  int64
	Parents  []matrix.EventID
	RelType  string // empty: any
	TypeNID  int64  // 0: any event type
	From, To int64  // orderings; both ends as [Events.Backward] and [Events.Forward] have them
	Without  []int64
	Limit    int
}

var (
	insertRelation = database.SQL(`
		INSERT INTO event_relations (event_nid, room_nid, parent_id, rel_type, type_nid, sender_nid, ordering, origin_server_ts, edit, annotation)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`)
	deleteRelation = database.SQL(`
		DELETE FROM event_relations
		WHERE event_nid = $1`)
	selectTallies = database.SQL(`
		SELECT parent_id, rel_type, COUNT(*), MAX(CASE WHEN sender_nid = $3 THEN 1 ELSE 0 END)
		FROM event_relations
		WHERE parent_id = ANY($1) AND room_nid = $2 AND NOT sender_nid = ANY($4)
			AND rel_type IN ('m.thread', 'm.replace', 'm.reference')
		GROUP BY parent_id, rel_type
		ORDER BY parent_id, rel_type
		LIMIT 10000`)
	selectWithChildren = database.SQL(`
		SELECT DISTINCT parent_id
		FROM event_relations
		WHERE parent_id = ANY($1) AND rel_type IN ('m.thread', 'm.replace', 'm.reference')
		ORDER BY parent_id
		LIMIT 100000`)
	selectNewestChildren = database.SQL(`
		SELECT event_nid, parent_id, rel_type, ordering
		FROM (
			SELECT event_nid, parent_id, rel_type, ordering,
				ROW_NUMBER() OVER (PARTITION BY parent_id ORDER BY ordering DESC) AS place
			FROM event_relations
			WHERE parent_id = ANY($1) AND room_nid = $2 AND rel_type = $3 AND NOT sender_nid = ANY($4)
		) newest
		WHERE place <= $5
		ORDER BY parent_id, ordering DESC
		LIMIT 10000`)
	selectNewestEdits = database.SQL(`
		SELECT event_nid, parent_id, rel_type, ordering
		FROM (
			SELECT r.event_nid, r.parent_id, r.rel_type, r.ordering,
				ROW_NUMBER() OVER (PARTITION BY r.parent_id ORDER BY r.origin_server_ts DESC, e.event_id DESC) AS place
			FROM event_relations r
			JOIN events e ON e.event_nid = r.event_nid
			JOIN events p ON p.event_id = r.parent_id
			WHERE r.parent_id = ANY($1) AND r.room_nid = $2 AND r.rel_type = 'm.replace' AND r.edit
				AND p.sender_nid = r.sender_nid AND p.type_nid = r.type_nid AND p.state_key IS NULL
		) newest
		WHERE place <= $3
		ORDER BY parent_id, place
		LIMIT 10000`)
	selectChildrenBackward = database.SQL(`
		SELECT event_nid
		FROM event_relations
		WHERE parent_id = ANY($1) AND room_nid = $2 AND ordering <= $3 AND ordering > $4
			AND ($5 = '' OR rel_type = $5) AND ($6::BIGINT = 0 OR type_nid = $6) AND NOT sender_nid = ANY($7)
		ORDER BY ordering DESC
		LIMIT $8`)
	selectChildrenForward = database.SQL(`
		SELECT event_nid
		FROM event_relations
		WHERE parent_id = ANY($1) AND room_nid = $2 AND ordering > $3 AND ordering <= $4
			AND ($5 = '' OR rel_type = $5) AND ($6::BIGINT = 0 OR type_nid = $6) AND NOT sender_nid = ANY($7)
		ORDER BY ordering
		LIMIT $8`)
	selectChildParents = database.SQL(`
		SELECT e.event_id
		FROM event_relations r
		JOIN events e ON e.event_nid = r.event_nid
		WHERE r.parent_id = ANY($1) AND r.room_nid = $2
			AND ($3 = '' OR r.rel_type = $3) AND ($4::BIGINT = 0 OR r.type_nid = $4) AND NOT r.sender_nid = ANY($5)
			AND EXISTS (SELECT 1 FROM event_relations c WHERE c.parent_id = e.event_id AND c.room_nid = r.room_nid)
		ORDER BY r.ordering DESC
		LIMIT $6`)
	selectThreads = database.SQL(`
		SELECT p.event_nid, MAX(r.ordering)
		FROM event_relations r
		JOIN events p ON p.event_id = r.parent_id AND p.room_nid = r.room_nid
		WHERE r.room_nid = $1 AND r.rel_type = 'm.thread' AND NOT r.sender_nid = ANY($2)
		GROUP BY p.event_nid, p.sender_nid
		HAVING MAX(r.ordering) <= $3
			AND ($4::BIGINT = 0 OR p.sender_nid = $4 OR MAX(CASE WHEN r.sender_nid = $4 THEN 1 ELSE 0 END) = 1)
		ORDER BY MAX(r.ordering) DESC
		LIMIT $5`)
	selectRelatedBy = database.SQL(`
		SELECT DISTINCT parent_id
		FROM event_relations
		WHERE parent_id = ANY($1) AND room_nid = $2
			AND ($3 OR rel_type = ANY($4)) AND ($5 OR sender_nid = ANY($6))
		ORDER BY parent_id
		LIMIT 10000`)
	selectAnnotation = database.SQL(`
		SELECT event_nid
		FROM event_relations
		WHERE parent_id = $1 AND room_nid = $2 AND rel_type = 'm.annotation' AND type_nid = $3 AND sender_nid = $4 AND annotation = $5
		ORDER BY event_nid
		LIMIT 1`)
)

// Insert stores that an event relates to another one.
func (s *Relations) Insert(ctx context.Context, tx *database.Tx, e *Event, r *matrix.Relation, typeNID, senderNID int64) error {
	return tx.Queue(ctx, insertRelation, e.NID, e.RoomNID, string(r.Parent), r.Type, typeNID, senderNID, e.Ordering,
		e.OriginServerTS, r.Edit, optional(r.Key))
}

// Delete takes out a redacted event.
func (s *Relations) Delete(ctx context.Context, tx *database.Tx, nid int64) error {
	return tx.Queue(ctx, deleteRelation, nid)
}

// Tallies counts the children of events of a room that are aggregated, without
// those of some senders.
func (s *Relations) Tallies(ctx context.Context, roomNID int64, parents []matrix.EventID, reader int64, without []int64) ([]Tally, error) {
	rows, err := s.db.Read().Query(ctx, selectTallies, texts(parents), roomNID, reader, without)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Tally
	for rows.Next() {
		var t Tally
		var mine int64
		if err := rows.Scan(&t.Parent, &t.Type, &t.Count, &mine); err != nil {
			return nil, err
		}
		t.Mine = mine == 1
		list = append(list, t)
	}
	return list, rows.Err()
}

// WithChildren is those events, of any rooms, that may have children which are aggregated.
func (s *Relations) WithChildren(ctx context.Context, events []matrix.EventID) (map[matrix.EventID]bool, error) {
	rows, err := s.db.Read().Query(ctx, selectWithChildren, texts(events))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[matrix.EventID]bool{}
	for rows.Next() {
		var id matrix.EventID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		found[id] = true
	}
	return found, rows.Err()
}

// Newest is up to most children of each parent, newest first.
func (s *Relations) Newest(ctx context.Context, roomNID int64, parents []matrix.EventID, relType string, without []int64, most int) ([]Child, error) {
	rows, err := s.db.Read().Query(ctx, selectNewestChildren, texts(parents), roomNID, relType, without, most)
	if err != nil {
		return nil, err
	}
	return scanChildren(rows)
}

// Edits is up to most edits of each parent by its own sender, of its type, the
// most recent first (Client-Server API § Validity of replacement events).
func (s *Relations) Edits(ctx context.Context, roomNID int64, parents []matrix.EventID, most int) ([]Child, error) {
	rows, err := s.db.Read().Query(ctx, selectNewestEdits, texts(parents), roomNID, most)
	if err != nil {
		return nil, err
	}
	return scanChildren(rows)
}

func scanChildren(rows *database.Rows) ([]Child, error) {
	defer rows.Close()
	var list []Child
	for rows.Next() {
		var c Child
		if err := rows.Scan(&c.NID, &c.Parent, &c.Type, &c.Ordering); err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// Backward is the numbers of children in (q.To, q.From], newest first.
func (s *Relations) Backward(ctx context.Context, q ChildQuery) ([]int64, error) {
	return s.children(ctx, selectChildrenBackward, q)
}

// Forward is the numbers of children in (q.From, q.To], oldest first.
func (s *Relations) Forward(ctx context.Context, q ChildQuery) ([]int64, error) {
	return s.children(ctx, selectChildrenForward, q)
}

func (s *Relations) children(ctx context.Context, stmt *database.Statement, q ChildQuery) ([]int64, error) {
	rows, err := s.db.Read().Query(ctx, stmt, texts(q.Parents), q.RoomNID, q.From, q.To, q.RelType, q.TypeNID, q.Without, q.Limit)
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

// Parents is those of the chosen children that are parents themselves.
func (s *Relations) Parents(ctx context.Context, q ChildQuery) ([]matrix.EventID, error) {
	rows, err := s.db.Read().Query(ctx, selectChildParents, texts(q.Parents), q.RoomNID, q.RelType, q.TypeNID, q.Without, q.Limit)
	if err != nil {
		return nil, err
	}
	return scanEventIDs(rows)
}

func scanEventIDs(rows *database.Rows) ([]matrix.EventID, error) {
	defer rows.Close()
	var ids []matrix.EventID
	for rows.Next() {
		var id matrix.EventID
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// A Thread is the root of a thread and the ordering of the newest event in it.
type Thread struct {
	Root   int64
	Latest int64
}

// Threads is up to limit threads of a room whose newest events are at or before
// an ordering, newest first; participant, unless 0, is in each of them.
func (s *Relations) Threads(ctx context.Context, roomNID int64, without []int64, upTo, participant int64, limit int) ([]Thread, error) {
	rows, err := s.db.Read().Query(ctx, selectThreads, roomNID, without, upTo, participant, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Thread
	for rows.Next() {
		var t Thread
		if err := rows.Scan(&t.Root, &t.Latest); err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

// RelatedBy is those events to which others relate by one of the relation types
// and from one of the senders; nil stands for any.
func (s *Relations) RelatedBy(ctx context.Context, roomNID int64, events []matrix.EventID, relTypes []string, senders []int64) ([]matrix.EventID, error) {
	rows, err := s.db.Read().Query(ctx, selectRelatedBy, texts(events), roomNID, relTypes == nil, relTypes, senders == nil, senders)
	if err != nil {
		return nil, err
	}
	return scanEventIDs(rows)
}

// Annotated reports whether a sender has put that annotation on an event.
func (s *Relations) Annotated(ctx context.Context, roomNID int64, r *matrix.Relation, typeNID, senderNID int64) (bool, error) {
	rows, err := s.db.Read().Query(ctx, selectAnnotation, string(r.Parent), roomNID, typeNID, senderNID, r.Key)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	found := rows.Next()
	return found, rows.Err()
}

func texts[T ~string](list []T) []string {
	plain := make([]string, len(list))
	for i, s := range list {
		plain[i] = string(s)
	}
	return plain
}
