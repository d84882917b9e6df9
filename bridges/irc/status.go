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
	Bridge   bridge.Status   `json:"bridge"`
	Networks []NetworkStatus `json:"networks"`
}

// NetworkStatus is one network's.
type NetworkStatus struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	State      string         `json:"state"` // connected, or why not
	Connected  bool           `json:"connected"`
	Failures   int            `json:"failures"` // in a row
	Server     string         `json:"server"`   // that the bot is connected to; empty: none
	Nick       string         `json:"nick"`     // of the bot
	Since      int64          `json:"since"`    // when it was connected, in ms
	Lag        int64          `json:"lag_ms"`   // of the server's answer to the bot; -1: it was not asked, or did not answer
	LastError  string         `json:"last_error"`
	LastFailed int64          `json:"last_error_ts"`
	Servers    []ServerStatus `json:"servers"`
	Channels   int            `json:"channels"` // that the bot is in
	Portals    int            `json:"portals"`  // channels that have a room
	Directs    int            `json:"direct_chats"`
	Puppets    int            `json:"puppets"`         // connected
	Connecting int            `json:"puppets_begun"`   // of those that are not: under way
	Waiting    int            `json:"puppets_waiting"` // for another attempt
	PuppetsOff int            `json:"puppets_off"`     // wanted and not connected, all in all
	ToIRC      int            `json:"queued_to_irc"`   // messages and commands
	ToMatrix   int            `json:"queued_to_matrix"`
	Behind     int            `json:"events_waiting"` // that the loop has to look at
}

// ServerStatus is what is known of one address.
type ServerStatus struct {
	Addr     string `json:"address"`
	Failures int    `json:"failures"`   // in a row
	Until    int64  `json:"away_until"` // in ms; 0: it is asked
}

// Status asks all networks.
func (s *Service) Status(ctx context.Context) Status {
	ctx, cancel := context.WithTimeout(ctx, statusWait)
	defer cancel()
	status := Status{Bridge: s.bridge.Status(), Networks: []NetworkStatus{}}
	for _, n := range s.all() {
		one := NetworkStatus{ID: n.config.ID, Name: n.now().Name, State: "not answering", Lag: -1, Servers: n.servers.status(time.Now()), Behind: len(n.posts)}
		answer := make(chan NetworkStatus, 1)
		if n.running() && n.ask(ctx, func() { answer <- n.status(one) }) {
			one = <-answer
		}
		status.Networks = append(status.Networks, one)
	}
	return status
}

func (n *network) status(s NetworkStatus) NetworkStatus {
	n.bot.status(&s)
	for _, ch := range n.channels {
		if ch.joined {
			s.Channels++
		}
	}
	for _, p := range n.puppets {
		s.ToIRC += p.speech.waiting()
		switch {
		case p.link != nil && p.link.conn != nil:
			s.Puppets++
			continue
		case p.link != nil:
			s.Connecting++
		case p.waiting != nil:
			s.Waiting++
		}
		if len(p.wanted) > 0 {
			s.PuppetsOff++
		}
	}
	for _, p := range n.service.bridge.Portals() {
		switch {
		case p.Key().Network != n.config.ID || p.Room() == "":
			continue
		case p.Direct():
			s.Directs++
		default:
			s.Portals++
		}
		s.ToMatrix += p.Queued()
	}
	return s
}

func (b *bot) status(s *NetworkStatus) {
	s.Connected, s.Failures = b.online, b.failures
	if b.lastFailure != nil {
		s.LastError, s.LastFailed = decode(b.lastFailure.Error()), b.failed.UnixMilli()
	}
	switch {
	case b.online:
		conn := b.link.conn
		s.State, s.Server, s.Nick, s.Since = "connected", conn.Addr(), b.nick, b.since.UnixMilli()
	case b.lastErr != nil:
		s.State = "not connected: " + decode(b.lastErr.Error())
	default:
		s.State = "connecting"
	}
}

func (s *servers) status(now time.Time) []ServerStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]ServerStatus, len(s.all))
	for i, one := range s.all {
		all[i] = ServerStatus{Addr: one.addr, Failures: one.failures}
		if one.until.After(now) {
			all[i].Until = one.until.UnixMilli()
		}
	}
	return all
}

// waiting counts what is queued.
func (s *speech) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// metrics are the bridge's figures; those of each network are asked for when they are
// collected.
type metrics struct {
	toIRC       prometheus.Counter
	undelivered prometheus.Counter
	doubtful    prometheus.Counter
	loops       prometheus.Counter
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
		loops: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "trestle_irc_loops_total", Help: "Times that messages came back over another bridge, and that was ended.",
		}),
	}
}

// register shows the figures of a service that is put together.
func (m *metrics) register(registerer prometheus.Registerer, s *Service) {
	if registerer != nil {
		registerer.MustRegister(m.toIRC, m.undelivered, m.doubtful, m.loops, &collector{s})
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
