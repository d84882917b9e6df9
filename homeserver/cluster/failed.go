package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/internal/matrix"
)

// failed answers a request that no leader has answered.
func (f *Forwarder) failed(w http.ResponseWriter, r *http.Request, err error) {
	var lost *lostError
	switch {
	case r.Context().Err() != nil && errors.Is(err, context.Canceled):
		w.WriteHeader(499) // nobody sees it
		return
	case errors.Is(err, errBody):
		answer(w, matrix.NotJSON("The request body ended early."))
		return
	case errors.As(err, &lost):
		f.metrics.lost.Inc()
		later(w, matrix.NewError(http.StatusBadGateway, "M_UNKNOWN", "The process that had this request ended; it is not known whether it was done."))
	case errors.Is(err, errNobody), errors.Is(err, errTooMany), errors.Is(err, errStopping), errors.Is(err, errDeposed):
		f.metrics.refused.Inc()
		Unavailable(w)
	default:
		f.metrics.lost.Inc()
		later(w, matrix.NewError(http.StatusBadGateway, "M_UNKNOWN", "The request could not be passed on."))
	}
	f.options.Log.DebugContext(r.Context(), "request not passed on", "err", err, "method", r.Method, "path", r.URL.Path)
}

// Unavailable answers that nobody serves at this moment.
func Unavailable(w http.ResponseWriter) {
	later(w, matrix.NewError(http.StatusServiceUnavailable, "M_UNKNOWN", "The server is changing over; try again in a moment."))
}

// later is an answer after which clients try again.
func later(w http.ResponseWriter, e *matrix.Error) {
	w.Header().Set("Retry-After", "1")
	answer(w, e)
}

func answer(w http.ResponseWriter, e *matrix.Error) {
	text, err := json.Marshal(e)
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(e.Status)
	_, _ = w.Write(text)
}

// metrics are how forwarding goes.
type metrics struct {
	waiting       prometheus.Gauge
	lost, refused prometheus.Counter
}

func newMetrics(registry prometheus.Registerer) *metrics {
	unanswered := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "trestle_cluster_unanswered_total",
		Help: "Requests that no leader has answered: because there was none, or because it was lost meanwhile.",
	}, []string{"reason"})
	m := &metrics{
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{Name: "trestle_cluster_waiting", Help: "Requests that wait for a process that leads."}),
		lost:    unanswered.WithLabelValues("lost"), refused: unanswered.WithLabelValues("nobody"),
	}
	if registry != nil {
		registry.MustRegister(m.waiting, unanswered)
	}
	return m
}
