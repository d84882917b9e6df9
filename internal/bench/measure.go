package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// arrivals is how many clients come to wait in a second.
const arrivals = 400

// run is one measurement of everything.
type run struct {
	ctx     context.Context
	options Options
	server  *server
	service *service
	client  *client
	users   []*user
	figures []Figure
}

func (b *run) figure(name, format string, args ...any) {
	b.figures = append(b.figures, Figure{name, fmt.Sprintf(format, args...)})
}

func (b *run) people() error {
	for i := range b.options.Senders {
		u, err := b.client.register(b.ctx, fmt.Sprint("user", i))
		if err != nil {
			return err
		}
		b.users = append(b.users, u)
	}
	for _, u := range b.users[1:] {
		if err := b.client.call(b.ctx, http.MethodPost, "/_matrix/client/v3/join/"+url.PathEscape(b.users[0].room), u.token, map[string]any{}, nil); err != nil {
			return err
		}
	}
	return nil
}

// sends is how many messages the server takes in a second, and what processor time
// each takes, which depends less on what else the machine does.
func (b *run) sends() error {
	for _, kind := range []struct {
		name    string
		senders int
		room    func(int) string
	}{
		{"sends/s, 1 sender", 1, func(int) string { return b.users[0].room }},
		{fmt.Sprintf("sends/s, %[1]d senders in %[1]d rooms", b.options.Senders), b.options.Senders, func(i int) string { return b.users[i].room }},
		{fmt.Sprintf("sends/s, %d senders in one room", b.options.Senders), b.options.Senders, func(int) string { return b.users[0].room }},
	} {
		before, err := b.spent()
		if err != nil {
			return err
		}
		f, err := b.flood(strings.ReplaceAll(kind.name, " ", ""), kind.senders, kind.room)
		if err != nil {
			return err
		}
		spent, err := b.since(before)
		if err != nil {
			return err
		}
		b.figure(kind.name, "%.0f", f.perSecond)
		b.figure("processor time of each, server + load generator", "%s", spent.each(f.sent))
	}
	return nil
}

// A flow is messages that people sent as fast as they were answered.
type flow struct {
	sent      int64
	perSecond float64
}

// flood lets people send as fast as they are answered, for as long as a rate is measured.
func (b *run) flood(label string, people int, room func(int) string) (flow, error) {
	end := time.Now().Add(b.options.Duration)
	return b.pour(label, people, room, func(int64) bool { return time.Now().Before(end) })
}

// pour lets people send while there is more to send, which is asked with how
// much has been.
func (b *run) pour(label string, people int, room func(int) string, more func(sent int64) bool) (f flow, err error) {
	label = url.PathEscape(strings.ReplaceAll(label, "/", ""))
	var count atomic.Int64
	var failure atomic.Pointer[error]
	var all sync.WaitGroup
	lines := make([]*line, people)
	for i := range lines {
		if lines[i], err = b.client.dial(b.users[i].token, room(i)); err != nil {
			return f, err
		}
		defer lines[i].close()
	}
	begin := time.Now()
	for _, line := range lines {
		all.Go(func() {
			for n := 0; more(count.Load()); n++ {
				if err := line.send(fmt.Sprintf("%s-%d", label, n)); err != nil {
					failure.Store(&err)
					return
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	if e := failure.Load(); e != nil {
		return f, *e
	}
	f.sent = count.Load()
	f.perSecond = float64(f.sent) / time.Since(begin).Seconds()
	return f, nil
}

// latency is the time from a send to the receiver's /sync at a steady rate.
func (b *run) latency() error {
	const rate = 500
	room, reader := b.users[0].room, b.users[1]
	var all sync.WaitGroup
	took, err := b.steadily(reader.token, "lat", rate, int(b.options.Duration.Seconds()*rate), func(n int, text string) error {
		all.Go(func() {
			// A send that fails leaves the listener waiting until its deadline.
			_ = b.client.say(b.ctx, b.users[2+n%(b.options.Senders-2)].token, room, fmt.Sprint("lat", n), text)
		})
		return nil
	})
	all.Wait()
	if err != nil {
		return err
	}
	b.figure("send → /sync at 500/s, p50", "%.2f ms", milliseconds(took[len(took)/2]))
	b.figure("send → /sync at 500/s, p99", "%.2f ms", milliseconds(took[len(took)*99/100]))
	return nil
}

// steadily has something said at a rate, so many times a second, and returns how long each took to the
// reader's /sync, the fastest first.
func (b *run) steadily(reader, label string, rate, total int, say func(n int, text string) error) ([]time.Duration, error) {
	first, err := b.client.sync(b.ctx, reader, "", 0)
	if err != nil {
		return nil, err
	}
	sent := make([]time.Time, total)
	var mu sync.Mutex
	var took []time.Duration
	done := make(chan error, 1)
	go func() {
		done <- b.listen(reader, first.Next, func(body string) bool {
			var n int
			if _, err := fmt.Sscanf(body, label+"-%d:", &n); err != nil || n >= total {
				return false
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(sent[n]))
			return len(took) == total
		})
	}()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for n := range total {
		<-tick.C
		mu.Lock()
		sent[n] = time.Now()
		mu.Unlock()
		if err := say(n, fmt.Sprintf("%s-%d: line %d, as people write it, not too long", label, n, n)); err != nil {
			return nil, err
		}
	}
	if err := <-done; err != nil {
		return nil, err
	}
	slices.Sort(took)
	return took, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// listen syncs until seen answers true for a message.
func (b *run) listen(token, since string, seen func(body string) bool) error {
	ctx, cancel := context.WithTimeout(b.ctx, 2*time.Minute)
	defer cancel()
	for {
		answer, err := b.client.sync(ctx, token, since, 10*time.Second)
		if err != nil {
			return err
		}
		since = answer.Next
		for _, room := range answer.Rooms.Join {
			for _, e := range room.Timeline.Events {
				if seen(e.Content.Body) {
					return nil
				}
			}
		}
	}
}

// delivery is how fast an application service is sent what has waited for it.
func (b *run) delivery() error {
	if err := b.mark("mark-before"); err != nil {
		return err
	}
	// The service is away while people talk.
	b.service.mu.Lock()
	if _, err := b.backlog(); err != nil {
		b.service.mu.Unlock()
		return err
	}
	before := b.service.events
	b.service.mu.Unlock()
	stop, err := b.server.watchMemory()
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := b.mark("mark-after"); err != nil {
		return err
	}
	took, events := time.Since(begin), b.service.seen()-before
	more, err := stop()
	if err != nil {
		return err
	}
	b.figure("application service, events/s while catching up", "%.0f (%d events)", float64(events)/took.Seconds(), events)
	b.figure("growth of the process meanwhile", "%.1f MB", float64(more)/1e6)
	return nil
}

func (b *run) backlog() (flow, error) {
	return b.flood("backlog", b.options.Senders, func(int) string { return b.users[0].room })
}

// mark sends a message and waits until the service has it.
func (b *run) mark(txn string) error {
	if err := b.client.send(b.ctx, b.users[0].token, b.users[0].room, txn); err != nil {
		return err
	}
	return b.arrived(txn, 2*time.Minute)
}

// arrived waits until the service has a message.
func (b *run) arrived(txn string, patience time.Duration) error {
	for deadline := time.Now().Add(patience); !b.service.marked(txn); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("the application service was not sent %s", txn)
		}
	}
	return b.ctx.Err()
}

// page is the time that 20 events of history take.
func (b *run) page() error {
	var took []time.Duration
	path := "/_matrix/client/v3/rooms/" + url.PathEscape(b.users[0].room) + "/messages?dir=b&limit=20"
	from := ""
	for range 200 {
		var answer struct {
			End string `json:"end"`
		}
		begin := time.Now()
		if err := b.client.call(b.ctx, http.MethodGet, path+from, b.users[1].token, nil, &answer); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
		from = "&from=" + url.QueryEscape(answer.End)
		if answer.End == "" {
			from = ""
		}
	}
	slices.Sort(took)
	b.figure("a page of 20 events, p50", "%.2f ms", milliseconds(took[len(took)/2]))
	return nil
}

// idle is the memory of clients that wait for news.
func (b *run) idle() error {
	// A server that was busy has memory to spare, which would hide what clients take.
	b.server.kill()
	if err := b.server.start(b.ctx); err != nil {
		return err
	}
	caughtUp := make([]string, b.options.Senders-1) // tokens of the people who will wait
	for i := range caughtUp {
		first, err := b.client.sync(b.ctx, b.users[1+i].token, "", 0)
		if err != nil {
			return err
		}
		caughtUp[i] = first.Next
	}
	before, err := b.server.memory()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(b.ctx)
	var all sync.WaitGroup
	var waiting atomic.Int64
	arrival := time.NewTicker(time.Second / arrivals)
	defer arrival.Stop()
	for i := range b.options.Idle {
		<-arrival.C
		all.Go(func() {
			waiting.Add(1)
			who := i % len(caughtUp)
			token := caughtUp[who]
			for {
				// Ended by stop, which is an error that does not matter.
				answer, err := b.client.sync(ctx, b.users[1+who].token, token, 4*time.Minute)
				if err != nil {
					break
				}
				token = answer.Next
			}
			waiting.Add(-1)
		})
	}
	time.Sleep(3 * time.Second) // all have come and wait
	wait := waiting.Load()
	after, err := b.server.memory()
	stop()
	all.Wait()
	if err != nil {
		return err
	}
	if wait != int64(b.options.Idle) {
		return fmt.Errorf("%d of %d clients wait", wait, b.options.Idle)
	}
	b.figure("memory for a client that waits", "%.1f KB", float64(after-before)/1000/float64(b.options.Idle))
	return nil
}

// restart is the time until a killed server answers again.
func (b *run) restart() error {
	var took []time.Duration
	for range 5 {
		b.server.kill()
		begin := time.Now()
		if err := b.server.start(b.ctx); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.figure("start until the first answer, after kill -9", "%.0f ms", milliseconds(took[len(took)/2]))
	return nil
}
