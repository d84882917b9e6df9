package outbox

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of all destinations together.
type metrics struct {
	transactions *prometheus.CounterVec
	events       *prometheus.CounterVec
	seconds      prometheus.Histogram
}

// What became of transactions, as metrics have it.
const (
	resultTaken   = "taken"
	resultFailed  = "failed"   // it is sent again
	resultGivenUp = "given_up" // the destination says, again and again, that it is no good
)

// What became of events, as metrics have it.
const (
	eventsSent    = "sent"
	eventsSkipped = "skipped" // the destination was away for so long that it has to ask for them
	eventsGivenUp = "given_up"
)

func newMetrics() *metrics {
	return &metrics{
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trestle_outbox_transactions_total", Help: "What became of attempts to send transactions to other servers.",
		}, []string{"result"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trestle_outbox_events_total", Help: "What became of events for other servers, once for each of them.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "trestle_outbox_seconds", Help: "Time until another server answered to a transaction, or did not.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 15),
		}),
	}
}

// transaction counts an attempt.
func (m *metrics) transaction(o *outcome, events int, took time.Duration) {
	result := resultFailed
	switch {
	case o.taken:
		result = resultTaken
		m.events.WithLabelValues(eventsSent).Add(float64(events))
	case o.givenUp:
		result = resultGivenUp
		m.events.WithLabelValues(eventsGivenUp).Add(float64(events))
	}
	m.transactions.WithLabelValues(result).Inc()
	m.seconds.Observe(took.Seconds())
}

// Register makes the figures known.
func (s *Service) Register(registry prometheus.Registerer) {
	m := s.metrics
	registry.MustRegister(m.transactions, m.events, m.seconds, gauges{s})
}

var (
	waitingEvents = prometheus.NewDesc("trestle_outbox_events_waiting", "Events that wait to be sent to other servers, once for each of them.", nil, nil)
	waitingFor    = prometheus.NewDesc("trestle_outbox_servers_waiting", "Other servers for which something waits.", nil, nil)
	failingFor    = prometheus.NewDesc("trestle_outbox_servers_failing", "Those of them that have not taken what they were sent last.", nil, nil)
	behind        = prometheus.NewDesc("trestle_outbox_positions_behind", "Changes of which it is not known yet which servers have to hear of them.", nil, nil)
)

// gauges are the figures that are counted when somebody asks.
type gauges struct{ service *Service }

// Describe implements prometheus.Collector.
func (gauges) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{waitingEvents, waitingFor, failingFor, behind} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var events, servers, failing int
	known := g.service.desk.ask(ctx, func() {
		for _, d := range g.service.desk.destinations {
			if !d.some() {
				continue
			}
			servers++
			events += max(0, d.waiting+d.arrived)
			if d.doubtful() {
				failing++
			}
		}
	})
	to <- prometheus.MustNewConstMetric(behind, prometheus.GaugeValue, float64(max(0, g.service.Stream.Position()-g.service.Position())))
	if !known {
		return
	}
	to <- prometheus.MustNewConstMetric(waitingEvents, prometheus.GaugeValue, float64(events))
	to <- prometheus.MustNewConstMetric(waitingFor, prometheus.GaugeValue, float64(servers))
	to <- prometheus.MustNewConstMetric(failingFor, prometheus.GaugeValue, float64(failing))
}
