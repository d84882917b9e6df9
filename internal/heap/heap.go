// Package heap sets how often the garbage collector runs.
package heap

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	usual = 100  // percent that the heap grows by between collections, as the runtime has it
	most  = 1000 // and at most
)

// KeepHeadroom has at least so many bytes be allocated between two collections. The
// runtime lets a heap double, which for a small one is soon: a server with little
// in memory that is busy would collect all the time, while those who wait are held up. A larger
// heap doubles as ever. An operator who has set GOGC is left alone.
func KeepHeadroom(bytes uint64) {
	if os.Getenv("GOGC") != "" {
		return
	}
	h := &headroom{bytes: bytes, percent: usual}
	h.adjust()
	h.watch()
}

type headroom struct {
	bytes   uint64
	percent int // as set last
}

// watch adjusts after each collection: it is then that something goes away which
// nothing refers to.
func (h *headroom) watch() {
	runtime.AddCleanup(new([16]byte), func(h *headroom) {
		h.adjust()
		h.watch()
	}, h)
}

func (h *headroom) adjust() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	percent := h.percentFor(live[0].Value.Uint64())
	// Setting it stops the world for a moment.
	if math.Abs(float64(percent-h.percent)) >= float64(h.percent)/10 {
		debug.SetGCPercent(percent)
		h.percent = percent
	}
}

// percentFor is by how much a heap with so many live bytes may grow.
func (h *headroom) percentFor(live uint64) int {
	if live == 0 {
		return most
	}
	return int(min(max(h.bytes*100/live, usual), most))
}
