package database

import (
	"context"
	"slices"
	"time"
)

// rideAlone is how long a background function waits for company: those who
// write because somebody waits come again at once, or are gone.
const rideAlone = 10 * time.Millisecond

// A Ride is how a background function went.
type Ride struct {
	Took  time.Duration // by its own statements
	Along bool          // in a transaction that was needed anyway: others write at the same time
}

const (
	// restAlone and restAlong are how many times as long as it took a background
	// writer rests: those who write because somebody waits share the database with
	// it, and lose a twentieth of it at most.
	restAlone = 3
	restAlong = 19
)

// Rest is how long a background writer then leaves the database to others.
func (r Ride) Rest() time.Duration {
	if r.Along {
		return restAlong * r.Took
	}
	return restAlone * r.Took
}

// Background is [DB.Update] for what nobody waits for, such as an index. While
// others write, it goes along with a transaction of theirs, as the last and the only
// one of its kind: a commit of its own would be one more that they wait for.
// It should be small; see [Portion].
func (db *DB) Background(ctx context.Context, fn func(tx *Tx) error) (Ride, error) {
	if err := ctx.Err(); err != nil {
		return Ride{}, err
	}
	answer := make(chan error, 1)
	j := &job{fn: fn, done: func(err error) { answer <- err }, ride: new(Ride)}
	c := db.commits
	along, err := c.addRider(j)
	if err != nil {
		return Ride{}, err
	}
	if along {
		timer := time.AfterFunc(c.alone, func() { c.depart(j) })
		defer timer.Stop()
	}
	err = c.wait(ctx, j, answer)
	return *j.ride, err
}

// addRider queues a background function: behind the others if they write, or else at once.
func (c *committer) addRider(j *job) (along bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false, ErrClosed
	}
	if time.Since(c.served) < c.alone {
		c.riders = append(c.riders, j)
		return true, nil
	}
	c.waiting = append(c.waiting, j)
	c.awake()
	return false, nil
}

// depart has a background function go alone that has found no company.
func (c *committer) depart(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.riders, j); i >= 0 {
		c.riders = slices.Delete(c.riders, i, i+1)
		c.waiting = append(c.waiting, j)
		c.awake()
	}
}

// rider is the background function that goes along with the next group, or nil.
func (c *committer) rider() *job {
	for len(c.riders) > 0 {
		j := c.riders[0]
		c.riders = slices.Delete(c.riders, 0, 1)
		if !j.dropped {
			j.taken, j.ride.Along = true, true
			return j
		}
	}
	return nil
}

// awake wakes the committing goroutine.
func (c *committer) awake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
