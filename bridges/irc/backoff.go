package irc

import (
	"math/rand/v2"
	"time"
)

// delay is the wait after the given number of failures in a row, from 1: at least half
// of it is certain, so that a network is not stormed, and the rest is chance, so that
// those who were cut off together do not come back together.
func (b Backoff) delay(failures int) time.Duration {
	d := b.Max
	if failures < 20 {
		d = min(b.First<<max(failures-1, 0), b.Max)
	}
	return d/2 + time.Duration(rand.Int64N(int64(d)/2+1))
}
