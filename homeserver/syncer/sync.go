package syncer

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/notifier"
	"trestle/homeserver/relations"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/homeserver/unread"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// AccountData is what users keep on the server.
type AccountData interface {
	// AccountData is one piece, M_NOT_FOUND if there is none; without a room, of the whole account.
	AccountData(ctx context.Context, user matrix.UserID, room matrix.RoomID, dataType string) (json.RawMessage, error)
	// Unwanted is whom a user does not want to hear from, by what it keeps.
	Unwanted(ctx context.Context, user matrix.UserID) (*accounts.Unwanted, error)
	// AccountDataSince is the global account data that changed in (since, upTo], as events.
	AccountDataSince(ctx context.Context, user matrix.UserID, since, upTo int64) ([]json.RawMessage, error)
	// RoomAccountDataSince is the same by room.
	RoomAccountDataSince(ctx context.Context, user matrix.UserID, since, upTo int64) (map[matrix.RoomID][]json.RawMessage, error)
	// RoomAccountDataOf is all that there is for some rooms.
	RoomAccountDataOf(ctx context.Context, user matrix.UserID, rooms []matrix.RoomID, upTo int64) (map[matrix.RoomID][]json.RawMessage, error)
}

// Ephemeral is what is said in rooms without being kept, and who is there.
type Ephemeral interface {
	// Typing is the m.typing event of a room.
	Typing(ctx context.Context, room matrix.RoomID) (json.RawMessage, error)
	// ReceiptsSince is the m.receipt event of the receipts in (since, upTo] that the reader may see, or nil.
	ReceiptsSince(ctx context.Context, room matrix.RoomID, since, upTo int64, reader matrix.UserID) (json.RawMessage, error)
	// ReceiptsOf is the m.receipt events of some rooms, by their numbers, with all
	// receipts up to a position; not known where they are too many.
	ReceiptsOf(ctx context.Context, rooms []int64, upTo int64, reader matrix.UserID) (events map[int64]json.RawMessage, known bool, err error)
	// PresenceSince is the presence events newer than a serial that the user may see.
	PresenceSince(ctx context.Context, user matrix.UserID, since int64) ([]json.RawMessage, error)
	// Seen tells that a device of the user is there, until done is called.
	Seen(ctx context.Context, user matrix.UserID, device matrix.DeviceID, setPresence string) (done func())
}

// Keys is what end-to-end encryption puts into /sync.
type Keys interface {
	// Acknowledge takes in that a device has received all messages up to a position.
	Acknowledge(ctx context.Context, user matrix.UserID, device matrix.DeviceID, upTo int64) error
	// ToDevice is the messages to a device in (since, upTo], oldest first; next
	// is the position of the last one if there are more than fit.
	ToDevice(ctx context.Context, user matrix.UserID, device matrix.DeviceID, since, upTo int64) (messages []json.RawMessage, next int64, err error)
	// DeviceLists is whose devices changed in (since, upTo], and who shares no room any more.
	DeviceLists(ctx context.Context, user matrix.UserID, since, upTo int64) (changed, left []matrix.UserID, err error)
	// Counts is how many one-time keys a device has left, and the types of its unused fallback keys.
	Counts(ctx context.Context, user matrix.UserID, device matrix.DeviceID) (oneTime map[string]int, fallback []string, err error)
}

// Unread counts what users have not read.
type Unread interface {
	// Counts is what a user has not read in a room, with all that happened up to a position.
	Counts(ctx context.Context, user matrix.UserID, room, position int64) (unread.Room, error)
}

// Options are what a Service needs.
type Options struct {
	Rooms       *rooms.Service
	Store       *storage.Store
	Notifier    *notifier.Notifier
	AccountData AccountData
	Ephemeral   Ephemeral
	Keys        Keys
	Relations   *relations.Service
	Unread      Unread // nil: nobody counts
	Older       Older  // nil: nobody has anything older
	Now         func() time.Time
}

// A Service is safe for concurrent use.
type Service struct {
	Options
	lazy     *lru.Cache[lazyKey, *lazyMembers]
	unwanted *lru.Cache[matrix.UserID, *unwanted]
}

// New makes a Service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{
		Options: o, lazy: lru.New[lazyKey](lazyBudget, func(m *lazyMembers) int { return 1 + m.size() }),
		unwanted: lru.New[matrix.UserID](unwantedBudget, func(u *unwanted) int { return 1 + u.Size() }),
	}
}

// A Request is what a client asks of /sync.
type Request struct {
	User          matrix.UserID
	Device        matrix.DeviceID
	Since         string
	Filter        *accounts.Filter
	FullState     bool
	Timeout       time.Duration
	SetPresence   string
	UseStateAfter bool
	// Stop, when closed, ends the waiting with what there is.
	Stop <-chan struct{}
	// Patience, if not 0, is how long Sync may wait before it answers [Idle].
	Patience time.Duration
}

// Idle is the error by which Sync says that nothing has happened for a while:
// the client waits elsewhere, and the request is to be made again when it is
// woken or its timeout has passed.
type Idle struct {
	// Subscribe has wake called when there may be something new; it must not
	// block. leave ends that, and has to be called.
	Subscribe func(wake func()) (leave func())
}

// Error implements error.
func (*Idle) Error() string { return "nothing has happened" }

// MaxTimeout bounds how long a client may wait.
const MaxTimeout = 5 * time.Minute

// Sync answers what is new for a device, and waits up to the timeout for
// something that is (Client-Server API § Syncing).
func (s *Service) Sync(ctx context.Context, req Request) (*Response, error) {
	if req.Filter == nil {
		req.Filter = new(accounts.Filter)
	}
	initial := req.Since == ""
	var since Token
	if !initial {
		var err error
		if since, err = ParseToken(req.Since); err != nil {
			return nil, err
		}
	}
	// What this server has not got to, nobody has seen: such a token is of
	// another time, as after a database was restored.
	now := s.Notifier.Position()
	since.Position, since.Sent = min(since.Position, now), min(since.Sent, now)
	since.Serial = serialBy(since.Serial, s.Notifier.Serial())
	if !initial && req.Device != "" {
		if err := s.Keys.Acknowledge(ctx, req.User, req.Device, since.sent()); err != nil {
			return nil, err
		}
	}
	// Presence asks in which rooms the user is: that is to be read only once.
	var err error
	if initial {
		err = s.Meet(ctx, req.User)
	} else {
		_, err = s.Notifier.User(ctx, req.User)
	}
	if err != nil {
		return nil, err
	}
	gone := s.Ephemeral.Seen(ctx, req.User, req.Device, req.SetPresence)
	resp, idle, err := s.wait(ctx, req, since, initial)
	if idle == nil {
		gone()
		return resp, err
	}
	return nil, &Idle{func(wake func()) func() {
		leave := s.Notifier.Watch(req.User, idle.Position, idle.Serial, wake)
		return func() { leave(); gone() }
	}}
}

// wait answers as soon as there is something new. idle is what the client was
// shown when patience has run out.
func (s *Service) wait(ctx context.Context, req Request, since Token, initial bool) (resp *Response, idle *Token, err error) {
	timeout := max(0, min(req.Timeout, MaxTimeout))
	impatient := req.Patience != 0 && req.Patience < timeout
	if impatient {
		timeout = req.Patience
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	from := since
	for {
		snap, err := s.Notifier.User(ctx, req.User)
		if err != nil {
			return nil, nil, err
		}
		b := &build{Service: s, ctx: ctx, req: req, snap: snap, since: from, initial: initial}
		if initial || req.FullState || snap.Last > from.Position || snap.LastSerial > from.Serial || from.Sent != 0 {
			if err := b.all(); err != nil {
				return nil, nil, err
			}
		} else {
			b.resp.NextBatch = b.now().String()
		}
		if initial || req.FullState || !b.resp.empty() || waiting.Err() != nil && !impatient {
			return &b.resp, nil, b.counts()
		}
		from = b.now()
		err = s.Notifier.Wait(waiting, req.Stop, req.User, from.Position, from.Serial)
		ended := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
		switch {
		case ended && impatient:
			return nil, &from, nil
		case ended, errors.Is(err, notifier.ErrStopped):
			return &b.resp, nil, b.counts()
		case err != nil:
			return nil, nil, err
		}
	}
}

// A build is one answer while it is put together.
type build struct {
	*Service
	ctx     context.Context
	req     Request
	snap    *notifier.Snapshot
	since   Token
	initial bool
	resp    Response
	ahead   *Ahead // what was read of many rooms at once; may be nil
	sent    int64  // position of the last message to the device, if there are more
}

func (b *build) now() Token { return Token{b.snap.Position, b.snap.Serial, b.sent} }

// fresh reports whether a kind of change has to be looked for.
func (b *build) fresh(kind notifier.Kind) bool {
	return b.initial || b.snap.Changed(kind, b.since.Position)
}

func (b *build) all() error {
	for _, part := range []func() error{b.toDevice, b.accountData, b.rooms, b.presence, b.deviceLists} {
		if err := part(); err != nil {
			return err
		}
	}
	b.resp.NextBatch = b.now().String()
	return nil
}

func (b *build) accountData() error {
	if !b.fresh(notifier.AccountData) {
		return nil
	}
	events, err := b.AccountData.AccountDataSince(b.ctx, b.req.User, b.since.Position, b.snap.Position)
	if err != nil {
		return err
	}
	b.resp.AccountData = eventList(wantedOf(&b.req.Filter.AccountData, events))
	return nil
}

func (b *build) toDevice() error {
	if b.req.Device == "" || !b.initial && !b.snap.Changed(notifier.ToDevice, b.since.sent()) {
		return nil
	}
	messages, next, err := b.Keys.ToDevice(b.ctx, b.req.User, b.req.Device, b.since.sent(), b.snap.Position)
	if err != nil {
		return err
	}
	b.resp.ToDevice = eventList(messages)
	b.sent = next
	return nil
}

func (b *build) presence() error {
	if !b.initial && !b.snap.Changed(notifier.Presence, b.since.Serial) {
		return nil
	}
	events, err := b.Ephemeral.PresenceSince(b.ctx, b.req.User, b.since.Serial)
	if err != nil {
		return err
	}
	b.resp.Presence = eventList(wantedOf(&b.req.Filter.Presence, events))
	return nil
}

func (b *build) deviceLists() error {
	if b.initial || !b.fresh(notifier.DeviceList) {
		return nil
	}
	changed, left, err := b.Keys.DeviceLists(b.ctx, b.req.User, b.since.Position, b.snap.Position)
	if err != nil || len(changed)+len(left) == 0 {
		return err
	}
	b.resp.DeviceLists = &DeviceList{changed, left}
	return nil
}

func (b *build) counts() error {
	b.resp.OneTimeKeys, b.resp.FallbackKeys = map[string]int{}, []string{}
	if b.req.Device == "" {
		return nil
	}
	oneTime, fallback, err := b.Keys.Counts(b.ctx, b.req.User, b.req.Device)
	if err != nil {
		return err
	}
	if oneTime != nil {
		b.resp.OneTimeKeys = oneTime
	}
	if fallback != nil {
		b.resp.FallbackKeys = fallback
	}
	return nil
}
