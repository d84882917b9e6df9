package pushers

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/mail"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

// Accounts knows the users, their mail addresses and their names.
type Accounts interface {
	Account(ctx context.Context, user matrix.UserID) (*accounts.Account, error)
	ThreePIDs(ctx context.Context, user matrix.UserID) ([]accounts.ThreePID, error)
	Profile(ctx context.Context, user matrix.UserID) (displayName, avatarURL string, err error)
}

// A Mailer sends mails.
type Mailer interface {
	Send(ctx context.Context, m mail.Message) error
}

// Options are what a [Service] works with. Those up to Client are needed.
type Options struct {
	ServerName matrix.ServerName
	Store      *storage.Store
	Pushers    *storage.Pushers
	// Notifications are read here and written elsewhere; see [Service.Wake].
	Notifications *storage.Notifications
	Rooms         *rooms.Service
	Accounts      Accounts
	Client        *http.Client // reaches gateways, and nothing that it should not

	AllowHTTP bool           // gateways need no TLS
	Mailer    Mailer         // nil: no pushers of kind email
	Letter    *mail.Template // instead of that of [MailKinds]
	BaseURL   string         // that links in mails begin with
	Secret    []byte         // signs these links; default random

	Timeout    time.Duration // of a request; default 15 s
	AtOnce     int           // requests under way; default 64
	BackoffMin time.Duration // default 2 s
	BackoffMax time.Duration // default 30 min
	GiveUp     time.Duration // older notifications are not sent; default a day
	MailDelay  time.Duration // something must be unread for so long; default 10 min

	Now func() time.Time
	Log *slog.Logger
}

// A Service keeps pushers and has them work between Start and Close. It is safe
// for concurrent use.
type Service struct {
	options Options
	db      *database.DB
	store   *storage.Pushers
	metrics *metrics
	desk    *desk

	working context.Context // ends when nothing new may begin
	aborted context.Context // ends when requests under way must end as well
	stop    context.CancelFunc
	abort   context.CancelFunc
	running sync.WaitGroup
}

// New makes a Service.
func New(o Options) *Service {
	for _, d := range []struct {
		value *time.Duration
		usual time.Duration
	}{
		{&o.Timeout, 15 * time.Second}, {&o.BackoffMin, 2 * time.Second}, {&o.BackoffMax, 30 * time.Minute},
		{&o.GiveUp, 24 * time.Hour}, {&o.MailDelay, 10 * time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.usual
		}
	}
	if o.AtOnce <= 0 {
		o.AtOnce = 64
	}
	if len(o.Secret) == 0 {
		o.Secret = []byte(rand.Text())
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Letter == nil {
		o.Letter = letterTemplate
	}
	s := &Service{options: o, db: o.Store.DB, store: o.Pushers, metrics: newMetrics()}
	s.aborted, s.abort = context.WithCancel(context.Background())
	s.working, s.stop = context.WithCancel(s.aborted)
	s.desk = newDesk(deskOptions{
		work: s.work, atOnce: o.AtOnce, backoffMin: o.BackoffMin, backoffMax: o.BackoffMax, metrics: s.metrics,
	})
	return s
}

// Start has all pushers look for what they have missed, and then work.
func (s *Service) Start(ctx context.Context) error {
	const page = 1000
	for after := int64(0); ; {
		list, err := s.store.After(ctx, after, page)
		if err != nil {
			return fmt.Errorf("read the pushers: %w", err)
		}
		for i := range list {
			s.desk.add(&list[i], s.placeOf(&list[i]))
			after = list[i].ID
		}
		if len(list) < page {
			break
		}
	}
	s.running.Go(func() { s.desk.run(s.working, s.aborted, s.reload) })
	return nil
}

// Close ends the work. Requests under way may be answered until the context
// ends; then they are broken off, and made again after the next start.
func (s *Service) Close(ctx context.Context) {
	s.stop()
	defer context.AfterFunc(ctx, s.abort)()
	s.running.Wait()
	s.abort()
	if s.options.Client != nil {
		s.options.Client.CloseIdleConnections()
	}
}

// Wake tells that what users have not read has changed: there is a new
// notification, or fewer of them. It does not block.
func (s *Service) Wake(users ...matrix.UserID) { s.desk.inbox.wake(users) }

// reload is the pushers of a user, as they are now, with where each sends to.
func (s *Service) reload(ctx context.Context, user matrix.UserID) (map[int64]string, error) {
	list, err := s.store.OfUser(ctx, s.db.Read(), user)
	if err != nil {
		return nil, err
	}
	places := map[int64]string{}
	for i := range list {
		if place := s.placeOf(&list[i]); place != "" {
			places[list[i].ID] = place
		}
	}
	return places, nil
}

// now is the time in Unix milliseconds.
func (s *Service) now() int64 { return s.options.Now().UnixMilli() }
