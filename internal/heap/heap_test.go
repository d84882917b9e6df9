package heap

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func percent() uint64 {
	now := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(now)
	return now[0].Value.Uint64()
}

// A small heap gets its headroom, a large one what it always had.
func TestKeepHeadroom(t *testing.T) {
	before := debug.SetGCPercent(usual)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	if given, ok := os.LookupEnv("GOGC"); ok {
		t.Cleanup(func() { _ = os.Setenv("GOGC", given) })
	}
	t.Setenv("GOGC", "150")
	KeepHeadroom(64 << 20)
	if got := percent(); got != usual {
		t.Fatalf("%d%%, though an operator has decided", got)
	}
	t.Setenv("GOGC", "")
	KeepHeadroom(64 << 20)
	until := func(name string, ok func(uint64) bool) {
		t.Helper()
		for deadline := time.Now().Add(2 * time.Minute); !ok(percent()); runtime.GC() {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d%%", name, percent())
			}
		}
	}
	until("small", func(p uint64) bool { return p > 200 })
	ballast := make([]byte, 32<<20)
	until("with 32 MB", func(p uint64) bool { return p > 150 && p <= 200 })
	more := make([]byte, 64<<20)
	until("with 96 MB", func(p uint64) bool { return p == usual })
	runtime.KeepAlive(ballast)
	runtime.KeepAlive(more)
	more = nil
	until("less again", func(p uint64) bool { return p > usual })
	_ = more
}

func TestPercent(t *testing.T) {
	h := &headroom{bytes: 64 << 20}
	for live, want := range map[uint64]int{0: most, 1: most, 16 << 20: 400, 64 << 20: 100, 1 << 40: 100} {
		if got := h.percentFor(live); got != want {
			t.Errorf("%d bytes: %d%%, want %d", live, got, want)
		}
	}
}
