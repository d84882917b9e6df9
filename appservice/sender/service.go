package sender

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"trestle/appservice"
	"trestle/internal/lru"
	"trestle/internal/matrix"
	"trestle/registration"
)

const (
	// near is how far behind the stream a service may be when the server
	// starts, and still be served from the common reading of it.
	near = 50_000
	// maxUnsaved is after how many positions cursors are stored early.
	maxUnsaved = 10_000
)

// A Service delivers to all application services. Start it, tell it of new
// positions by Wake, and Close it.
type Service struct {
	opts     Options
	feed     feed
	keys     feed // of a passage that is skipped, for services that follow their users' keys
	messages feed // the same, for others that take messages to devices
	head     atomic.Int64
	dispatch *dispatcher

	flights singleflight.Group
	refused *lru.Cache[string, time.Time] // what services do not have, and until when that is believed

	working context.Context // ends when nothing new may begin
	aborted context.Context // ends when requests under way must end as well
	stop    context.CancelFunc
	abort   context.CancelFunc
	running sync.WaitGroup

	saving signal // cursors should be stored

	reloading sync.Mutex // one change of what is delivered to whom at a time
	started   bool
	silent    map[string]bool // services without a URL of which storage knows
}

// New prepares a service.
func New(opts Options) *Service {
	s := &Service{opts: opts.withDefaults(), refused: lru.New[string, time.Time](10_000, nil), saving: newSignal(), silent: map[string]bool{}}
	s.feed = newFeed(opts.Stream, opts.Ephemeral, opts.ToDevice, opts.Devices, opts.Keys)
	s.keys = newFeed(moves{opts.Stream}, opts.ToDevice, opts.Devices, opts.Keys)
	s.messages = newFeed(opts.ToDevice)
	s.dispatch = &dispatcher{
		service: s, wake: newSignal(), offered: newSignal(), queues: map[string]*queue{},
		interest: newInterest(opts.Rooms, opts.Registry.Load(), ""),
	}
	s.aborted, s.abort = context.WithCancel(context.Background())
	s.working, s.stop = context.WithCancel(s.aborted)
	return s
}

// Start reads the cursors and begins to deliver. A service that is new here
// gets what happens from now on.
func (s *Service) Start(ctx context.Context) error {
	head, err := s.opts.Stream.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the end of the stream: %w", err)
	}
	s.advance(head)
	s.dispatch.through.Store(head)
	if err := s.Reload(ctx); err != nil {
		return err
	}
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.started = true
	s.rewind(head)
	for _, q := range s.dispatch.all() {
		s.launch(q)
	}
	s.running.Go(func() { s.dispatch.run(s.working) })
	s.running.Go(s.saveCursors)
	return nil
}

// rewind lets the dispatcher begin where the service begins that is furthest
// behind, though not too far: so they are served by one reading of the stream.
func (s *Service) rewind(head int64) {
	d := s.dispatch
	d.mu.Lock()
	defer d.mu.Unlock()
	start := head
	for _, q := range d.queues {
		q.mu.Lock()
		if !q.live && q.scanned >= head-near {
			start = min(start, q.scanned)
			q.live, q.interest = true, nil
		}
		q.mu.Unlock()
	}
	d.through.Store(start)
}

// Close ends delivery. Requests under way may be answered until the context
// ends; then they are broken off, and repeated by the next start. The store must
// still be there.
func (s *Service) Close(ctx context.Context) error {
	s.stop()
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		for _, q := range s.dispatch.all() {
			q.done.Wait()
		}
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		s.abort()
		<-ended
	}
	s.abort()
	ctx = context.WithoutCancel(ctx)
	err := s.save(ctx)
	for _, q := range s.dispatch.all() {
		_, link := q.to()
		link.close()
		err = errors.Join(err, q.acknowledge(ctx))
	}
	return err
}

// Wake tells of a new newest position. It does not block.
func (s *Service) Wake(position int64) {
	if s.advance(position) {
		s.dispatch.wake.send()
	}
}

func (s *Service) advance(position int64) bool {
	for {
		head := s.head.Load()
		if position <= head {
			return false
		}
		if s.head.CompareAndSwap(head, position) {
			return true
		}
	}
}

// AliasesChanged says that the aliases of a room are others than before, so
// that interest in it has to be decided anew.
func (s *Service) AliasesChanged(room matrix.RoomID) {
	s.dispatch.interest.invalidate(room)
	for _, q := range s.dispatch.all() {
		q.mu.Lock()
		own := q.interest
		q.mu.Unlock()
		if own != nil {
			own.invalidate(room)
		}
	}
}

// Retry ends a service's waiting for the next attempt, as one does that is there.
func (s *Service) Retry(id string) {
	s.refused.Delete(silent(id))
	if q := s.queue(id); q != nil {
		q.retry.send()
	}
}

func (s *Service) queue(id string) *queue {
	s.dispatch.mu.Lock()
	defer s.dispatch.mu.Unlock()
	return s.dispatch.queues[id]
}

// Reload follows the registry: it begins with new services, goes on with
// changed ones at once, and ends delivery to those that are gone or want none.
// Their cursors stay, so that one that comes back goes on where it was, but
// without what happened while it was registered and had no URL.
func (s *Service) Reload(ctx context.Context) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	set := s.opts.Registry.Load()
	for _, q := range s.dispatch.all() {
		if r := set.ByID(q.id); r == nil || r.URL == "" {
			s.drop(ctx, q)
		}
	}
	var problems []error
	for _, r := range set.All() {
		if r.URL == "" {
			if err := s.silence(ctx, r.ID); err != nil {
				problems = append(problems, err)
			}
			continue
		}
		delete(s.silent, r.ID)
		if q := s.queue(r.ID); q != nil {
			q.register(r)
			continue
		}
		if err := s.open(ctx, r); err != nil {
			problems = append(problems, fmt.Errorf("application service %s: %w", r.ID, err))
		}
	}
	return errors.Join(problems...)
}

// silence notes that a service wants to hear nothing from now on.
func (s *Service) silence(ctx context.Context, id string) error {
	if s.silent[id] {
		return nil
	}
	if err := s.opts.Store.Silence(ctx, id, s.head.Load()); err != nil {
		return fmt.Errorf("note that application service %s has no URL: %w", id, err)
	}
	s.silent[id] = true
	return nil
}

// open prepares the delivery to one service.
func (s *Service) open(ctx context.Context, r *registration.Registration) error {
	q := &queue{
		id: r.ID, service: s, log: s.opts.Logger.With("appservice", r.ID),
		filled: newSignal(), frozen: newSignal(), retry: newSignal(), turn: make(turn, 1),
		epoch: newEpoch(),
	}
	q.register(r)
	q.saved = s.head.Load()
	if err := q.restart(ctx); err != nil {
		return err
	}
	var err error
	if q.paused, err = s.opts.Store.Paused(ctx, r.ID); err != nil {
		return fmt.Errorf("read whether it is paused: %w", err)
	}
	s.dispatch.mu.Lock()
	s.dispatch.queues[r.ID] = q
	s.dispatch.mu.Unlock()
	if s.started {
		s.launch(q)
	}
	return nil
}

// newEpoch is how the IDs of transactions begin, until the next one.
func newEpoch() string { return strings.ToLower(rand.Text()[:8]) }

func (s *Service) launch(q *queue) {
	working, stop := context.WithCancel(s.working)
	aborted, abort := context.WithCancel(s.aborted)
	q.stop = func() { stop(); abort() }
	q.done.Go(func() { q.fill(working) })
	q.done.Go(func() { q.deliver(working, aborted) })
}

// drop ends the delivery to one service. What it has taken is not sent again if it
// comes back.
func (s *Service) drop(ctx context.Context, q *queue) {
	s.dispatch.mu.Lock()
	delete(s.dispatch.queues, q.id)
	s.dispatch.mu.Unlock()
	if s.started {
		q.stop()
		q.done.Wait()
	}
	_, link := q.to()
	link.close()
	if err := q.acknowledge(context.WithoutCancel(ctx)); err != nil {
		q.log.Error("what an application service has taken will be sent again if it comes back", "error", err)
	}
}

// saveCursors stores now and then how far idle services have come, so that a
// start need not read what concerns nobody.
func (s *Service) saveCursors() {
	for s.working.Err() == nil {
		wait(s.working, s.opts.SaveEvery, s.saving)
		if err := s.save(s.working); err != nil && s.working.Err() == nil {
			s.opts.Logger.Error("the cursors of application services are not stored", "error", err)
		}
	}
}

// save stores every cursor that has moved.
func (s *Service) save(ctx context.Context) error {
	dispatched := s.dispatch.through.Load()
	var cursors []appservice.Cursor
	var queues []*queue
	for _, q := range s.dispatch.all() {
		if c, moved := q.cursor(dispatched); moved {
			cursors, queues = append(cursors, c), append(queues, q)
		}
	}
	if len(cursors) == 0 {
		return nil
	}
	if err := s.opts.Store.Advance(ctx, cursors); err != nil {
		return fmt.Errorf("store cursors: %w", err)
	}
	for i, q := range queues {
		q.savedAt(cursors[i])
	}
	return nil
}

// Status is how the delivery to each service stands, in the order of the
// registry. Services without a URL are not in it.
func (s *Service) Status() []Status {
	dispatched, head, now := s.dispatch.through.Load(), s.head.Load(), time.Now()
	var list []Status
	for _, r := range s.opts.Registry.Load().All() {
		if q := s.queue(r.ID); q != nil {
			list = append(list, q.status(now, dispatched, head))
		}
	}
	return slices.Clip(list)
}
