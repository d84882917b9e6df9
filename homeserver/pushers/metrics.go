package pushers

import "github.com/prometheus/client_golang/prometheus"

// metrics are the figures of all pushers together.
type metrics struct {
	sent    *prometheus.CounterVec
	seconds prometheus.Histogram
	pushers prometheus.Gauge
	working prometheus.Gauge
	silent  prometheus.Gauge
}

// What became of a notification, as metrics have it.
const (
	sentEvent   = "event"    // a gateway took it
	sentCount   = "count"    // a gateway took a count alone
	sentMail    = "mail"     // a relay took a mail
	failed      = "failed"   // it is tried again
	rejected    = "rejected" // the gateway does not know the key, and the pusher went
	expired     = "expired"  // it was too old
	undelivered = "refused"  // a relay does not take this mail, ever
)

func newMetrics() *metrics {
	return &metrics{
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "trestle_pushes_total", Help: "What became of notifications that pushers had to send.",
		}, []string{"result"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "trestle_push_seconds", Help: "Time until a push gateway answered, or did not.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 13),
		}),
		pushers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "trestle_pushers", Help: "Pushers that are switched on."}),
		working: prometheus.NewGauge(prometheus.GaugeOpts{Name: "trestle_pushers_working", Help: "Pushers that send, or look for something to send."}),
		silent: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "trestle_push_gateways_unreachable", Help: "Push gateways that do not answer while something waits for them.",
		}),
	}
}

// Register makes the figures known.
func (s *Service) Register(registry prometheus.Registerer) {
	m := s.metrics
	registry.MustRegister(m.sent, m.seconds, m.pushers, m.working, m.silent)
}
