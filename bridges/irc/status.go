package irc

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/bridges/bridge"
)

// statusWait bounds how long a network's loop may take to tell its status.
const statusWait = 2 * time.Second

// Status is what operators ask for.
type Status struct {
	Bridge   bridge.Status
	Networks []NetworkStatus
}

// NetworkStatus is one network's.
type NetworkStatus struct {
	ID, Name   string
	State      string // connected, or why not
	Connected  bool
	Failures   int // in a row
	Channels   int // that the bot is in
	Puppets    int // connected
	PuppetsOff int // wanted and not connected
}

// Status asks all networks.
func (s *Service) Status(ctx context.Context) Status {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	status := Status{Bridge: s.bridge.Status()}
	for _, n := range s.order {
		one := NetworkStatus{ID: n.config.ID, Name: n.config.Name, State: "not answering"}
		answer := make(chan NetworkStatus, 1)
		if n.running() && n.ask(ctx, func() { answer <- n.status(one) }) {
			one = <-answer
		}
		status.Networks = append(status.Networks, one)
	}
	return status
}

func (n *network) status(s NetworkStatus) NetworkStatus {
	s.Connected, s.Failures = n.bot.online, n.bot.failures
	switch {
	case n.bot.online:
		s.State = "connected"
	case n.bot.lastErr != nil:
		s.State = "not connected: " + decode(n.bot.lastErr.Error())
	default:
		s.State = "connecting"
	}
	for _, ch := range n.channels {
		if ch.joined {
			s.Channels++
		}
	}
	for _, p := range n.puppets {
		switch {
		case p.link != nil && p.link.conn != nil:
			s.Puppets++
		case len(p.wanted) > 0:
			s.PuppetsOff++
		}
	}
	return s
}

// metrics are the bridge's figures; those of each network are asked for when they are
// collected.
type metrics struct {
	toIRC       prometheus.Counter
	undelivered prometheus.Counter
	doubtful    prometheus.Counter
}

func newMetrics() *metrics {
	return &metrics{
		toIRC: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trestle_irc_delivered_total", Help: "Messages of Matrix users that IRC servers have taken.",
		}),
		undelivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trestle_irc_undelivered_total", Help: "Messages of Matrix users that could not be delivered to IRC.",
		}),
		doubtful: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trestle_irc_doubtful_total", Help: "Messages of which nobody can know whether they are on IRC once: the bridge or the server was killed at that moment.",
		}),
	}
}

// register shows the figures of a service that is put together.
func (m *metrics) register(registerer prometheus.Registerer, s *Service) {
	if registerer != nil {
		registerer.MustRegister(m.toIRC, m.undelivered, m.doubtful, &collector{s})
	}
}

var (
	describeUp       = prometheus.NewDesc("trestle_irc_network_up", "Whether the bot is connected.", []string{"network"}, nil)
	describeChannels = prometheus.NewDesc("trestle_irc_channels", "Channels that the bot is in.", []string{"network"}, nil)
	describePuppets  = prometheus.NewDesc("trestle_irc_puppets", "Connections of Matrix users.", []string{"network", "state"}, nil)
)

// A collector asks the networks.
type collector struct{ service *Service }

// Describe implements prometheus.Collector.
func (c *collector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- describeUp
	descriptions <- describeChannels
	descriptions <- describePuppets
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	for _, n := range c.service.Status(context.Background()).Networks {
		up := 0
		if n.Connected {
			up = 1
		}
		gauge(describeUp, up, n.ID)
		gauge(describeChannels, n.Channels, n.ID)
		gauge(describePuppets, n.Puppets, n.ID, "connected")
		gauge(describePuppets, n.PuppetsOff, n.ID, "waiting")
	}
}
