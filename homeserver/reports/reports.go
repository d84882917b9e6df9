// Package reports keeps what users tell the operators about events, rooms and
// other users, until an operator has dealt with it.
package reports

import (
	"context"
	"log/slog"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// The kinds of reports.
const (
	Event = "event"
	Room  = "room"
	User  = "user"
)

const (
	// maxReason is the longest reason, in bytes.
	maxReason = 4096
	// maxOpen is how many reports of one user can wait for an operator, and
	// maxKept how many of all users: the oldest go first.
	maxOpen = 1000
	maxKept = 100_000
	// trimEvery is after how many reports that is looked at.
	trimEvery = 100
)

// Options are what a Service needs.
type Options struct {
	DB       *database.DB
	Store    *storage.Reports
	Users    *storage.Interner
	Rooms    *rooms.Service
	Accounts *accounts.Service
	Now      func() time.Time // nil: the time
	Log      *slog.Logger
}

// A Service is safe for concurrent use.
type Service struct{ Options }

// New makes a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Service{o}
}

// What storage calls these is what operators get.
type (
	// A Report is about an event, a room or a user.
	Report = storage.Report
	// A Query chooses reports.
	Query = storage.ReportQuery
)

// Event reports an event of a room that the reporter is in. M_NOT_FOUND for
// everybody else, and where the reporter may not see the event.
func (s *Service) Event(ctx context.Context, by matrix.UserID, room matrix.RoomID, event matrix.EventID, reason *string, score *int64) error {
	gone := matrix.NotFound("Event %s is not there, or you are not in room %s.", event, room)
	joined, err := s.Rooms.Joined(ctx, room, by)
	if err != nil {
		return err
	}
	if !joined {
		return gone
	}
	e, _, err := s.Rooms.Event(ctx, room, event, by)
	if matrix.Code(err) == "M_NOT_FOUND" {
		return gone
	}
	if err != nil {
		return err
	}
	return s.add(ctx, Report{Kind: Event, Reporter: by, Room: room, Event: event, User: e.Sender, Reason: reason, Score: score})
}

// Room reports a room, whether or not the reporter is in it. M_NOT_FOUND if it
// is not known here.
func (s *Service) Room(ctx context.Context, by matrix.UserID, room matrix.RoomID, reason string) error {
	if _, err := s.Rooms.Info(ctx, room); err != nil {
		return err
	}
	return s.add(ctx, Report{Kind: Room, Reporter: by, Room: room, Reason: &reason})
}

// User reports a user of this server, or one of another who was seen here.
// M_NOT_FOUND for others.
func (s *Service) User(ctx context.Context, by, user matrix.UserID, reason string) error {
	if s.Accounts.Local(user) {
		if _, err := s.Accounts.Account(ctx, user); err != nil {
			return err
		}
	} else {
		known, err := s.Users.Lookup(ctx, []string{string(user)})
		if err != nil {
			return err
		}
		if len(known) == 0 {
			return matrix.NotFound("User %s is not known here.", user)
		}
	}
	return s.add(ctx, Report{Kind: User, Reporter: by, User: user, Reason: &reason})
}

func (s *Service) add(ctx context.Context, r Report) error {
	if r.Reason != nil && len(*r.Reason) > maxReason {
		return matrix.TooLarge("A reason has at most %d bytes.", maxReason)
	}
	var err error
	if r.ID, err = s.Store.NewID(ctx); err != nil {
		return err
	}
	r.ReceivedAt = s.Now().UnixMilli()
	full := false
	err = s.DB.Update(ctx, func(tx *database.Tx) error {
		open, err := s.Store.CountOf(ctx, tx, r.Reporter, maxOpen)
		if full = open >= maxOpen; full || err != nil {
			return err
		}
		if err := s.Store.Insert(ctx, tx, r); err != nil || r.ID%trimEvery != 0 {
			return err
		}
		return s.Store.Trim(ctx, tx, maxKept)
	})
	if err == nil && full {
		err = matrix.LimitExceeded(time.Hour)
	}
	if err == nil {
		s.Log.InfoContext(ctx, "a user has reported something", "kind", r.Kind, "reporter", r.Reporter, "room", r.Room, "event", r.Event, "user", r.User)
	}
	return err
}

// List is a page of reports, and how many there are in all.
func (s *Service) List(ctx context.Context, q Query) ([]Report, int64, error) {
	return s.Store.List(ctx, q)
}

// Find is a report, or M_NOT_FOUND.
func (s *Service) Find(ctx context.Context, kind string, id int64) (*Report, error) {
	r, err := s.Store.Find(ctx, kind, id)
	if err == nil && r == nil {
		err = noReport()
	}
	return r, err
}

// Delete removes a report that an operator has dealt with, or is M_NOT_FOUND.
func (s *Service) Delete(ctx context.Context, kind string, id int64) error {
	found := false
	err := s.DB.Update(ctx, func(tx *database.Tx) (err error) {
		found, err = s.Store.Delete(ctx, tx, kind, id)
		return err
	})
	if err == nil && !found {
		err = noReport()
	}
	return err
}

func noReport() error { return matrix.NotFound("There is no such report.") }
