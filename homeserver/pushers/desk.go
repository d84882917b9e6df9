package pushers

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"trestle/internal/matrix"
)

// An outcome is what came of a pusher's work.
type outcome struct {
	gone      bool          // there is no such pusher, or it is switched off
	more      bool          // there is more to do at once
	after     time.Duration // there is something to do then; 0: when it is woken
	patient   bool          // with after: not before, though it is woken
	contacted bool          // the place has answered
	err       error         // it has to be tried again
	dead      bool          // with err: the place cannot be reached, by anybody
	notBefore time.Duration // the place wants to be left alone for so long
}

const (
	// PlaceAtOnce is how many pushers send to one place at the same time, once
	// it has answered as often in a row.
	PlaceAtOnce = 8
	// strangersAtOnce is how many pushers send, at the same time, to places
	// that have not answered last time: those hold up one another, and never
	// what goes to places that answer.
	strangersAtOnce = 16
)

type deskOptions struct {
	work       func(ctx context.Context, id int64) outcome
	atOnce     int
	backoffMin time.Duration
	backoffMax time.Duration
	metrics    *metrics
}

// A desk decides which pusher works when. All of it but the inbox belongs to
// the goroutine that runs it.
type desk struct {
	deskOptions
	inbox   *inbox
	results chan result

	jobs   map[int64]*job
	users  map[matrix.UserID]map[int64]*job
	places map[string]*place
	ready  map[*place]bool // those with jobs that wait for a turn
	alarms alarms

	regular, strangers int // at work
}

type result struct {
	job      *job
	stranger bool
	outcome
}

func newDesk(o deskOptions) *desk {
	return &desk{
		deskOptions: o, inbox: newInbox(), results: make(chan result),
		jobs: map[int64]*job{}, users: map[matrix.UserID]map[int64]*job{}, places: map[string]*place{}, ready: map[*place]bool{},
	}
}

// add takes in a pusher, which looks at once for what there is to do.
func (d *desk) add(p *Pusher, name string) {
	if name != "" {
		d.insert(p.ID, p.User, name)
	}
}

func (d *desk) insert(id int64, user matrix.UserID, name string) {
	pl := d.places[name]
	if pl == nil {
		pl = &place{name: name}
		d.places[name] = pl
	}
	pl.jobs++
	j := &job{id: id, user: user, place: pl, index: -1}
	d.jobs[id] = j
	if d.users[user] == nil {
		d.users[user] = map[int64]*job{}
	}
	d.users[user][id] = j
	d.enqueue(j)
}

// drop forgets a job; one that works is let finish.
func (d *desk) drop(j *job) {
	if j.dropped {
		return
	}
	j.dropped = true
	d.unset(j)
	delete(d.jobs, j.id)
	delete(d.users[j.user], j.id)
	if len(d.users[j.user]) == 0 {
		delete(d.users, j.user)
	}
	j.place.jobs--
	if j.place.jobs == 0 {
		delete(d.places, j.place.name)
	}
}

// unset takes a job that does not work out of where it waits.
func (d *desk) unset(j *job) {
	switch j.state {
	case queued:
		if j.place.queue[0] == j {
			j.place.queue = j.place.queue[1:]
		} else {
			j.place.queue = slices.DeleteFunc(j.place.queue, func(other *job) bool { return other == j })
		}
		if len(j.place.queue) == 0 {
			delete(d.ready, j.place)
		}
	case resting:
		heap.Remove(&d.alarms, j.index)
	case working:
		return
	}
	j.state = idle
}

func (d *desk) enqueue(j *job) {
	d.unset(j)
	j.state = queued
	j.place.queue = append(j.place.queue, j)
	d.ready[j.place] = true
}

func (d *desk) rest(j *job, until time.Time) {
	d.unset(j)
	j.state, j.at = resting, until
	heap.Push(&d.alarms, j)
}

// run has pushers work until ctx ends, and waits for those at work. Their
// context is another one, so that they may finish.
func (d *desk) run(ctx, work context.Context, reload func(context.Context, matrix.UserID) (map[int64]string, error)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		d.take(ctx, reload)
		timer.Reset(d.start(work, time.Now()))
		d.report()
		select {
		case <-ctx.Done():
		case <-d.inbox.signal:
		case <-timer.C:
		case r := <-d.results:
			d.finish(r, time.Now())
		}
	}
	for d.regular+d.strangers > 0 {
		d.finish(<-d.results, time.Now())
	}
}

// take looks at what was put into the inbox.
func (d *desk) take(ctx context.Context, reload func(context.Context, matrix.UserID) (map[int64]string, error)) {
	woken, changed := d.inbox.empty()
	for user := range changed {
		places, err := reload(ctx, user)
		if err != nil {
			if ctx.Err() == nil {
				d.inbox.later(user)
			}
			continue
		}
		d.change(user, places)
	}
	for user := range woken {
		for _, j := range d.users[user] {
			d.wake(j)
		}
	}
}

// change takes in what pushers a user has now.
func (d *desk) change(user matrix.UserID, places map[int64]string) {
	for id, j := range d.users[user] {
		if places[id] != j.place.name {
			d.drop(j)
		}
	}
	for id, name := range places {
		if j := d.jobs[id]; j == nil {
			d.insert(id, user, name)
		} else {
			// Whoever sets a pusher again may have mended it.
			j.failures, j.patient = 0, false
			d.wake(j)
		}
	}
}

// wake has a job look for something to do. One that has failed waits for its
// time all the same.
func (d *desk) wake(j *job) {
	switch {
	case j.state == working:
		j.again = true
	case j.state == idle, j.state == resting && j.failures == 0 && !j.patient:
		d.enqueue(j)
	}
}

// start lets jobs begin whose turn it is, and returns how long nothing else
// will have to be started.
func (d *desk) start(ctx context.Context, now time.Time) time.Duration {
	for len(d.alarms) > 0 && !d.alarms[0].at.After(now) {
		d.enqueue(d.alarms[0])
	}
	next := time.Hour
	if len(d.alarms) > 0 {
		next = d.alarms[0].at.Sub(now)
	}
	for pl := range d.ready {
		if pl.until.After(now) {
			next = min(next, pl.until.Sub(now))
			continue
		}
		for len(pl.queue) > 0 && d.admits(pl) {
			j := pl.queue[0]
			d.unset(j)
			d.begin(ctx, j)
		}
	}
	return max(next, time.Millisecond)
}

func (d *desk) admits(pl *place) bool {
	if pl.answers > 0 {
		return pl.working < pl.answers && d.regular < d.atOnce
	}
	return pl.working == 0 && d.strangers < strangersAtOnce
}

func (d *desk) begin(ctx context.Context, j *job) {
	stranger := j.place.answers == 0
	if stranger {
		d.strangers++
	} else {
		d.regular++
	}
	j.state, j.again = working, false
	j.place.working++
	go func() { d.results <- result{j, stranger, d.work(ctx, j.id)} }()
}

// finish takes in what came of a job's work.
func (d *desk) finish(r result, now time.Time) {
	j, pl := r.job, r.job.place
	if r.stranger {
		d.strangers--
	} else {
		d.regular--
	}
	pl.working--
	j.state = idle
	d.judge(pl, r.outcome, now)
	switch {
	case j.dropped:
	case r.gone:
		d.drop(j)
	case r.dead:
		d.enqueue(j) // it waits with all others until the place is tried again
	case r.err != nil:
		j.failures++
		d.rest(j, now.Add(pause(j.failures, d.backoffMin, d.backoffMax)))
	default:
		j.failures, j.patient = 0, r.patient
		switch {
		case r.more || j.again:
			d.enqueue(j)
		case r.after > 0:
			d.rest(j, now.Add(r.after))
		}
	}
}

// judge notes whether a place answers.
func (d *desk) judge(pl *place, o outcome, now time.Time) {
	switch {
	case o.dead:
		pl.answers = 0
		// Those who were under way together have failed together, once.
		if !pl.until.After(now) {
			pl.failures++
			pl.until = now.Add(pause(pl.failures, d.backoffMin, d.backoffMax))
		}
	case o.contacted:
		pl.answers, pl.failures = min(pl.answers+1, PlaceAtOnce), 0
	}
	if o.notBefore > 0 {
		pl.until = now.Add(min(o.notBefore, d.backoffMax))
	}
}

func (d *desk) report() {
	silent := 0
	for pl := range d.ready {
		if pl.failures > 0 {
			silent++
		}
	}
	d.metrics.pushers.Set(float64(len(d.jobs)))
	d.metrics.working.Set(float64(d.regular + d.strangers))
	d.metrics.silent.Set(float64(silent))
}
