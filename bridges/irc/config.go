package irc

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/config"
	"trestle/internal/discovery"
	"trestle/internal/matrix"
)

// Config is all that the bridge needs to know.
type Config struct {
	HomeserverURL string               // as the bridge reaches it
	PublicURL     string               // as people's browsers reach Public, for links; HomeserverURL if empty
	ServerName    matrix.ServerName    // of the virtual users
	ServiceID     string               // id of the registration
	ASToken       string               // as_token
	HSToken       string               // hs_token
	SenderLocal   string               // sender_localpart
	Listen        string               // where the homeserver reaches us: host:port or unix:/path; empty: Handler is served by somebody else
	Database      string               // a file, or postgres://
	Journal       string               // file that outlives a killed process; empty: none
	LinkLifetime  time.Duration        // of links; 30 days
	LinkMaxSize   int64                // bytes of a file that a link leads to; 100 MiB
	KeyFile       string               // keys to the secrets of users; empty: the bridge keeps none
	Identd        string               // where to answer RFC 1413: host:port; empty: nowhere
	Admins        []string             // Matrix users who may end any link of a room
	Provisioning  string               // the secret of those who may act for anybody at the provisioning API; empty: nobody
	Federation    *discovery.Transport // to homeservers of others, whose users may use the provisioning API; nil: they may not
	KeyPatience   time.Duration        // for the key to an encrypted message, twice; 5 s
	Networks      []Network
	Logger        *slog.Logger
	Metrics       prometheus.Registerer // nil: none

	Control string                                // a file that says how operators' commands reach the bridge; empty: they don't
	Reload  func(context.Context) (Config, error) // reads the configuration again; nil: it stays
	Claim   func(context.Context) error           // of what Reload returned: makes the homeserver know its names; may be nil
	given   *config.Config                        // what it was made of; nil: not a file
}

// A Network is one IRC network. Zero values mean the defaults named.
type Network struct {
	ID       string      // in aliases and user IDs: a-z, 0-9
	Name     string      // for people; ID
	Addr     string      // host:port
	Servers  []string    // more addresses, tried in order where those before do not answer
	TLS      *tls.Config // nil: plain text
	Password string      // PASS
	BotNick  string      // trestle
	BotSASL  func() wire.SASL
	BotCert  *tls.Certificate // shown by the bot, and never by puppets

	Nick        string // template with {localpart}, {display} and {mxid}; {localpart}
	Realname    string // template with the same; {mxid}
	Alias       string // template with {network} and {channel}; irc_{network}_{channel}
	User        string // template with {network} and {nick}; irc_{network}_{nick}
	DisplayName string // template with {network} and {nick}; {nick}
	Icon        string // mxc URI of the network's picture; empty: none
	ExternalURL string // where a message can be read outside of Matrix, a template; empty: nowhere

	Channels       []string      // the bot listens in these from the start
	MaxConnections int           // puppets; 200
	IdleTimeout    time.Duration // a puppet that says nothing for so long goes away; 0: never
	Flood          *wire.Flood   // nil: wire.DefaultFlood
	Scrollback     int           // lines of earlier talk kept for a new room; 0: none
	RoomVersion    string        // of new rooms; empty: the homeserver's default
	Published      bool          // new rooms are in the directory of public rooms
	Direct         Consent       // whose private messages Matrix users get; FromCommon
	LazyMembers    int           // in channels with more members, ghosts join when they first speak; 0: never
	History        History       // HistoryJoined
	Hold           time.Duration // how long messages wait for people who are not in the channel; 2 min
	Netsplit       time.Duration // how long those whom a split took may stay away before they leave the rooms; 10 min

	Edits       string // how edits are said: difference (the default), text, off
	Reactions   string // how reactions are: auto (the default), tags, lines, off
	NoTyping    bool   // nobody is shown to be typing
	MaxLines    int    // of a message; a longer one becomes a link; 15
	Undelivered string // how a message is marked that IRC did not take: reply (the default), reaction, off
	Encryption  string // how encrypted rooms are taken part in: off (the default), bot, users; needs KeyFile

	Relay Relay // how people are spoken for who have no connection of their own; zero: they are not

	Power          *Power    // of statuses in the room; nil: DefaultPower
	Mappings       []Mapping // channels of which the operator knows more
	FollowForwards bool      // the alias of a channel that forwards leads to the other's room; else it is refused
	PolicyRooms    []string  // IDs or aliases of rooms whose rules say who is not bridged
	BanFile        string    // a list of such rules; empty: none

	NoPortals  bool          // channels have rooms only where Mappings, or their operators, say so
	NoPlumbing bool          // people cannot have rooms linked with channels
	PlumbPower int           // power level in a room that having it linked takes, at least; 50
	PlumbWait  time.Duration // for an operator to answer; 30 min

	NickServ   string        // who takes IDENTIFY where there is no SASL: nick or nick@server; empty: nobody
	Ghost      string        // the word with which NickServ frees a nick; GHOST
	IPv6Prefix netip.Prefix  // each Matrix user has an address of its own in it; zero: the system chooses
	MakeRoom   time.Duration // connections silent for so long give way to others where MaxConnections is reached; 0: never
	Connects   *Pace         // how fast puppets connect; nil: DefaultPace

	Reconnect   Backoff       // zero: 1 s to 5 min
	Backlog     time.Duration // how long what somebody says may wait for the server to take it, before more is refused; 2 min
	Unvisited   time.Duration // how long a room that somebody has asked for waits for the first to come; 30 min
	RegainAfter time.Duration // wait before a nick that was taken away is asked for; 1 min
}

// A Pace is how fast something begins: Burst at once, then one each Interval. Interval 0: no limit.
type Pace struct {
	Burst    int
	Interval time.Duration
}

// DefaultPace brings a thousand puppets up in half a minute.
var DefaultPace = Pace{Burst: 10, Interval: 25 * time.Millisecond}

// A Backoff is the wait before connecting again: it doubles from First to Max, with jitter.
type Backoff struct{ First, Max time.Duration }

func (c *Config) complete() error {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.PublicURL == "" {
		c.PublicURL = c.HomeserverURL
	}
	if c.LinkLifetime == 0 {
		c.LinkLifetime = 30 * 24 * time.Hour
	}
	if c.LinkMaxSize == 0 {
		c.LinkMaxSize = 100 << 20
	}
	if c.HSToken == "" {
		return fmt.Errorf("the bridge needs its hs_token")
	}
	seen := map[string]bool{}
	for i := range c.Networks {
		n := &c.Networks[i]
		if err := n.complete(); err != nil {
			return fmt.Errorf("network %q: %w", n.ID, err)
		}
		if seen[n.ID] {
			return fmt.Errorf("there are two networks %q", n.ID)
		}
		seen[n.ID] = true
	}
	return nil
}

func (n *Network) complete() error {
	if n.ID == "" {
		return fmt.Errorf("a network needs an ID")
	}
	if _, _, err := net.SplitHostPort(n.Addr); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	setDefault(&n.Name, n.ID)
	setDefault(&n.BotNick, "trestle")
	setDefault(&n.Nick, "{localpart}")
	setDefault(&n.Realname, "{mxid}")
	setDefault(&n.Alias, "irc_{network}_{channel}")
	setDefault(&n.User, "irc_{network}_{nick}")
	setDefault(&n.DisplayName, "{nick}")
	if n.Power == nil {
		n.Power = &DefaultPower
	}
	setDefault(&n.Edits, "difference")
	setDefault(&n.Reactions, "auto")
	setDefault(&n.Undelivered, "reply")
	setDefault(&n.Encryption, string(bridge.EncryptionOff))
	if n.MaxLines == 0 {
		n.MaxLines = 15
	}
	if err := n.Relay.complete(n.Mappings); err != nil {
		return err
	}
	for _, addr := range n.Servers {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("address: %w", err)
		}
	}
	if n.PlumbPower == 0 {
		n.PlumbPower = 50
	}
	if n.PlumbWait <= 0 {
		n.PlumbWait = 30 * time.Minute
	}
	setDefault(&n.Ghost, "GHOST")
	if n.Connects == nil {
		n.Connects = &DefaultPace
	}
	if n.Backlog <= 0 {
		n.Backlog = 2 * time.Minute
	}
	if n.Unvisited <= 0 {
		n.Unvisited = 30 * time.Minute
	}
	if n.RegainAfter == 0 {
		n.RegainAfter = time.Minute
	}
	if n.MaxConnections == 0 {
		n.MaxConnections = 200
	}
	if n.History == "" {
		n.History = HistoryJoined
	}
	if n.History != HistoryJoined && n.History != HistoryShared {
		return fmt.Errorf("history: %q is not a policy", n.History)
	}
	if n.Direct == "" {
		n.Direct = FromCommon
	}
	if n.Direct != FromAll && n.Direct != FromCommon && n.Direct != FromNobody {
		return fmt.Errorf("direct_messages: %q is not a rule", n.Direct)
	}
	if n.Hold <= 0 {
		n.Hold = 2 * time.Minute
	}
	if n.Netsplit <= 0 {
		n.Netsplit = 10 * time.Minute // most splits are over within minutes
	}
	if n.Reconnect.First == 0 {
		n.Reconnect.First = time.Second
	}
	if n.Reconnect.Max == 0 {
		n.Reconnect.Max = 5 * time.Minute
	}
	_, err := newTemplates(n)
	return err
}

// addrs are all addresses, in the order in which they are preferred.
func (n *Network) addrs() []string { return append([]string{n.Addr}, n.Servers...) }

// encrypted tells whether nobody on the way can read what is sent: by TLS, or because there
// is no way.
func (n *Network) encrypted() bool {
	return n.TLS != nil || !slices.ContainsFunc(n.addrs(), func(addr string) bool {
		host, _, _ := net.SplitHostPort(addr)
		ip, err := netip.ParseAddr(host)
		return host != "localhost" && (err != nil || !ip.IsLoopback())
	})
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}
