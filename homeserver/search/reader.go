package search

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	// leastBatch and maxBatch are the bounds of how many events are read for one
	// transaction, and persistEvery is after how many without anything to store
	// the place is noted.
	leastBatch   = 10
	maxBatch     = 200
	persistEvery = 5000
	// pageBytes is how large events are together that are enough at once, however few.
	pageBytes = 4 << 20
	// forgetBatch is how many documents are taken out at once.
	forgetBatch = 500
	// interval is how often the reader looks for new events.
	interval = time.Second
	// patience is how long a request waits for the reader to come up to it.
	patience = 2 * time.Second
)

// Kinds of what is searched: keys of content.
const (
	Body  = "content.body"
	Name  = "content.name"
	Topic = "content.topic"
)

// Keys are all kinds.
var Keys = []string{Body, Name, Topic}

// marks are the kinds as they are stored.
var marks = map[string]string{Body: "body", Name: "name", Topic: "topic"}

// textOf is what of an event is searched, and of which kind that is; empty if
// it is nothing.
func textOf(e *storage.Event) (kind, text string) {
	if e.RedactedBy != 0 {
		return "", ""
	}
	switch {
	case e.Type == "m.room.message" && !e.IsState():
		kind = Body
	case e.Is("m.room.name", ""):
		kind = Name
	case e.Is("m.room.topic", ""):
		kind = Topic
	default:
		return "", ""
	}
	var content struct {
		Body  json.RawMessage `json:"body"`
		Name  json.RawMessage `json:"name"`
		Topic json.RawMessage `json:"topic"`
		Rich  json.RawMessage `json:"m.topic"`
	}
	if json.Unmarshal(e.Content, &content) != nil {
		return "", ""
	}
	switch kind {
	case Body:
		return kind, plain(content.Body)
	case Name:
		return kind, plain(content.Name)
	}
	text = plain(content.Topic)
	if rich := plainTopic(content.Rich); rich != text {
		text += " " + rich
	}
	return kind, text
}

// plain reads a JSON text that somebody else wrote; empty for anything else.
func plain(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}

// plainTopic is the text/plain representation in m.topic (Client-Server API
// § m.room.topic).
func plainTopic(raw json.RawMessage) string {
	var block struct {
		Texts []struct {
			Body json.RawMessage `json:"body"`
			Type *string         `json:"mimetype"`
		} `json:"m.text"`
	}
	if json.Unmarshal(raw, &block) != nil {
		return ""
	}
	for _, t := range block.Texts {
		if t.Type == nil || *t.Type == "text/plain" {
			return plain(t.Body)
		}
	}
	return ""
}

// Run stores the words of new events until ctx ends, a while after they came.
func (s *Service) Run(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		next, behind, err := s.advance(ctx, s.Position())
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "words of events have to be stored again later", "err", err)
		}
		if !behind || err != nil {
			next = interval
		}
		pause.Reset(next)
	}
}

// catchUp brings the reader up to a position, or as far as it comes.
func (s *Service) catchUp(ctx context.Context, position int64) error {
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if _, behind, err := s.advance(ctx, position); !behind || err != nil {
			return err
		}
	}
	return nil
}

// advance takes a batch of events up to a position; behind tells that there may
// be more, and rest how long to leave the machine to others before.
func (s *Service) advance(ctx context.Context, upTo int64) (rest time.Duration, behind bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		if s.cursor, err = s.Store.Search.Progress(ctx); err != nil {
			return 0, false, err
		}
		s.known = true
		s.done.Store(s.cursor)
	}
	if s.cursor >= upTo {
		return 0, false, nil
	}
	began := time.Now()
	batch := s.portion.Size()
	events, more, err := s.Store.Events.Page(ctx, s.cursor, upTo, batch, pageBytes)
	if err != nil {
		return 0, false, err
	}
	end := upTo
	if more {
		end = events[len(events)-1].Position
	}
	documents, gone, err := s.read(ctx, events)
	if err != nil {
		return 0, false, err
	}
	s.unnoted += len(events)
	spent := database.Turn{Took: time.Since(began)}
	if len(documents)+len(gone) > 0 || s.unnoted >= persistEvery {
		turn, err := s.Store.DB.Background(ctx, func(tx *database.Tx) error {
			return s.Store.Search.Advance(ctx, tx, documents, gone, end)
		})
		if err != nil {
			return 0, false, err
		}
		s.portion.Took(len(events), turn.Took)
		s.unnoted = 0
		spent = database.Turn{Took: spent.Took + turn.Took, Shared: turn.Shared}
	}
	s.cursor = end
	s.done.Store(end)
	return spent.Rest(), end < upTo, nil
}

// read is what is stored for events, and the positions of those that are
// redacted by one of them.
func (s *Service) read(ctx context.Context, events []*storage.Event) (documents []storage.Document, gone []int64, err error) {
	for _, e := range events {
		if e.Type == "m.room.redaction" && e.Redacts != "" {
			target, err := s.Store.Events.ByID(ctx, e.Redacts)
			if errors.Is(err, database.ErrNoRows) {
				continue
			}
			if err != nil {
				return nil, nil, err
			}
			if target.RedactedBy != 0 {
				gone = append(gone, target.Position)
			}
			continue
		}
		kind, text := textOf(e)
		if text == "" || s.erased(e.Sender) {
			continue
		}
		sender, err := s.Store.Users.NID(ctx, string(e.Sender))
		if err != nil {
			return nil, nil, err
		}
		d := storage.Document{Position: e.Position, RoomNID: e.RoomNID, SenderNID: sender, Kind: marks[kind]}
		for word := range count(text).counts {
			d.Words = append(d.Words, word)
		}
		if len(d.Words) > 0 {
			documents = append(documents, d)
		}
	}
	return documents, gone, nil
}

// erased reports whether a user wanted to be forgotten.
func (s *Service) erased(user matrix.UserID) bool {
	return s.Rooms.Erased != nil && s.Rooms.Erased(user)
}

// Deactivated takes out what a user has said who wants to be forgotten. Until
// it is out, and if that breaks off, it is not shown either.
func (s *Service) Deactivated(ctx context.Context, user matrix.UserID, erase bool) error {
	if !erase {
		return nil
	}
	known, err := s.Store.Users.Lookup(ctx, []string{string(user)})
	if err != nil || len(known) == 0 {
		return err
	}
	for {
		if more, err := s.forget(ctx, known[string(user)]); !more || err != nil {
			return err
		}
	}
}

// forget takes out a part of what a user has said. The reader rests meanwhile,
// so that nothing comes in behind it.
func (s *Service) forget(ctx context.Context, userNID int64) (more bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	positions, err := s.Store.Search.OfSender(ctx, userNID, forgetBatch)
	if err != nil || len(positions) == 0 {
		return false, err
	}
	err = s.Store.DB.Update(ctx, func(tx *database.Tx) error { return s.Store.Search.Delete(ctx, tx, positions) })
	return len(positions) == forgetBatch, err
}
