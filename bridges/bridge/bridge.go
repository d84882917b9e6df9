package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/appservice/client"
	"trestle/bridges/encryption"
	"trestle/internal/database"
	"trestle/internal/lru"
	"trestle/internal/matrix"
)

// membershipSlots is how many membership changes are under way at once, over all
// portals: enough to fill a room quickly, few enough to leave the homeserver to people.
const membershipSlots = 16

// A Remote is the other side: what a bridge adds to the framework.
type Remote interface {
	// Ghost tells which virtual user a Matrix ID names, if it can name one.
	Ghost(user matrix.UserID) (Ghost, bool)
	// HandleEvent takes an event of a portal's room: those of people, and
	// what people did to virtual users. See client.Handler for done.
	HandleEvent(ctx context.Context, p *Portal, e *client.Event, done func())
	// QueryAlias makes the room behind an alias exist, or says why not.
	QueryAlias(ctx context.Context, alias matrix.RoomAlias) error
}

// A StateWatcher is a remote that looks at the state of all rooms, not only of portals.
type StateWatcher interface {
	HandleState(ctx context.Context, e *client.Event)
}

// A Ghost is a virtual user.
type Ghost struct {
	ID   matrix.UserID
	Name string // display name
}

// Key names a channel.
type Key struct {
	Network string
	Channel string // folded
}

// Options make a [Bridge].
type Options struct {
	Client   *client.Client
	Inbox    *client.Inbox
	DB       *database.DB // with the bridges' schema
	Remote   Remote
	Prefix   string // of commands outside of management rooms, "!irc"
	Commands []Command
	Logger   *slog.Logger

	Encryption *encryption.Service   // nil: the bridge takes no part in encrypted rooms
	Metrics    prometheus.Registerer // nil: none
}

// A Bridge holds the portals of one application service.
type Bridge struct {
	client   *client.Client
	inbox    *client.Inbox
	db       *database.DB
	remote   Remote
	commands *commands
	log      *slog.Logger
	metrics  *metrics

	instance string // see loadInstance
	slots    chan struct{}
	ctx      context.Context // ends when the bridge stops
	cancel   context.CancelFunc
	work     sync.WaitGroup

	recent *lru.Cache[remoteKey, Known] // messages that the network has named

	ids    *database.IDs
	intake *intake
	asked  quota // virtual users who come to be because somebody asks for them

	unsettled []int64 // portals; see Settle

	mu         sync.Mutex // taken last: never call out of the bridge's own maps with it
	stopped    bool
	byID       map[int64]*Portal
	byKey      map[Key]*Portal
	byRoom     map[matrix.RoomID]*Portal
	ghostNames map[matrix.UserID]string        // display names, as set
	management map[matrix.RoomID]matrix.UserID // who talks to us there
	sealings   map[matrix.RoomID]sealing       // of rooms that we have looked at

	encryption atomic.Pointer[encryption.Service] // nil: none

	undescribed map[*Portal]bool // see describe
	describing  chan struct{}    // capacity 1

	arrivals   map[matrix.RoomID]*arrival // by the room in which a portal is to be
	unfinished []left                     // by an earlier process
}

// New reads the bridge's tables; Run starts it.
func New(ctx context.Context, o Options) (*Bridge, error) {
	b := &Bridge{
		client: o.Client, inbox: o.Inbox, db: o.DB, remote: o.Remote, log: o.Logger,
		commands: newCommands(o.Prefix, o.Commands),
		slots:    make(chan struct{}, membershipSlots),
		recent:   lru.New[remoteKey, Known](recentMessages, nil),
		ids:      o.DB.NewIDs("bridge"),
		byID:     map[int64]*Portal{}, byKey: map[Key]*Portal{}, byRoom: map[matrix.RoomID]*Portal{},
		ghostNames: map[matrix.UserID]string{}, management: map[matrix.RoomID]matrix.UserID{},
		sealings:    map[matrix.RoomID]sealing{},
		undescribed: map[*Portal]bool{}, describing: make(chan struct{}, 1), arrivals: map[matrix.RoomID]*arrival{},
	}
	b.intake, b.asked = newIntake(b), quota{left: askedBurst}
	b.encryption.Store(o.Encryption)
	o.Inbox.Heard, o.Inbox.Idle, o.Inbox.Keep = b.heard, b.idle, b.keep
	b.metrics = newMetrics(o.Metrics, b)
	b.ctx, b.cancel = context.WithCancel(ctx)
	if err := b.load(ctx); err != nil {
		return nil, fmt.Errorf("read the bridge's tables: %w", err)
	}
	return b, nil
}

// Run sends what an earlier process left over, and works until ctx, which must be
// derived from that of New, ends.
func (b *Bridge) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, b.cancel)()
	ctx = b.ctx
	b.goRun(func() { b.intake.run(ctx) })
	b.goRun(func() { b.registerBot(ctx) })
	b.goRun(func() { b.pruneMessages(ctx) })
	if service := b.encryption.Load(); service != nil {
		b.goRun(func() { service.Run(ctx) })
	}
	b.goRun(func() { b.describeAll(ctx) })
	if err := b.resumeUpgrades(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("go on with upgrades of rooms: %w", err)
	}
	if err := b.resumeGivenUp(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("go on with rooms that were given up: %w", err)
	}
	for _, p := range b.Portals() {
		p.wake()
	}
	err := b.inbox.Run(ctx, b)
	b.cancel()
	b.mu.Lock()
	b.stopped = true
	b.mu.Unlock()
	b.work.Wait()
	return err
}

// goRun starts a goroutine that Run waits for; it reports false once the
// bridge is stopping.
func (b *Bridge) goRun(fn func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return false
	}
	b.work.Go(fn)
	return true
}

// registerBot makes sure of the bot's account: a homeserver need not create it
// for a registration's sender_localpart.
func (b *Bridge) registerBot(ctx context.Context) {
	err := client.Retry(ctx, b.noteFailing("register the bridge's own user"), b.client.Bot().EnsureRegistered)
	if err != nil && ctx.Err() == nil {
		b.log.Error("the homeserver refused the bridge's own user", "err", err)
	}
}

// noteFailing logs the attempts of a request that are worth a line: the first, and
// then ever fewer.
func (b *Bridge) noteFailing(doing string) func(error, int) {
	return func(err error, failures int) {
		b.metrics.retries.Inc()
		if failures&(failures-1) == 0 {
			b.log.Warn("the homeserver did not take a request; trying again", "doing", doing, "failures", failures, "err", err)
		}
	}
}

// Instance names the bridge's database; no other has the same.
func (b *Bridge) Instance() string { return b.instance }

// Client acts on the homeserver.
func (b *Bridge) Client() *client.Client { return b.client }

// Portals lists all portals, in no order.
func (b *Bridge) Portals() []*Portal {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]*Portal, 0, len(b.byKey))
	for _, p := range b.byKey {
		all = append(all, p)
	}
	return all
}

// Find returns a channel's portal, or nil.
func (b *Bridge) Find(key Key) *Portal {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byKey[key]
}

// FindID returns the portal with a number, or nil.
func (b *Bridge) FindID(id int64) *Portal {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byID[id]
}

// FindRoom returns a room's portal, or nil.
func (b *Bridge) FindRoom(room matrix.RoomID) *Portal {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.byRoom[room]
}

// Portal returns a channel's portal and creates it, without a room, if there is
// none.
func (b *Bridge) Portal(ctx context.Context, key Key, name string) (*Portal, error) {
	if p := b.Find(key); p != nil {
		return p, nil
	}
	id, err := b.ids.Next(ctx)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.byKey[key]; p != nil {
		return p, nil
	}
	p := newPortal(b)
	p.id, p.key, p.name = id, key, name
	p.guard()
	b.byID[id], b.byKey[key] = p, p
	b.write(upsertPortal, p.row()...)
	return p, nil
}

// Drop forgets a portal that has no room, and what waited for one.
func (b *Bridge) Drop(p *Portal) {
	if p.Room() != "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byID[p.id] != p {
		return
	}
	delete(b.byID, p.id)
	delete(b.byKey, p.key)
	b.write(deleteEntries, p.id)
	b.write(deleteMembers, p.id)
	b.write(deleteRights, p.id)
	b.write(deleteBans, p.id)
	b.write(deleteKey, p.id)
	b.write(deleteUnlisted, p.id)
	b.write(deleteInfo, p.id)
	b.write(deleteCreator, p.id)
	b.write(deleteFormer, p.id)
	b.write(deleteUnvisited, p.id)
	b.write(deletePortal, p.id)
}

// QueryUser implements client.Queries: a virtual user comes to be when
// somebody asks for it.
func (b *Bridge) QueryUser(ctx context.Context, user matrix.UserID) error {
	ghost, ok := b.remote.Ghost(user)
	if !ok {
		return matrix.NotFound("No such user can exist behind this bridge.")
	}
	if !b.exists(user) && !b.asked.take(time.Now()) {
		return matrix.LimitExceeded(askedInterval)
	}
	if err := b.ensureGhost(ctx, ghost); err != nil {
		return fmt.Errorf("create %s: %w", user, err)
	}
	return nil
}

// QueryAlias implements client.Queries.
func (b *Bridge) QueryAlias(ctx context.Context, alias matrix.RoomAlias) error {
	return b.remote.QueryAlias(ctx, alias)
}

// UserOfURI implements client.URIs for remotes that do.
func (b *Bridge) UserOfURI(ctx context.Context, uri string) (matrix.UserID, error) {
	if remote, ok := b.remote.(client.URIs); ok {
		return remote.UserOfURI(ctx, uri)
	}
	return "", matrix.NotFound("This bridge knows no URIs.")
}

// AliasOfURI implements client.URIs for remotes that do.
func (b *Bridge) AliasOfURI(ctx context.Context, uri string) (matrix.RoomAlias, error) {
	if remote, ok := b.remote.(client.URIs); ok {
		return remote.AliasOfURI(ctx, uri)
	}
	return "", matrix.NotFound("This bridge knows no URIs.")
}

// ensureGhost makes a virtual user exist and have its name; once each.
func (b *Bridge) ensureGhost(ctx context.Context, g Ghost) error {
	b.mu.Lock()
	name, exists := b.ghostNames[g.ID]
	b.mu.Unlock()
	if exists && name == g.Name {
		return nil
	}
	user := b.client.As(g.ID)
	if err := b.ensureExists(ctx, g.ID); err != nil {
		return err
	}
	if err := user.SetDisplayName(ctx, g.Name); err != nil {
		return fmt.Errorf("set display name: %w", err)
	}
	b.mu.Lock()
	b.ghostNames[g.ID] = g.Name
	b.mu.Unlock()
	b.write(upsertGhost, g.ID, g.Name)
	return nil
}

// ensureExists makes a virtual user exist, without a name: those who come into a room bring one,
// and most never need another.
func (b *Bridge) ensureExists(ctx context.Context, user matrix.UserID) error {
	b.mu.Lock()
	_, exists := b.ghostNames[user]
	b.mu.Unlock()
	if exists {
		return nil
	}
	if err := b.client.As(user).EnsureRegistered(ctx); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	b.mu.Lock()
	_, exists = b.ghostNames[user]
	if !exists {
		b.ghostNames[user] = ""
	}
	b.mu.Unlock()
	if !exists {
		b.write(insertGhost, user)
	}
	return nil
}

// forgetGhost has ensureGhost ask again: the homeserver does not know the user,
// whatever our table says.
func (b *Bridge) forgetGhost(user matrix.UserID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ghostNames, user)
	b.client.Unregistered(user)
}
