package database

import (
	"context"
	"slices"
	"time"
)

// backgroundPatience is how long a background function waits for a moment in
// which nobody else has anything to write.
const backgroundPatience = 10 * time.Millisecond

// A Turn is how a background function went.
type Turn struct {
	Took   time.Duration // with its commit
	Shared bool          // others write at the same time
}

const (
	// restAlone and restShared are how many times as long as it took a background
	// writer rests: those who write because somebody waits share the database with
	// it, and lose a twentieth of it at most.
	restAlone  = 3
	restShared = 19
)

// Rest is how long a background writer then leaves the database to others.
func (t Turn) Rest() time.Duration {
	if t.Shared {
		return restShared * t.Took
	}
	return restAlone * t.Took
}

// Background is [DB.Update] for what can be made again, such as an index. It has
// a transaction of its own, as soon as nobody else has anything to write, and that is
// not flushed: a crash of the machine or of PostgreSQL may undo it, and
// then also every later one of its kind, but never something that comes before it.
// So it has to store how far it has come with what it stores, and nothing else
// may rely on it. It should be small; see [Portion].
func (db *DB) Background(ctx context.Context, fn func(tx *Tx) error) (Turn, error) {
	if err := ctx.Err(); err != nil {
		return Turn{}, err
	}
	answer := make(chan error, 1)
	j := &job{fn: fn, done: func(err error) { answer <- err }, turn: new(Turn)}
	c := db.commits
	if err := c.addBackground(j); err != nil {
		return Turn{}, err
	}
	// The others may go on writing without a pause.
	timer := time.AfterFunc(c.patience, func() { c.hurry(j) })
	defer timer.Stop()
	err := c.wait(ctx, j, answer)
	return *j.turn, err
}

func (c *committer) addBackground(j *job) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	j.turn.Shared = time.Since(c.served) < c.patience
	c.background = append(c.background, j)
	c.awake()
	return nil
}

// hurry has a background function go before those who come from now on.
func (c *committer) hurry(j *job) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.background, j); i >= 0 {
		c.background = slices.Delete(c.background, i, i+1)
		c.waiting = append(c.waiting, j)
		c.awake()
	}
}
