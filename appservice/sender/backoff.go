package sender

import (
	"context"
	"math/rand/v2"
	"time"
)

// A backoff doubles from its first pause up to its longest. Each pause is
// shortened by up to half at random, so that what failed together does not come
// back together.
type backoff struct{ first, longest, current time.Duration }

func newBackoff(first, longest time.Duration) *backoff {
	return &backoff{first: first, longest: longest}
}

func (b *backoff) reset() { b.current = 0 }

func (b *backoff) next() time.Duration {
	b.current = min(max(b.first, 2*b.current), b.longest)
	return b.current/2 + rand.N(b.current/2+1)
}

// wait returns true when the signal comes, and false when the time is over or
// the context has ended. Without a duration it waits for the other two.
func wait(ctx context.Context, d time.Duration, s signal) bool {
	var over <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-s:
		return true
	case <-over:
	case <-ctx.Done():
	}
	return false
}
