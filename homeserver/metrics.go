package homeserver

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// groupMetrics is how writes are committed.
type groupMetrics struct {
	size    prometheus.Histogram
	seconds prometheus.Histogram
}

func newGroupMetrics(registry prometheus.Registerer) *groupMetrics {
	m := &groupMetrics{
		size: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "trestle_commit_group_size", Help: "Writes committed in one transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 9),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "trestle_commit_seconds", Help: "Time from the begin of a transaction until it was durable.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
	}
	registry.MustRegister(m.size, m.seconds)
	return m
}

func (m *groupMetrics) observe(functions int, took time.Duration) {
	m.size.Observe(float64(functions))
	m.seconds.Observe(took.Seconds())
}
