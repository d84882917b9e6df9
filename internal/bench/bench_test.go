package bench_test

import (
	"strings"
	"testing"
	"time"

	"trestle/internal/bench"
	"trestle/internal/testkit"
)

// TestEveryFigureIsMeasured runs all measurements, too short to mean anything;
// on PostgreSQL those that treat it in a way of their own.
func TestEveryFigureIsMeasured(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		o := bench.Options{Binary: testkit.Binary(t), Duration: 200 * time.Millisecond, Senders: 4, Idle: 20, Rooms: 30, Members: 20, Services: 3, Puppets: 5, Quits: 50, Log: t.Output()}
		want := 29
		if strings.HasPrefix(url, "postgres") {
			o.Database, o.Only = url, []string{"latency", "crowd"}
			want = 3
		}
		figures, err := bench.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(figures) != want {
			t.Errorf("%d figures: %v", len(figures), figures)
		}
		for _, f := range figures {
			if f.Name == "" || f.Value == "" || strings.HasPrefix(f.Value, "0 ") {
				t.Errorf("%s is %q", f.Name, f.Value)
			}
		}
	})
}

// TestBacklog is a service that catches up, which no default run measures.
func TestBacklog(t *testing.T) {
	o := bench.Options{Binary: testkit.Binary(t), Senders: 4, Events: 500, Only: []string{"backlog"}, Log: t.Output()}
	figures, err := bench.Run(t.Context(), o)
	if err != nil || len(figures) != 2 {
		t.Errorf("%v, %v", figures, err)
	}
}

// TestOnlySomeFigures measures what was asked for.
func TestOnlySomeFigures(t *testing.T) {
	o := bench.Options{Binary: testkit.Binary(t), Duration: 100 * time.Millisecond, Senders: 3, Only: []string{"page"}, Log: t.Output()}
	figures, err := bench.Run(t.Context(), o)
	if err != nil || len(figures) != 1 {
		t.Errorf("%v, %v", figures, err)
	}
	o.Only = []string{"the weather"}
	if _, err := bench.Run(t.Context(), o); err == nil {
		t.Error("nonsense was measured")
	}
}
