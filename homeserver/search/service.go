// Package search finds events by their words. It is a reader of the stream
// like any other, which stores the words of events behind those who write them;
// and it decides which of those that are found a user may see.
package search

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"

	"trestle/homeserver/accounts"
	"trestle/homeserver/relations"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/syncer"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Options are what a Service needs.
type Options struct {
	Store     *storage.Store
	Rooms     *rooms.Service
	Relations *relations.Service
	Sync      *syncer.Service
	// Position is how far the stream is committed.
	Position func() int64
	Log      *slog.Logger
}

// A Service is safe for concurrent use.
type Service struct {
	Options

	mu      sync.Mutex // held while the reader takes a batch
	known   bool
	cursor  int64 // up to which events have been read
	unnoted int   // events that were read since the cursor was stored
	portion *database.Portion
	done    atomic.Int64 // the cursor, for those who only look
}

// New makes a Service.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{Options: o, portion: database.NewPortion(leastBatch, maxBatch)}
}

// Behind is how many positions of the stream the reader has not come to.
func (s *Service) Behind() int64 { return max(0, s.Position()-s.done.Load()) }

// What results can be grouped by.
const (
	ByRoom   = "room_id"
	BySender = "sender"
)

const (
	usualLimit = 10
	maxLimit   = 100
	// maxAround is how many events are shown before or after a result.
	maxAround = 50
	// maxState bounds the state events that come with results.
	maxState = 20_000
	// maxTerm is how much of a search term counts, in bytes.
	maxTerm = 4 << 10
)

// A Request is a search in the category room_events.
type Request struct {
	Reader  rooms.Reader
	Term    string
	Keys    []string // nil: all
	Filter  *accounts.RoomEventFilter
	Recent  bool // the newest first, not the closest
	Context *ContextRequest
	State   bool     // with the state of the rooms
	GroupBy []string // of [ByRoom] and [BySender]
	From    string   // next_batch of an earlier answer
}

// A ContextRequest asks for what was said around each result.
type ContextRequest struct {
	Before, After int
	Profiles      bool
}

// Results is a page of results.
type Results struct {
	Count      int                                 `json:"count"`
	Highlights []string                            `json:"highlights"`
	Results    []Result                            `json:"results"`
	State      map[matrix.RoomID][]json.RawMessage `json:"state,omitempty"`
	Groups     map[string]map[string]*Group        `json:"groups,omitempty"`
	Next       string                              `json:"next_batch,omitempty"`
}

// A Result is one event.
type Result struct {
	Rank    float64         `json:"rank"`
	Result  json.RawMessage `json:"result"`
	Context *syncer.Around  `json:"context,omitempty"`
}

// A Group is the results that have something in common.
type Group struct {
	Order   int              `json:"order"`
	Results []matrix.EventID `json:"results"`
	Next    string           `json:"next_batch,omitempty"`
}

// Search is a page of the events that have all the words of a term and that
// the user may see (Client-Server API § Server Side Search).
func (s *Service) Search(ctx context.Context, req Request) (*Results, error) {
	q := &query{Service: s, ctx: ctx, req: req, filter: *req.Filter, limit: usualLimit, places: map[int64]*place{}}
	if err := q.begin(); err != nil {
		return nil, err
	}
	var highlights []string
	q.words, highlights = terms(cut(req.Term, maxTerm))
	res := &Results{Highlights: highlights, Results: []Result{}}
	if highlights == nil {
		res.Highlights = []string{}
	}
	if len(q.words) == 0 {
		return res, nil
	}
	if err := q.choose(); err != nil || len(q.roomNIDs) == 0 {
		return res, err
	}
	hits, err := q.page()
	if err != nil {
		return nil, err
	}
	res.Count = q.at.Count
	return res, q.fill(res, hits)
}
