package database

import (
	"sync/atomic"
	"time"
)

// portionTime is how long others may wait for a background writer: little beside
// a commit.
const portionTime = time.Millisecond

// A Portion is how much a background writer puts into one function. It is
// found by measuring, so that those who write because somebody waits lose
// little time behind it on any engine and machine. It is safe for concurrent use.
type Portion struct {
	least, most int64
	size        atomic.Int64
}

// NewPortion makes a Portion between two sizes. It begins with the least.
func NewPortion(least, most int) *Portion {
	p := &Portion{least: int64(least), most: int64(most)}
	p.size.Store(int64(least))
	return p
}

// Size is how much to write next.
func (p *Portion) Size() int { return int(p.size.Load()) }

// Took takes in how long it took to write so much.
func (p *Portion) Took(n int, d time.Duration) {
	size := p.size.Load()
	switch {
	case d > portionTime:
		size = int64(float64(n) * float64(portionTime) / float64(d))
	case d < portionTime/2 && int64(n) >= size:
		size += max(size/2, 1)
	}
	p.size.Store(min(max(size, p.least), p.most))
}
