package sender

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A collector shows the status of every service to Prometheus.
type collector struct {
	service *Service
	metrics []metric
}

type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s *Status, now time.Time) float64
}

// Collector is to be registered with a Prometheus registry. It keeps no numbers
// of its own, so that services which come and go need no care.
func (s *Service) Collector() prometheus.Collector {
	c := &collector{service: s}
	add := func(kind prometheus.ValueType, name, help string, value func(s *Status, now time.Time) float64) {
		desc := prometheus.NewDesc("trestle_appservice_"+name, help, []string{"appservice"}, nil)
		c.metrics = append(c.metrics, metric{desc, kind, value})
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	add(gauge, "backlog_events", "Events that wait for delivery; after a start, until they have been read, at most so many.",
		func(s *Status, _ time.Time) float64 { return float64(s.Backlog()) })
	add(gauge, "backlog_positions", "Positions of the stream not looked at yet.",
		func(s *Status, _ time.Time) float64 { return float64(s.Behind) })
	add(gauge, "oldest_event_age_seconds", "Age of the oldest event that waits for delivery.",
		func(s *Status, now time.Time) float64 { return seconds(s.Oldest, now) })
	add(gauge, "retry_attempts", "Failed attempts of the current transaction.",
		func(s *Status, _ time.Time) float64 { return float64(s.Attempts) })
	add(gauge, "next_attempt_seconds", "Time until the next attempt.",
		func(s *Status, now time.Time) float64 { return max(0, -seconds(s.NextAttempt, now)) })
	add(gauge, "last_error_timestamp_seconds", "When an attempt last failed, or 0.",
		func(s *Status, _ time.Time) float64 { return timestamp(s.LastErrorAt) })
	add(gauge, "last_success_timestamp_seconds", "When a transaction was last delivered, or 0.",
		func(s *Status, _ time.Time) float64 { return timestamp(s.LastSuccess) })
	add(gauge, "paused", "1 if an operator has paused the delivery.",
		func(s *Status, _ time.Time) float64 {
			if s.Paused {
				return 1
			}
			return 0
		})
	add(gauge, "dead_letters", "Transactions that operators have skipped, and neither replayed nor discarded.",
		func(s *Status, _ time.Time) float64 { return float64(s.DeadLetters) })
	add(gauge, "events_per_second", "Delivered events a second, of the last half minute.",
		func(s *Status, _ time.Time) float64 { return s.Rate })
	add(gauge, "last_request_seconds", "Duration of the last successful transaction.",
		func(s *Status, _ time.Time) float64 { return s.LastDuration.Seconds() })
	add(counter, "events_total", "Delivered events.",
		func(s *Status, _ time.Time) float64 { return float64(s.Events) })
	add(counter, "transactions_total", "Delivered transactions.",
		func(s *Status, _ time.Time) float64 { return float64(s.Transactions) })
	add(counter, "failures_total", "Failed attempts.",
		func(s *Status, _ time.Time) float64 { return float64(s.Failures) })
	return c
}

func timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func seconds(from, now time.Time) float64 {
	if from.IsZero() {
		return 0
	}
	return now.Sub(from).Seconds()
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range c.metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	for _, status := range c.service.Status() {
		for _, m := range c.metrics {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&status, now), status.ID)
		}
	}
}
