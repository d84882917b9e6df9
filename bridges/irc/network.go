package irc

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/names"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	mailbox     = 1024             // what the loop may be behind before connections are not read
	dialsAtOnce = 8                // connections being made at the same time
	quitWait    = 3 * time.Second  // for the server's goodbye
	joinWait    = 30 * time.Second // for the answer to a puppet's JOIN
)

// A network is the bridge's part in one IRC network. One goroutine, its loop, owns
// all state: everything else posts functions to it. The loop never waits for the network
// or the homeserver.
type network struct {
	service   *Service
	config    Network // that it was started with; see now
	live      atomic.Pointer[settings]
	templates *templates // of names; they stay
	log       *slog.Logger
	mapping   atomic.Uint32 // names.CaseMapping

	ctx       context.Context
	cancel    context.CancelFunc
	posts     chan func()
	work      sync.WaitGroup
	dialing   chan struct{}
	shared    wire.Shared
	servers   *servers
	pace      pace
	watched   sync.Map                                // folded names of the channels that the bot is in
	shut      sync.Map                                // folded names of the channels whose rooms a rule bans
	nicks     sync.Map                                // matrix.UserID → nick of its connection
	timer     func(time.Duration, func()) *time.Timer // time.AfterFunc
	started   atomic.Bool
	identRoom atomic.Int64 // bytes that user names may have
	sending   atomic.Int64 // see sendLater
	watching  policyWatch
	met       chan struct{} // closed when the bot has been connected: the mapping is the network's
	meet      func()        // closes it

	// Of the loop:
	stopping  bool // nobody is to be connected any more
	spelt     bool // mapping is what the network has said
	bot       *bot
	relay     *relay
	channels  map[string]*channel // by folded name
	users     map[string]*user    // by folded nick, as the bot sees them
	puppets   map[matrix.UserID]*puppet
	byNick    map[string]*puppet // by folded nick of their connections
	former    map[string]former  // by folded nick that a connection had
	unsettled []*unsettled
	skew      time.Duration                    // how far the server's clock is behind ours
	following map[*bridge.Portal]chan struct{} // direct chats whose nicks change; closed when they have
	missing   map[string]*missing              // by folded nick: taken by a netsplit
	policies  policies
	expected  map[string]time.Time     // channels into which the server will put the bot, by folded name
	followed  map[string]matrix.RoomID // rooms that were told of a channel that forwards to theirs
	typing    typists
	loops     loops
	restraint restraint
	questions map[string]*question // to operators, by their codes
	proving   map[string]bool      // channels of which somebody claims to be an operator
	asks      *meter               // questions to operators
	answers   *meter               // what those who answer are told
	openings  *meter               // channels that are asked for

	flights  flights
	occupied occupancy
}

func newNetwork(s *Service, config Network) (*network, error) {
	templates, err := newTemplates(&config)
	if err != nil {
		return nil, err
	}
	n := &network{
		service: s, config: config, templates: templates, log: s.log.With("network", config.ID),
		posts:    make(chan func(), mailbox),
		timer:    time.AfterFunc,
		dialing:  make(chan struct{}, dialsAtOnce),
		servers:  newServers(config.addrs(), config.Reconnect),
		pace:     pace{config: *config.Connects},
		channels: map[string]*channel{}, users: map[string]*user{},
		puppets: map[matrix.UserID]*puppet{}, byNick: map[string]*puppet{}, former: map[string]former{},
		expected: map[string]time.Time{}, policies: newPolicies(), typing: newTypists(),
		missing: map[string]*missing{}, following: map[*bridge.Portal]chan struct{}{},
	}
	templates.bot = s.config.SenderLocal
	templates.kept, templates.fold = s.kept[config.ID], n.fold
	n.live.Store(&settings{config, templates})
	n.identRoom.Store(identLength)
	n.questions, n.proving = map[string]*question{}, map[string]bool{}
	n.asks, n.answers, n.openings = newMeter(askPace), newMeter(answerLimit), newMeter(openingLimit)
	n.met, n.followed = make(chan struct{}), map[string]matrix.RoomID{}
	n.meet = sync.OnceFunc(func() { close(n.met) })
	// Events of the last run may come before start. Connections outlive the
	// service's context: stop says goodbye first.
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(s.ctx))
	n.bot = newBot(n)
	n.relay, err = newRelay(n)
	return n, err
}

// start connects the bot, and the puppets of those who are in portals already.
func (n *network) start() {
	n.started.Store(true)
	// Who is where must be known before the first of the events that have come already is worked off.
	n.work.Go(func() {
		n.begin()
		n.loop()
	})
	n.followPolicies()
	n.resumePlumbs()
}

// begin is the first that the loop does.
func (n *network) begin() {
	n.bot.connect()
	if n.guarded() {
		n.sweep()
	}
	n.after(min(n.now().Unvisited/4, unvisitedLook), n.giveUpUnvisited)
	n.forgetAgain()
	for _, p := range n.service.bridge.Portals() {
		if p.Key().Network != n.config.ID {
			continue
		}
		for user, name := range p.People() {
			if p.Direct() {
				n.reachable(user, p)
			} else if !p.Plumbed() {
				n.personJoined(p, user, name)
			}
		}
	}
}

// running tells whether there is a loop to ask.
func (n *network) running() bool { return n.started.Load() && n.ctx.Err() == nil }

// stop says goodbye on all connections and ends the loop. The bot goes last: it sees whether what
// people have just said has arrived.
func (n *network) stop(reason string) {
	n.ask(n.ctx, func() { n.stopping = true })
	n.leaveBy(reason, n.puppetLinks)
	n.leaveBy(reason, func() []*link { return []*link{n.bot.link} })
	n.cancel()
	n.work.Wait()
	for _, l := range append(n.puppetLinks(), n.bot.link) { // those that came up meanwhile
		if l.conn != nil {
			l.conn.Close()
		}
	}
}

// leaveBy says goodbye on some connections.
func (n *network) leaveBy(reason string, links func() []*link) {
	var goodbyes sync.WaitGroup
	n.ask(n.ctx, func() {
		for _, l := range links() {
			l.unused = true
			if conn := l.conn; conn != nil && !l.closed {
				goodbyes.Go(func() { quit(conn, reason) })
			}
		}
	})
	goodbyes.Wait()
}

// quit says goodbye and does not take no for an answer.
func quit(conn *wire.Conn, reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), quitWait)
	defer cancel()
	_ = conn.Quit(ctx, reason)
	conn.Close()
}

func (n *network) puppetLinks() (all []*link) {
	for _, p := range n.puppets {
		if p.link != nil {
			all = append(all, p.link)
		}
	}
	return all
}

func (n *network) loop() {
	for {
		select {
		case fn := <-n.posts:
			fn()
		case <-n.ctx.Done():
			return
		}
	}
}

// post has the loop call a function. It waits while the loop is far behind, which is what
// keeps a fast server at bay. It reports false once the network stops.
func (n *network) post(fn func()) bool {
	select {
	case n.posts <- fn:
		return true
	case <-n.ctx.Done():
		return false
	}
}

// ask is post and waits until it was done; false if that will not happen.
func (n *network) ask(ctx context.Context, fn func()) bool {
	done := make(chan struct{})
	n.post(func() {
		defer close(done)
		fn()
	})
	select {
	case <-done:
		return true
	case <-ctx.Done():
	case <-n.ctx.Done():
	}
	return false
}

// after has the loop call a function later.
func (n *network) after(d time.Duration, fn func()) *time.Timer {
	return n.timer(d, func() { n.post(fn) })
}

// goRun starts a goroutine that stop waits for. It must end with n.ctx.
func (n *network) goRun(fn func()) { n.work.Go(fn) }

// fold is the one spelling of a name. Until the server has said otherwise, it
// is RFC 1459's.
func (n *network) fold(name string) string {
	return names.CaseMapping(n.mapping.Load()).Fold(name)
}

// key is a channel's portal key.
func (n *network) key(channel string) bridge.Key {
	return bridge.Key{Network: n.config.ID, Channel: n.fold(channel)}
}

// ghost is the virtual user of a nick.
func (n *network) ghost(nick string) bridge.Ghost {
	local := n.templates.ghostLocalpart(n.fold(nick))
	return bridge.Ghost{
		ID:   matrix.NewUserID(local, n.service.config.ServerName),
		Name: n.now().templates.displayName(decode(nick)),
	}
}
