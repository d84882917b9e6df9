package bridge

import "github.com/prometheus/client_golang/prometheus"

// metrics are the framework's figures.
type metrics struct {
	toMatrix prometheus.Counter
	refused  prometheus.Counter
	retries  prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer, b *Bridge) *metrics {
	m := &metrics{
		toMatrix: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trestle_bridge_sent_to_matrix_total", Help: "Events that the homeserver took from the bridge.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trestle_bridge_refused_by_matrix_total", Help: "Events and memberships that the homeserver refused for good.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trestle_bridge_matrix_retries_total", Help: "Requests to the homeserver that had to be repeated.",
		}),
	}
	if registerer != nil {
		registerer.MustRegister(m.toMatrix, m.refused, m.retries,
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "trestle_bridge_to_matrix_waiting", Help: "What the bridge has yet to send to rooms.",
			}, func() float64 { return float64(b.waiting()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "trestle_bridge_from_matrix_waiting", Help: "Events of the homeserver that are not worked off.",
			}, func() float64 { return float64(b.inbox.Pending()) }),
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "trestle_bridge_portals", Help: "Channels that have a room.",
			}, func() float64 { return float64(b.rooms()) }),
		)
	}
	return m
}

// waiting counts the queue's entries that have a room to go to.
func (b *Bridge) waiting() int {
	n := 0
	for _, p := range b.Portals() {
		if p.Room() != "" {
			n += p.Queued()
		}
	}
	return n
}

// Queued counts what the portal's room, or the one that it will have, is yet to get.
func (p *Portal) Queued() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, queued := range p.queued {
		n += queued
	}
	return n
}

func (b *Bridge) rooms() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.byRoom)
}

// Status is what operators ask for.
type Status struct {
	Portals           int `json:"portals"`   // channels that have a room
	Listening         int `json:"listening"` // channels that have none
	WaitingToMatrix   int `json:"waiting_to_matrix"`
	WaitingFromMatrix int `json:"waiting_from_matrix"`
}

// Status counts.
func (b *Bridge) Status() Status {
	rooms := b.rooms()
	return Status{
		Portals: rooms, Listening: len(b.Portals()) - rooms,
		WaitingToMatrix: b.waiting(), WaitingFromMatrix: b.inbox.Pending(),
	}
}
