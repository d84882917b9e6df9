package outbox

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"trestle/homeserver/storage"
	"trestle/internal/matrix"
)

// remembered is how many destinations are kept in memory for which nothing waits.
const remembered = 10_000

// A desk decides which server is sent something when. All of it but the inbox belongs to the goroutine that runs it.
type desk struct {
	service *Service
	inbox   *inbox
	results chan result
	asks    chan func()
	ended   chan struct{}

	destinations map[matrix.ServerName]*destination
	// Those whose turn it is. Those of which it is doubtful whether they answer hold up one another, and nobody else.
	sure, doubtful []*destination
	alarms         alarms
	regular, dim   int // at work, of each kind
}

// A result is what came of a destination's turn.
type result struct {
	destination *destination
	doubtful    bool
	outcome
}

func newDesk(s *Service) *desk {
	return &desk{
		service: s, inbox: newInbox(), results: make(chan result), asks: make(chan func()), ended: make(chan struct{}),
		destinations: map[matrix.ServerName]*destination{},
	}
}

// recall takes in what is stored of a destination. It is called before run.
func (k *desk) recall(known storage.Destination) {
	d := &destination{name: known.Name, index: -1, waiting: known.Waiting, transaction: known.Transaction}
	if known.FailingSince > 0 {
		d.since = time.UnixMilli(known.FailingSince)
		d.away = true
	}
	k.destinations[d.name] = d
	k.consider(d, k.service.Now())
}

// run has destinations be sent what waits for them until ctx ends, and waits for those at work. Their context is another one,
// so that they may finish.
func (k *desk) run(ctx, work context.Context) {
	defer close(k.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		k.take()
		timer.Reset(k.start(work, k.service.Now()))
		select {
		case <-ctx.Done():
		case <-k.inbox.signal:
		case <-timer.C:
		case fn := <-k.asks:
			fn()
		case r := <-k.results:
			k.finish(r, k.service.Now())
		}
	}
	for k.regular+k.dim > 0 {
		k.finish(<-k.results, k.service.Now())
	}
}

// ask runs a function on the desk's goroutine, and says whether it has.
func (k *desk) ask(ctx context.Context, fn func()) bool {
	done := make(chan struct{})
	select {
	case k.asks <- func() { fn(); close(done) }:
		<-done
		return true
	case <-k.ended:
	case <-ctx.Done():
	}
	return false
}

// take looks at what was put into the inbox.
func (k *desk) take() {
	now := k.service.Now()
	more, voices := k.inbox.empty()
	for name, n := range more {
		d := k.destinations[name]
		if d == nil {
			d = &destination{name: name, index: -1}
			k.destinations[name] = d
		}
		if d.state == working {
			d.arrived += n
			continue
		}
		d.waiting += n
		k.consider(d, now)
	}
	for name := range voices {
		if d := k.destinations[name]; d != nil && d.state == resting && d.away {
			k.answer(d, now)
		}
	}
}

// answer has a destination be tried that is heard from. Many can be heard and never reached: they are tried at once only the
// first time, and then with growing pauses.
func (k *desk) answer(d *destination, now time.Time) {
	soonest := now
	if d.vain > 0 {
		soonest = d.lastFail.Add(k.reserve(d))
	}
	switch {
	case !soonest.After(now):
		k.hurry(d)
		d.heard = true
	case soonest.Before(d.at):
		k.wake(d)
		k.rest(d, soonest)
		d.heard = true
	}
}

// hurry ends the rest of a destination for an attempt. That comes before those at destinations of which nothing is heard, but
// not before those that have taken what they were sent last.
func (k *desk) hurry(d *destination) {
	k.wake(d)
	d.state, d.at = queued, k.service.Now()
	k.doubtful = slices.Insert(k.doubtful, 0, d)
}

// consider has a destination have a turn if there is something to do now.
func (k *desk) consider(d *destination, now time.Time) {
	switch {
	case d.state == idle && d.some(), d.state == resting && d.crowded(now):
		k.enqueue(d)
	}
}

func (k *desk) enqueue(d *destination) {
	k.wake(d)
	d.state = queued
	if d.doubtful() && !d.at.After(k.service.Now()) {
		k.doubtful = append(k.doubtful, d)
	} else {
		k.sure = append(k.sure, d)
	}
}

func (k *desk) rest(d *destination, until time.Time) {
	d.state, d.at = resting, until
	heap.Push(&k.alarms, d)
	if d.away {
		k.inbox.curious.Add(1)
	}
}

// wake ends the rest of a destination.
func (k *desk) wake(d *destination) {
	if d.state != resting {
		return
	}
	heap.Remove(&k.alarms, d.index)
	if d.away {
		k.inbox.curious.Add(-1)
	}
	d.state = idle
}

// start lets destinations begin whose turn it is, and returns how long nothing else will have to be started.
func (k *desk) start(ctx context.Context, now time.Time) time.Duration {
	for len(k.alarms) > 0 && !k.alarms[0].at.After(now) {
		k.enqueue(k.alarms[0])
	}
	most := k.service.AtOnce
	for len(k.sure) > 0 && k.regular+k.dim < most {
		k.begin(ctx, next(&k.sure), false, now)
		k.regular++
	}
	for len(k.doubtful) > 0 && k.regular+k.dim < most && k.dim < max(most/2, 1) {
		k.begin(ctx, next(&k.doubtful), true, now)
		k.dim++
	}
	if len(k.alarms) > 0 {
		return max(k.alarms[0].at.Sub(now), time.Millisecond)
	}
	return time.Hour
}

// next takes the first of a queue.
func next(queue *[]*destination) *destination {
	d := (*queue)[0]
	(*queue)[0] = nil
	*queue = (*queue)[1:]
	return d
}

func (k *desk) begin(ctx context.Context, d *destination, doubtful bool, now time.Time) {
	d.state = working
	t := turn{
		name: d.name, transaction: d.transaction, unsure: d.unsure, refused: d.refused, failing: d.doubtful(),
		thin: d.crowded(now), send: !d.at.After(now),
	}
	go func() { k.results <- result{d, doubtful, k.service.work(ctx, t)} }()
}

// finish takes in what came of a destination's turn.
func (k *desk) finish(r result, now time.Time) {
	if r.doubtful {
		k.dim--
	} else {
		k.regular--
	}
	d := r.destination
	d.state = idle
	d.waiting -= r.gone
	if r.nothing {
		d.waiting = 0 // what has come is counted
	}
	d.waiting += d.arrived
	d.arrived, d.transaction, d.unsure = 0, r.transaction, r.unsure
	if d.kept = min(d.kept, d.waiting); r.thinned {
		d.kept = d.waiting
	}
	k.judge(d, r.outcome, now)
	switch {
	case !d.some():
		if len(k.destinations) > remembered {
			delete(k.destinations, d.name)
		}
	case d.at.After(now):
		k.rest(d, d.at)
		k.consider(d, now)
	default:
		k.enqueue(d)
	}
}

// reserve is the shortest pause between attempts at a destination that speaks and does not hear.
func (k *desk) reserve(d *destination) time.Duration {
	return min(k.service.FirstPause<<min(d.vain, 20), longestVain)
}

// judge notes how a destination has taken what it was sent, and when it is tried again.
func (k *desk) judge(d *destination, o outcome, now time.Time) {
	if d.heard && o.tried && o.away {
		d.vain++
	}
	d.heard = false
	if o.taken {
		d.vain = 0
		if d.doubtful() {
			k.service.Log.Info("a server takes events again", "server", d.name, "since", d.since)
		}
		d.failures, d.since, d.away, d.refused, d.at = 0, time.Time{}, false, 0, time.Time{}
		d.lastTaken = now
	}
	if o.err == nil {
		return
	}
	d.away = o.away
	if !o.fault {
		if !d.doubtful() {
			d.since = now
			k.service.Log.Info("a server does not take events", "server", d.name, "err", o.err)
		}
		if o.tried || d.lastError == "" { // that it was not even tried says less
			d.lastError, d.lastFail = o.err.Error(), now
		}
	}
	if o.tried {
		d.failures++
	}
	switch {
	case o.givenUp:
		d.refused = 0
	case o.refused:
		d.refused++
	}
	d.at = now.Add(max(pause(max(d.failures, 1), k.service.FirstPause), o.notBefore))
	if !o.until.IsZero() {
		d.at = o.until
	}
	// For everybody else it begins anew to be away when it is heard from.
	if earliest := now.Add(k.reserve(d)); d.vain > 0 && earliest.After(d.at) {
		d.at = earliest
	}
	// Who has been away for long is so for a while yet; that is known after a restart, too.
	if d.doubtful() {
		if patient := now.Add(pause(1, max(0, min(now.Sub(d.since)/8, longestPause)))); patient.After(d.at) {
			d.at = patient
		}
	}
}
