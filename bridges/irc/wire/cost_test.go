package wire_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"trestle/bridges/irc/wire"
	"trestle/internal/testkit"
)

// Idle connections of a thousand people must fit into a small machine.
const (
	mostBytes      = 60 << 10
	mostGoroutines = 3
)

func TestIdleCost(t *testing.T) {
	bytes, goroutines := idleCost(t, testkit.Ngircd(t, testkit.IRCOptions{}), 200)
	t.Logf("%.0f bytes and %.1f goroutines for each connection", bytes, goroutines)
	if bytes > mostBytes || goroutines > mostGoroutines {
		t.Errorf("the budget is %d bytes and %d goroutines", mostBytes, mostGoroutines)
	}
}

func BenchmarkIdleConnections(b *testing.B) {
	server := testkit.Ngircd(b, testkit.IRCOptions{})
	for b.Loop() {
		bytes, goroutines := idleCost(b, server, 1000)
		b.ReportMetric(bytes, "B/conn")
		b.ReportMetric(goroutines, "goroutines/conn")
	}
}

// idleCost is what each of some connections holds that have joined a channel and are
// left alone.
func idleCost(t testing.TB, server *testkit.IRCServer, count int) (bytes, goroutines float64) {
	heap, running := inUse(), runtime.NumGoroutine()
	conns := make([]*wire.Conn, count)
	var all sync.WaitGroup
	shared := new(wire.Shared)
	gate := make(chan struct{}, 20)
	for i := range conns {
		all.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			c, err := wire.Dial(t.Context(), wire.Options{Addr: server.Addr, Nick: fmt.Sprintf("puppet%d", i), Shared: shared})
			if err == nil {
				err = c.JoinChannel(t.Context(), fmt.Sprintf("#c%d", i%50), "")
			}
			if err != nil {
				t.Error(err)
				return
			}
			conns[i] = c
		})
	}
	all.Wait()
	bytes = float64(inUse()-heap) / float64(count)
	goroutines = float64(runtime.NumGoroutine()-running) / float64(count)
	for _, c := range conns {
		if c != nil {
			all.Go(func() { c.Close() })
		}
	}
	all.Wait()
	return bytes, goroutines
}

// inUse is the memory that stays after a collection: objects and stacks.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

func BenchmarkParse(b *testing.B) {
	const line = "@time=2026-01-02T03:04:05.678Z;msgid=abc;account=bob :bob!bob@example.org PRIVMSG #trestle :Hello there, how are you?"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := wire.Parse(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSplitText(b *testing.B) {
	for name, text := range fourKB {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				wire.SplitText(text, 439)
			}
		})
	}
}
