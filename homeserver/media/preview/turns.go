package preview

import (
	"context"
	"sync"

	"trestle/internal/matrix"
)

// turns keep one user from taking all there is: who wants more at the same time
// waits for their own.
type turns struct {
	each int

	mu    sync.Mutex
	users map[matrix.UserID]*turn
}

type turn struct {
	slots chan struct{}
	using int // who holds one or waits for one
}

func newTurns(each int) *turns { return &turns{each: each, users: map[matrix.UserID]*turn{}} }

// take waits for one of a user's turns, until the context ends. done gives it
// back.
func (t *turns) take(ctx context.Context, user matrix.UserID) (done func(), err error) {
	t.mu.Lock()
	u := t.users[user]
	if u == nil {
		u = &turn{slots: make(chan struct{}, t.each)}
		t.users[user] = u
	}
	u.using++
	t.mu.Unlock()
	select {
	case u.slots <- struct{}{}:
		return func() { <-u.slots; t.leave(user, u) }, nil
	case <-ctx.Done():
		t.leave(user, u)
		return nil, ctx.Err()
	}
}

func (t *turns) leave(user matrix.UserID, u *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if u.using--; u.using == 0 {
		delete(t.users, user)
	}
}
