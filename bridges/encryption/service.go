package encryption

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/bridges/vault"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

const (
	maxLoaded  = 200         // devices in memory
	maxMissing = 10000       // keys that are remembered to have been missing, and people whose were
	tryAgain   = time.Second // after the database or the homeserver failed
)

// Options make a [Service].
type Options struct {
	Client   *client.Client
	DB       *database.DB  // with the bridges' schema
	Vault    *vault.Vault  // seals the key to all secrets
	Name     string        // of the devices, as people see it
	Patience time.Duration // for a key that is missing, before it is asked for, and again after that; 5 s
	Logger   *slog.Logger
}

// A Service takes part in encrypted rooms.
type Service struct {
	client   *client.Client
	db       *database.DB
	ids      *database.IDs
	name     string
	patience time.Duration
	log      *slog.Logger
	key      []byte

	others *directory
	reader *crypto.OlmMachine // opens events; it is nobody's device
	wake   chan struct{}      // capacity 1: there is something to work off

	missing   *lru.Cache[id.UserID, time.Time] // until when nobody waits for a key of theirs
	requested *lru.Cache[recordKey, bool]      // keys that we have asked for
	unwedged  *lru.Cache[string, time.Time]

	started chan struct{} // closed when failed is set
	failed  error

	unsigned sync.Once // said that the homeserver lets us sign no device

	// removes a message that has been worked off; a test lets it fail
	remove func(context.Context, *database.Tx, int64) error

	mu      sync.Mutex
	devices map[matrix.UserID]*device
	owned   map[matrix.UserID]matrix.DeviceID
	memory  []*device             // those that are loaded, the newest last
	short   map[matrix.UserID]int // devices that may need more keys, and how many they have
	arrived chan struct{}         // closed and made anew when keys have come
	// keptSeq is the newest message to a device that has come since the start, workedSeq the
	// newest that was worked off; began: what was there at the start is, too.
	keptSeq, workedSeq int64
	began              bool
}

// New reads which devices there are. It fails if their keys cannot be read.
func New(ctx context.Context, o Options) (*Service, error) {
	s := &Service{
		client: o.Client, db: o.DB, ids: o.DB.NewIDs("encryption"), name: o.Name, patience: o.Patience, log: o.Logger,
		others: newDirectory(), wake: make(chan struct{}, 1), started: make(chan struct{}),
		missing: lru.New[id.UserID, time.Time](maxMissing, nil), requested: lru.New[recordKey, bool](maxMissing, nil),
		unwedged: lru.New[string, time.Time](maxMissing, nil),
		devices:  map[matrix.UserID]*device{}, short: map[matrix.UserID]int{}, arrived: make(chan struct{}),
	}
	s.remove = func(ctx context.Context, tx *database.Tx, seq int64) error { return tx.Queue(ctx, deleteMessage, seq) }
	if s.patience == 0 {
		s.patience = 5 * time.Second
	}
	var err error
	if s.key, err = loadKey(ctx, o.DB, o.Vault); err != nil {
		return nil, fmt.Errorf("open the key to the bridge's devices: %w", err)
	}
	if s.owned, err = loadDevices(ctx, o.DB); err != nil {
		return nil, fmt.Errorf("read the bridge's devices: %w", err)
	}
	s.reader = newMachine(o.Client.Bot().Device("", func(context.Context) error { return nil }), newStore(s, ""))
	if err := s.reader.Load(ctx); err != nil {
		return nil, err
	}
	s.reader.GetAccount().Keys()
	return s, nil
}

// Run makes the bot's device, and works off what comes for devices until ctx ends.
func (s *Service) Run(ctx context.Context) {
	bot := s.client.Bot()
	err := client.Retry(ctx, s.noteFailing, func(ctx context.Context) error {
		if err := bot.EnsureRegistered(ctx); err != nil {
			return err
		}
		return s.device(bot.ID).do(ctx, func(context.Context, *crypto.OlmMachine) error { return nil }, nil)
	})
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		s.failed = fmt.Errorf("the homeserver lets the bridge have no device: %w", err)
		s.log.Error("the bridge cannot take part in encrypted rooms", "err", err)
	}
	close(s.started)
	if err == nil {
		s.work(ctx)
	}
}

func (s *Service) noteFailing(err error, failures int) {
	if failures&(failures-1) == 0 {
		s.log.Warn("the homeserver did not take a request; trying again", "doing", "make the bridge's device", "failures", failures, "err", err)
	}
}

// Working waits until it is known whether the bridge can take part at all, and says why not.
func (s *Service) Working(ctx context.Context) error {
	select {
	case <-s.started:
		return s.failed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ready sees to it that people can encrypt for a user of ours, who exists.
func (s *Service) Ready(ctx context.Context, user matrix.UserID) error {
	if err := s.Working(ctx); err != nil {
		return err
	}
	return s.device(user).do(ctx, func(context.Context, *crypto.OlmMachine) error { return nil }, nil)
}

func (s *Service) device(user matrix.UserID) *device {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[user]
	if d == nil {
		d = &device{service: s, user: user}
		s.devices[user] = d
	}
	return d
}

// own notes that a device is ours.
func (s *Service) own(user matrix.UserID, device matrix.DeviceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned[user] = device
}

// forget gives a device up; its user stays who it is.
func (s *Service) forget(ctx context.Context, d *device) error {
	d.unload()
	d.counted = false
	s.mu.Lock()
	delete(s.owned, d.user)
	s.mu.Unlock()
	return s.db.Update(ctx, func(tx *database.Tx) error {
		return tx.Queue(ctx, deleteOwned, d.user, kindIdentity)
	})
}

// loaded makes room for a device that has been loaded.
func (s *Service) loaded(d *device) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memory = append(slices.DeleteFunc(s.memory, func(other *device) bool { return other == d }), d)
	for i := 0; len(s.memory) > maxLoaded && i < len(s.memory)-1; {
		old := s.memory[i]
		if !old.using.TryLock() {
			i++
			continue
		}
		old.unload()
		old.using.Unlock()
		s.memory = append(s.memory[:i], s.memory[i+1:]...)
	}
}

// news is closed when keys have come that were not there when it was called.
func (s *Service) news() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrived
}

func (s *Service) tellNews() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.arrived)
	s.arrived = make(chan struct{})
}

// pause waits for a moment, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func mautrixIDs(users []matrix.UserID) []id.UserID {
	all := make([]id.UserID, len(users))
	for i, user := range users {
		all[i] = id.UserID(user)
	}
	return all
}
