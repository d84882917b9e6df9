package bridge

import (
	"sync"
	"time"
)

// How many virtual users come to be because somebody has asked for them: whoever looks at a profile may, without an account, and
// there are endless names. Those who are met in channels are not counted.
const (
	askedBurst    = 200
	askedInterval = 2 * time.Second
)

// A quota is what is left of so many at once, and then one each interval.
type quota struct {
	mu     sync.Mutex
	left   int
	filled time.Time
}

// take counts one, if it is allowed.
func (q *quota) take(now time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := int(now.Sub(q.filled) / askedInterval); n > 0 || q.filled.IsZero() {
		q.left, q.filled = min(q.left+n, askedBurst), now
	}
	if q.left == 0 {
		return false
	}
	q.left--
	return true
}
