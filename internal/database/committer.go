package database

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

const (
	// maxGroup is the most functions in one transaction.
	maxGroup = 256
	// maxRetries is how often a group is tried again when the database says
	// that this may help, and retryPause the wait before the first of them;
	// each further one is four times as long. Together they outlast a
	// restart of PostgreSQL.
	maxRetries = 5
	retryPause = 20 * time.Millisecond
	// groupDeadline ends a group that hangs, as on a dead network.
	groupDeadline = time.Minute
)

// A job is a function in the queue.
type job struct {
	fn   func(*Tx) error
	done func(error)

	// taken is set under the committer's mutex when the job leaves the queue
	// to be run; a job whose caller gave up before is dropped.
	taken, dropped bool

	err      error
	onCommit []func()
	onAbort  []func()

	turn *Turn // of a background function
}

func (j *job) abort() {
	for _, fn := range j.onAbort {
		fn()
	}
}

// The committer owns the writing connection: one goroutine that takes what
// waits, runs it in one transaction and answers.
type committer struct {
	db      *DB
	stopped chan struct{}

	mu         sync.Mutex
	waiting    []*job
	background []*job    // functions that wait until nothing else does
	served     time.Time // when a group with other functions was last taken
	patience   time.Duration
	closed     bool
	wake       chan struct{} // capacity 1

	beat  func()
	beats <-chan time.Time // nil: none
}

// newCommitter begins to commit. Now and then while there is nothing to do, it
// calls beat.
func newCommitter(db *DB, beat func()) *committer {
	c := &committer{db: db, stopped: make(chan struct{}), patience: backgroundPatience, wake: make(chan struct{}, 1), beat: beat}
	if beat != nil {
		c.beats = time.Tick(leadBeat)
	}
	go c.run()
	return c
}

// Update runs a function in a transaction shared with others and returns after
// the commit. The function may run more than once and must have effects only
// through tx; it runs on the committing goroutine, so that it neither waits for
// other work nor calls Update. If it returns an error, nothing of it stays. A
// context that ends while the function is still waiting for its turn takes it
// out of the queue; later its end is ignored, so that one caller who leaves
// cannot undo the others' work.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	answer := make(chan error, 1)
	j := &job{fn: fn, done: func(err error) { answer <- err }}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := db.commits.add(j); err != nil {
		return err
	}
	return db.commits.wait(ctx, j, answer)
}

// wait waits for the answer to a job, which a context that ends takes back as
// long as it does not run.
func (c *committer) wait(ctx context.Context, j *job, answer <-chan error) error {
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
	}
	if c.drop(j) {
		return ctx.Err()
	}
	return <-answer
}

// Enqueue is Update without waiting. Functions are committed in the order of
// the calls, and done is called in that order, on the committing goroutine.
func (db *DB) Enqueue(fn func(tx *Tx) error, done func(error)) {
	if err := db.commits.add(&job{fn: fn, done: done}); err != nil {
		done(err)
	}
}

func (c *committer) add(j *job) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.waiting = append(c.waiting, j)
	c.awake()
	return nil
}

// drop takes a job back unless it runs already.
func (c *committer) drop(j *job) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	j.dropped = !j.taken
	return j.dropped
}

// take returns the next group, or false after close when nothing waits. A
// background function is a group by itself.
func (c *committer) take() ([]*job, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	group := c.takeFrom(&c.waiting)
	if len(group) == 0 {
		group = c.takeFrom(&c.background)
	}
	if len(group) > 0 && group[0].turn == nil {
		c.served = time.Now()
	}
	return group, len(group) > 0 || !c.closed
}

// takeFrom takes what goes into one group from the head of a queue.
func (c *committer) takeFrom(queue *[]*job) (group []*job) {
	n := 0
	for ; n < len(*queue) && len(group) < maxGroup; n++ {
		j := (*queue)[n]
		if j.dropped {
			continue
		}
		if j.turn != nil && len(group) > 0 {
			break
		}
		j.taken = true
		group = append(group, j)
		if j.turn != nil {
			n++
			break
		}
	}
	clear((*queue)[:n])
	*queue = (*queue)[n:]
	return group
}

// awake wakes the committing goroutine.
func (c *committer) awake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// abandon answers a group that cannot be finished.
func (c *committer) abandon(group []*job) {
	ctx := context.Background()
	if w, err := c.db.backend.write(ctx); err == nil {
		w.rollback(ctx)
	}
	for _, j := range group {
		j.err, j.onCommit = errGoexit, nil
	}
	c.answer(group)
}

// settle yields while the queue grows: those who have just been answered are
// about to come back, and a group with them costs hardly more than one without.
func (c *committer) settle() {
	for before, n := -1, 0; n > before && n < maxGroup; {
		before = n
		runtime.Gosched()
		c.mu.Lock()
		n = len(c.waiting)
		c.mu.Unlock()
	}
}

func (c *committer) run() {
	var group []*job
	defer func() {
		if group == nil {
			close(c.stopped)
			return
		}
		// A function has ended the goroutine, as t.FailNow of a test does.
		c.abandon(group)
		go c.run()
	}()
	for {
		c.settle()
		var open bool
		if group, open = c.take(); !open {
			return
		}
		if len(group) == 0 {
			c.rest()
			continue
		}
		c.commit(group)
		c.answer(group)
	}
}

// rest waits until there is something to do.
func (c *committer) rest() {
	select {
	case <-c.wake:
	case <-c.beats:
		c.beat()
	}
}

func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.awake()
	c.mu.Unlock()
	<-c.stopped
}

// commit runs a group until it is durable or hopeless; each job's err holds its
// outcome.
func (c *committer) commit(group []*job) {
	ctx, cancel := context.WithTimeout(context.Background(), groupDeadline)
	defer cancel()
	started := time.Now()
	err := c.attempt(ctx, group, false)
	careful := false
	for retries := 0; err != nil; {
		if !careful && errors.Is(err, errCulprit) {
			if len(group) == 1 {
				return // it has its error
			}
			careful = true
		} else if !isTransient(err) || retries == maxRetries || !pause(ctx, retryPause<<(2*retries)) {
			break
		} else {
			retries++
		}
		err = c.attempt(ctx, group, careful)
	}
	if err != nil {
		for _, j := range group {
			j.err, j.onCommit = err, nil
		}
		return
	}
	if turn := group[0].turn; turn != nil {
		turn.Took = time.Since(started)
	}
	if c.db.options.OnGroup != nil {
		c.db.options.OnGroup(len(group), time.Since(started))
	}
}

// pause waits, and reports whether the context is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

var (
	// errCulprit says that one function of the group has to be found and
	// left out.
	errCulprit = errors.New("a function of the group has an error")
	// errGoexit answers a group when one of its functions has called
	// runtime.Goexit.
	errGoexit = errors.New("a function of the group has ended its goroutine")
	// errUnknownOutcome says that the connection broke during COMMIT, and
	// that the server could not be asked what became of it.
	errUnknownOutcome = errors.New("the connection broke during the commit; its outcome is unknown")
)

// attempt runs the group once in one transaction. Carefully means: each
// function behind a savepoint, so that one that errs undoes only itself.
func (c *committer) attempt(ctx context.Context, group []*job, careful bool) error {
	w, err := c.db.backend.write(ctx)
	if err != nil {
		return err
	}
	g := &groupTx{ctx: ctx, writer: w}
	if err := g.runAll(group, careful); err != nil {
		w.rollback(ctx)
		return err
	}
	err = g.commit()
	if err == nil {
		return nil
	}
	w.rollback(ctx)
	if careful || isTransient(err) || errors.Is(err, errUnknownOutcome) {
		return err
	}
	// A queued statement may have failed only now.
	if len(group) == 1 {
		group[0].err, group[0].onCommit = err, nil
	}
	return errCulprit
}

// answer tells everybody how it ended: first those who watch for commits, so
// that whoever got an answer finds them informed.
func (c *committer) answer(group []*job) {
	for _, j := range group {
		for _, fn := range j.onCommit {
			c.guard(fn)
		}
	}
	for _, j := range group {
		if done := j.done; done != nil {
			j.done = nil // an abandoned group may be answered in part
			c.guard(func() { done(j.err) })
		}
	}
}

// guard keeps a panic in a callback from ending the committer, on which
// everybody else depends.
func (c *committer) guard(fn func()) {
	defer func() {
		if p := recover(); p != nil {
			c.db.options.Log.Error("panic after a commit", "panic", p, "stack", string(debug.Stack()))
		}
	}()
	fn()
}

// call runs a job's function and turns a panic into its error.
func (j *job) call(tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a database function: %v\n%s", p, debug.Stack())
		}
	}()
	return j.fn(tx)
}
