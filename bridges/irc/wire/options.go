package wire

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"trestle/bridges/irc/names"
)

// Options say where and as whom to connect. Zero values mean the defaults named.
type Options struct {
	Addr string      // host:port
	TLS  *tls.Config // nil: plain text
	// DialContext replaces net.Dialer's, to choose the local address, for instance.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	Nick, User, RealName string
	// NextNick is asked for another nick after a refusal (432, 433, 436, 437) while
	// registering; empty gives up. Nil: names.Nicks, ten attempts.
	NextNick func(refused string, reply *Message) string
	Password string   // PASS
	SASL     SASL     // nil: none. If set, Dial fails rather than register without.
	Caps     []string // capabilities wanted beside WantedCaps

	Shared  *Shared // with the other connections to the network; nil: nothing is
	Handler Handler
	Logger  *slog.Logger // nil: none. Never sees secrets.

	Flood     *Flood        // nil: DefaultFlood
	QueueSize int           // lines waiting to be sent; 256
	PingEvery time.Duration // silence after which we ask; 90 s
	PingWait  time.Duration // silence after that which ends the connection; 60 s
	Register  time.Duration // time for connecting and registering; 60 s
	WriteWait time.Duration // how long a peer may refuse to read; 30 s
}

// Flood is a token bucket: Burst lines at once, then one every Interval.
// Interval 0: no limit.
type Flood struct {
	Burst    int
	Interval time.Duration
}

// DefaultFlood is what RFC 1459 § 8.10 allows a client.
var DefaultFlood = Flood{Burst: 5, Interval: 2 * time.Second}

// A Handler takes what a connection receives, in order, on the connection's
// reading goroutine: while it works, nothing more is read. It may send, but must
// not wait for the same connection (Request, JoinChannel, Deliver, Barrier, Quit, Close).
type Handler interface {
	// Message is called for every message but PING, and for the first ones before
	// Dial has returned.
	Message(c *Conn, m *Message)
	// Closed is called once, last, if Dial succeeded or is about to.
	Closed(c *Conn, err error)
}

// WantedCaps are the capabilities that are requested when they are offered.
var WantedCaps = []string{
	"account-notify", "account-tag", "away-notify", "batch", "chghost",
	"draft/chathistory", "draft/event-playback", "draft/message-redaction", "draft/multiline",
	"echo-message", "extended-join", "invite-notify", "labeled-response",
	"message-tags", "multi-prefix", "server-time", "setname",
	"standard-replies", "userhost-in-names",
}

// ignore is the Handler of a connection that has none.
type ignore struct{}

func (ignore) Message(*Conn, *Message) {}
func (ignore) Closed(*Conn, error)     {}

func (o Options) withDefaults() Options {
	if o.DialContext == nil {
		o.DialContext = new(net.Dialer).DialContext
	}
	if o.User == "" {
		o.User = o.Nick
	}
	if o.RealName == "" {
		o.RealName = o.Nick
	}
	if o.NextNick == nil {
		o.NextNick = tenNicks(o.Nick)
	}
	if o.Handler == nil {
		o.Handler = ignore{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Flood == nil {
		o.Flood = &DefaultFlood
	}
	if o.QueueSize <= 0 {
		o.QueueSize = 256
	}
	o.PingEvery = orDefault(o.PingEvery, 90*time.Second)
	o.PingWait = orDefault(o.PingWait, time.Minute)
	o.Register = orDefault(o.Register, time.Minute)
	o.WriteWait = orDefault(o.WriteWait, 30*time.Second)
	return o
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}

// tenNicks offers the nicks of names.Nicks; one more than that has not helped anybody.
func tenNicks(nick string) func(string, *Message) string {
	var rest []string
	for next := range names.Nicks(nick, max(len(nick), 9)) {
		if rest = append(rest, next); len(rest) == 11 {
			break
		}
	}
	return func(string, *Message) string {
		if rest = rest[min(1, len(rest)):]; len(rest) == 0 {
			return ""
		}
		return rest[0]
	}
}
