package irc

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"trestle/internal/config"
	"trestle/internal/matrix"
)

// lasting are the settings of a network that count from the next start: rooms and virtual users
// have been made by them, and people been told who speaks for them.
var lasting = []string{"alias", "user", "history", "relay", "relay_prefix", "relay_colors", "relay_break", "icon"}

// Changes are what another configuration has changed.
type Changes struct {
	Added   []string            `json:"added"`   // networks
	Removed []string            `json:"removed"` // networks
	Changed map[string][]string `json:"changed"` // settings that are in force, by network
	Restart []string            `json:"restart"` // settings that count from the next start
}

// rehashing lets one change of the configuration happen at a time, while the service runs.
type rehashing struct {
	mu      sync.Mutex
	serving bool
	given   *config.Config // what is in force, or will be after a restart
}

// Rehash reads the configuration again and goes on with it. Connections to networks that stay are
// kept. If it returns an error, nothing has changed.
func (s *Service) Rehash(ctx context.Context) (Changes, error) {
	s.rehashing.mu.Lock()
	defer s.rehashing.mu.Unlock()
	if s.config.Reload == nil || !s.rehashing.serving {
		return Changes{}, matrix.Forbidden("There is no configuration to be read again.")
	}
	next, err := s.config.Reload(ctx)
	if err == nil {
		err = next.complete()
	}
	if err != nil {
		return Changes{}, fmt.Errorf("the new configuration is refused, and the old one stays: %w", err)
	}
	plan, err := s.plan(next)
	if err != nil {
		return Changes{}, fmt.Errorf("the new configuration is refused, and the old one stays: %w", err)
	}
	if next.Claim != nil {
		if err := next.Claim(ctx); err != nil {
			return Changes{}, fmt.Errorf("the homeserver was not told of the bridge's names, and the old configuration stays: %w", err)
		}
	}
	plan.run(ctx)
	s.encryptionChanged(next.Networks)
	changes := s.changes(next, plan)
	s.rehashing.given = next.given
	s.log.Info("the configuration was read again", "added", changes.Added, "removed", changes.Removed, "changed", changes.Changed, "after_restart", changes.Restart)
	return changes, nil
}

// A plan is what a new configuration asks to be done; nothing in it can fail.
type plan struct {
	service *Service
	added   []*network
	removed []*network
	stay    map[*network]Network
}

func (s *Service) plan(next Config) (*plan, error) {
	p := &plan{service: s, stay: map[*network]Network{}}
	for _, one := range next.Networks {
		if n := s.network(one.ID); n != nil {
			p.stay[n] = one
			continue
		}
		n, err := newNetwork(s, one)
		if err != nil {
			return nil, fmt.Errorf("network %q: %w", one.ID, err)
		}
		p.added = append(p.added, n)
	}
	for _, n := range s.all() {
		if _, stays := p.stay[n]; !stays {
			p.removed = append(p.removed, n)
		}
	}
	return p, nil
}

func (p *plan) run(ctx context.Context) {
	var goodbyes sync.WaitGroup
	for _, n := range p.removed {
		p.service.networks.remove(n)
		goodbyes.Go(func() { n.stop("The bridge leaves this network") })
	}
	for n, next := range p.stay {
		n.adapt(ctx, next)
	}
	for _, n := range p.added {
		p.service.networks.add(n)
		n.start()
	}
	goodbyes.Wait()
}

// changes tells what is different. Only configurations that come from a file can be compared.
func (s *Service) changes(next Config, p *plan) Changes {
	c := Changes{Added: []string{}, Removed: []string{}, Changed: map[string][]string{}, Restart: []string{}}
	for _, n := range p.added {
		c.Added = append(c.Added, n.config.ID)
	}
	for _, n := range p.removed {
		c.Removed = append(c.Removed, n.config.ID)
	}
	before, after := s.rehashing.given, next.given
	if before == nil || after == nil {
		return c
	}
	for _, key := range config.Differences(*before, *after) {
		if key != "bridges.irc.networks" {
			c.Restart = append(c.Restart, key)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(after.Bridges.IRC.Networks)) {
		was, had := before.Bridges.IRC.Networks[id]
		if !had || s.network(id) == nil || slices.Contains(c.Added, id) {
			continue
		}
		for _, key := range config.Differences(was, after.Bridges.IRC.Networks[id]) {
			if slices.Contains(lasting, key) {
				c.Restart = append(c.Restart, "bridges.irc.networks."+id+"."+key)
			} else {
				c.Changed[id] = append(c.Changed[id], key)
			}
		}
	}
	return c
}

// adapt goes on with other settings. What is about connections is for those that are made from
// now on.
func (n *network) adapt(ctx context.Context, next Network) {
	was := n.now()
	next.Alias, next.User, next.History, next.Relay = n.config.Alias, n.config.User, n.config.History, n.config.Relay
	next.Icon = n.config.Icon
	templates, err := newTemplates(&next)
	if err != nil { // its templates were checked, and those of names are the old ones
		n.log.Error("the new settings are not used", "err", err)
		return
	}
	templates.bot = was.templates.bot
	templates.kept, templates.fold = was.templates.kept, n.fold
	n.servers.set(next.addrs(), next.Reconnect)
	n.pace.set(*next.Connects)
	n.live.Store(&settings{next, templates})
	n.followPolicies()
	n.ask(ctx, func() { n.adapted(was) })
}

// adapted does, on the loop, what new settings ask for at once.
func (n *network) adapted(was *settings) {
	now := n.now()
	for _, name := range was.Channels {
		if !slices.Contains(now.Channels, name) {
			n.unwant(name)
		}
	}
	for _, name := range now.Channels {
		if slices.Contains(was.Channels, name) {
			continue
		}
		n.want(name)
		if ch := n.channel(name); n.bot.online && !ch.joined {
			n.bot.join([]string{ch.name})
		}
	}
	if n.bot.online && !reflect.DeepEqual(was.Mappings, now.Mappings) {
		n.attach()
	}
	if *was.Power != *now.Power || was.Published != now.Published {
		for _, ch := range n.channels {
			n.rightsChanged(ch)
		}
	}
	for _, p := range n.puppets {
		if p.link != nil && p.link.conn != nil && was.IdleTimeout != now.IdleTimeout {
			p.idle(p.link)
		}
	}
	n.bot.connectNow()
	if now.reachedAnew(&was.Network) {
		n.impatient()
	}
}

// reachedAnew tells whether those who could not connect may be able to now.
func (n *Network) reachedAnew(was *Network) bool {
	return !slices.Equal(was.addrs(), n.addrs()) || (was.TLS == nil) != (n.TLS == nil) || was.Password != n.Password ||
		was.NickServ != n.NickServ || was.IPv6Prefix != n.IPv6Prefix || was.MaxConnections < n.MaxConnections
}

// unwant has the bot no longer listen in a channel for its own sake.
func (n *network) unwant(name string) {
	ch := n.channels[n.fold(name)]
	if ch == nil || ch.portal == nil {
		return
	}
	ch.portal.SetWanted(false)
	n.abandon(name)
}

// impatient ends the puppets' waits for another attempt to connect.
func (n *network) impatient() {
	for _, p := range n.puppets {
		if p.waiting != nil && p.waiting.Stop() {
			p.failures, p.told = 0, false
			p.connectAgain()
		}
	}
}

// connectNow ends the bot's wait, if it waits.
func (b *bot) connectNow() {
	if b.retry != nil && b.retry.Stop() {
		b.retry, b.failures = nil, 0
		b.connect()
	}
}

// set replaces the addresses; what is known of those that stay is kept.
func (s *servers) set(addrs []string, backoff Backoff) {
	fresh := newServers(addrs, backoff)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, one := range fresh.all {
		if at := s.index(one.addr); at >= 0 {
			fresh.all[i] = s.all[at]
		}
	}
	s.backoff, s.all = fresh.backoff, fresh.all
}

func (s *servers) index(addr string) int {
	return slices.IndexFunc(s.all, func(one *server) bool { return one.addr == addr })
}

// set replaces the pace; who waits already goes on waiting.
func (p *pace) set(config Pace) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.config = config
}

// begin lets the configuration be changed from now on.
func (r *rehashing) begin(given *config.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serving, r.given = true, given
}

// end waits for a change that is under way; there will be no other.
func (r *rehashing) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serving = false
}
