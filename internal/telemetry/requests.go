package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Requests counts HTTP requests by route, and how long they took.
type Requests struct {
	seconds *prometheus.HistogramVec
}

// NewRequests registers trestle_http_request_seconds. Long polls are in it
// too, so that /sync is best looked at by itself.
func NewRequests(registry prometheus.Registerer) *Requests {
	r := &Requests{seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "trestle_http_request_seconds",
		Help:    "Time from a request's arrival to the end of its answer, by route and status.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 30},
	}, []string{"method", "route", "status"})}
	registry.MustRegister(r.seconds)
	return r
}

// Request counts one request. The pattern is the route as declared, never
// the path that was asked for, of which there is no end; it is empty if no
// route took the request.
func (r *Requests) Request(method, pattern string, status int, took time.Duration) {
	if pattern == "" {
		// The method of a request that nothing serves can be any word.
		method, pattern = "", "none"
	}
	r.seconds.WithLabelValues(method, pattern, strconv.Itoa(status)).Observe(took.Seconds())
}
