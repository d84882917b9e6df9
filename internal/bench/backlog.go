package bench

import (
	"fmt"
	"net/http"
	"time"
)

const (
	// pulse is how often it is looked how far a service is, and how large the
	// server.
	pulse = 100 * time.Millisecond
	// slowest is the rate at which a backlog is given up for lost.
	slowest = 200
)

// longBacklog is how a service catches up with a great number of events, all of
// which have come while it was away, and whether the server grows with them.
func (b *run) longBacklog() error {
	total := int64(b.options.Events)
	b.service.away.Store(true)
	if _, err := b.pour("longbacklog", b.options.Senders, func(i int) string { return b.users[i].room }, func(sent int64) bool { return sent < total }); err != nil {
		return err
	}
	if err := b.client.send(b.ctx, b.users[0].token, b.users[0].room, "mark-long"); err != nil {
		return err
	}
	// A process that was busy has memory to spare, which would hide what this takes.
	b.server.kill()
	if err := b.server.start(b.ctx); err != nil {
		return err
	}
	before, err := b.server.memory()
	if err != nil {
		return err
	}
	from := b.service.seen()
	b.service.away.Store(false)
	begin := time.Now()
	if err := b.client.call(b.ctx, http.MethodPost, "/_matrix/client/v1/appservice/bench/ping", b.service.asToken, map[string]any{}, nil); err != nil {
		return err
	}
	sizes, err := b.watchCatchUp("mark-long", time.Minute+time.Duration(total)*time.Second/slowest)
	if err != nil {
		return err
	}
	took, events := time.Since(begin), b.service.seen()-from
	b.figure(fmt.Sprintf("application service, events/s after %d have waited", total), "%.0f (%d events)", float64(events)/took.Seconds(), events)
	b.figure("memory of the server before, after the first half and at most", "%.0f, %.0f, %.0f MB",
		float64(before)/1e6, float64(most(sizes[:(len(sizes)+1)/2]))/1e6, float64(most(sizes))/1e6)
	return nil
}

// watchCatchUp waits until the service has a message, and returns the memory of
// the server at regular intervals until then.
func (b *run) watchCatchUp(mark string, patience time.Duration) ([]int64, error) {
	var sizes []int64
	tick := time.NewTicker(pulse)
	defer tick.Stop()
	arrived := make(chan error, 1)
	go func() { arrived <- b.arrived(mark, patience) }()
	for {
		size, err := b.server.memory()
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, size)
		select {
		case err := <-arrived:
			return sizes, err
		case <-tick.C:
		}
	}
}

func most(sizes []int64) int64 {
	var largest int64
	for _, size := range sizes {
		largest = max(largest, size)
	}
	return largest
}
