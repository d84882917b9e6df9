package pushers

import (
	"time"

	"trestle/internal/matrix"
)

// A job is a pusher.
type job struct {
	id       int64
	user     matrix.UserID
	place    *place
	state    jobState
	again    bool // was woken while it worked
	dropped  bool // went while it worked
	patient  bool // is not to be woken from its rest
	failures int
	at       time.Time // of its alarm
	index    int       // in the alarms
}

type jobState int

const (
	idle    jobState = iota // nothing to do
	queued                  // wants to work
	working                 // works
	resting                 // until its alarm
)

// A place is where pushers send to.
type place struct {
	name     string
	jobs     int
	queue    []*job
	working  int
	answers  int // in a row, up to [PlaceAtOnce]
	failures int
	until    time.Time // left alone until then
}

// alarms is a heap of resting jobs, the next one first.
type alarms []*job

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, k int) bool { return a[i].at.Before(a[k].at) }
func (a alarms) Swap(i, k int) {
	a[i], a[k] = a[k], a[i]
	a[i].index, a[k].index = i, k
}

// Push implements heap.Interface.
func (a *alarms) Push(x any) {
	j := x.(*job)
	j.index = len(*a)
	*a = append(*a, j)
}

// Pop implements heap.Interface.
func (a *alarms) Pop() any {
	old := *a
	j := old[len(old)-1]
	old[len(old)-1] = nil
	*a = old[:len(old)-1]
	j.index = -1
	return j
}
