package storage

import (
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	"trestle/internal/database"
)

// Search holds the words by which events are found. The words are cut and
// folded by whoever calls it; here they are opaque, and have only letters,
// digits and marks.
type Search struct {
	db *database.DB
}

// A Document is an event as it is found.
type Document struct {
	Position  int64
	RoomNID   int64
	SenderNID int64
	Kind      string
	Words     []string
}

// A WordQuery chooses documents that have all words.
type WordQuery struct {
	Words   []string
	Kinds   []string // any of them; nil: all
	Senders []int64  // any of them; nil: all
	Rooms   []int64  // any of them
	UpTo    int64    // position
	Limit   int
}

// The marks of rooms, senders and kinds begin with letters that no word has.
const roomMark, senderMark, kindMark = "¶", "§", "¤"

// maxRoomMarks bounds the rooms in one expression.
const maxRoomMarks = 500

var (
	selectSearchProgress = database.SQL(`
		SELECT position
		FROM search_progress
		WHERE id = 1`)
	updateSearchProgress = database.SQL(`
		UPDATE search_progress
		SET position = $1
		WHERE id = 1`)
	selectPositionsThatAre = database.SQL(`
		SELECT position
		FROM events
		WHERE position = ANY($1)
		ORDER BY position`)
	// With VALUES it is one row for sure: SQLite would have FTS5 write its index out
	// before each statement that may have to be undone in part.
	insertSearchWords = database.SQL(`
		INSERT INTO search_words (position, words)
		VALUES ($1, $2::TEXT::TSVECTOR)
		ON CONFLICT (position) DO NOTHING`).OnSQLite(`
		INSERT OR REPLACE INTO search_words (rowid, words)
		VALUES ($1, $2)`)
	deleteSearchWords = database.SQL(`
		DELETE FROM search_words
		WHERE position = ANY($1)`).OnSQLite(`
		DELETE FROM search_words
		WHERE rowid IN (SELECT value FROM json_each($1))`)
	deleteSearchWordsOfEvents = database.SQL(`
		DELETE FROM search_words
		WHERE position IN (SELECT position FROM events WHERE event_nid = ANY($1))`).OnSQLite(`
		DELETE FROM search_words
		WHERE rowid IN (SELECT position FROM events WHERE event_nid IN (SELECT value FROM json_each($1)))`)
	// PostgreSQL would otherwise rather read all words from the newest on, if it
	// takes them for frequent.
	selectSearchWords = database.SQL(`
		WITH found AS MATERIALIZED (
			SELECT position
			FROM search_words
			WHERE words @@ $1::TEXT::TSQUERY
		)
		SELECT position
		FROM found
		WHERE position <= $2
		ORDER BY position DESC
		LIMIT $3`).OnSQLite(`
		SELECT rowid
		FROM search_words
		WHERE search_words MATCH $1 AND rowid <= $2
		ORDER BY rowid DESC
		LIMIT $3`)
)

// Progress is the position up to which events have been read.
func (s *Search) Progress(ctx context.Context) (position int64, err error) {
	err = s.db.Read().QueryRow(ctx, selectSearchProgress).Scan(&position)
	return position, err
}

// Advance stores documents, removes those at some positions, and notes how far
// events have been read.
func (s *Search) Advance(ctx context.Context, tx *database.Tx, documents []Document, gone []int64, position int64) error {
	there, err := s.positionsOf(ctx, tx, documents)
	if err != nil {
		return err
	}
	for _, d := range documents {
		if !there[d.Position] {
			continue // deleted since it was read
		}
		if err := tx.Queue(ctx, insertSearchWords, d.Position, d.vector()); err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		if err := s.Delete(ctx, tx, gone); err != nil {
			return err
		}
	}
	return tx.Queue(ctx, updateSearchProgress, position)
}

// positionsOf is the positions of documents whose events are stored.
func (s *Search) positionsOf(ctx context.Context, tx *database.Tx, documents []Document) (map[int64]bool, error) {
	positions := make([]int64, len(documents))
	for i, d := range documents {
		positions[i] = d.Position
	}
	rows, err := tx.Query(ctx, selectPositionsThatAre, positions)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	there := make(map[int64]bool, len(positions))
	for rows.Next() {
		var position int64
		if err := rows.Scan(&position); err != nil {
			return nil, err
		}
		there[position] = true
	}
	return there, rows.Err()
}

// vector is the text in which both engines find the words: PostgreSQL reads it
// as a tsvector, and SQLite takes the quotes for gaps.
func (d *Document) vector() string {
	var b strings.Builder
	for _, word := range append([]string{
		roomMark + strconv.FormatInt(d.RoomNID, 10), senderMark + strconv.FormatInt(d.SenderNID, 10), kindMark + d.Kind,
	}, d.Words...) {
		b.WriteString("'" + word + "' ")
	}
	return b.String()
}

// Find is the positions of the newest documents, newest first.
func (s *Search) Find(ctx context.Context, q WordQuery) ([]int64, error) {
	var found []int64
	for rooms := range slices.Chunk(q.Rooms, maxRoomMarks) {
		more, err := s.find(ctx, s.expression(q, rooms), q.UpTo, q.Limit)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	if len(q.Rooms) > maxRoomMarks {
		slices.SortFunc(found, func(a, b int64) int { return int(b - a) })
	}
	return found[:min(len(found), q.Limit)], nil
}

// OfSender is positions of documents of a sender, the newest first.
func (s *Search) OfSender(ctx context.Context, senderNID int64, limit int) ([]int64, error) {
	return s.find(ctx, s.expression(WordQuery{Senders: []int64{senderNID}}, nil), math.MaxInt64, limit)
}

// Delete removes the documents at some positions.
func (s *Search) Delete(ctx context.Context, tx *database.Tx, positions []int64) error {
	return tx.Queue(ctx, deleteSearchWords, positions)
}

func (s *Search) find(ctx context.Context, expression string, upTo int64, limit int) ([]int64, error) {
	rows, err := s.db.Read().Query(ctx, selectSearchWords, expression, upTo, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var positions []int64
	for rows.Next() {
		var position int64
		if err := rows.Scan(&position); err != nil {
			return nil, err
		}
		positions = append(positions, position)
	}
	return positions, rows.Err()
}

// expression is the query in the engine's own language. All that comes from
// outside is quoted, and has no quotes in it.
func (s *Search) expression(q WordQuery, rooms []int64) string {
	and, or, quote := " & ", " | ", "'"
	if s.db.Engine() == database.SQLite {
		and, or, quote = " AND ", " OR ", `"`
	}
	var parts []string
	for _, word := range q.Words {
		parts = append(parts, quote+word+quote)
	}
	anyOf := func(marks []string) {
		if len(marks) > 0 {
			parts = append(parts, "("+quote+strings.Join(marks, quote+or+quote)+quote+")")
		}
	}
	var kinds []string
	for _, kind := range q.Kinds {
		kinds = append(kinds, kindMark+kind)
	}
	anyOf(kinds)
	anyOf(numbered(senderMark, q.Senders))
	anyOf(numbered(roomMark, rooms))
	return strings.Join(parts, and)
}

func numbered(mark string, nids []int64) []string {
	marks := make([]string, len(nids))
	for i, nid := range nids {
		marks[i] = mark + strconv.FormatInt(nid, 10)
	}
	return marks
}
