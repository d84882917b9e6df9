package irc

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"trestle/appservice/client"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	policyAgain = 30 * time.Second       // after a room of rules could not be read
	banFileLook = time.Second            // how often the file is looked at
	policyPause = 100 * time.Millisecond // for more rules that come at once
	policyMost  = 3 * time.Second        // before one counts
	maxRules    = 100_000                // of a room or a file
	maxBanFile  = 8 << 20
)

// A policyRule says who is not bridged: Matrix users, servers of such, rooms, or, by a mask, people on IRC.
type policyRule struct{ kind, what, reason string }

// policies are a network's rules. They belong to its loop.
type policies struct {
	rooms map[matrix.RoomID]*policyRoom
	named map[string]matrix.RoomID // the rooms as the operator calls them
	file  []policyRule

	due    bool          // they are to be applied soon
	took   time.Duration // to apply them, last time
	rounds int           // how often they were

	exact map[string]map[string]policyRule // by kind and what they say; those without wildcards
	globs map[string][]policyRule          // by kind
}

// A policyRoom is a room with rules, by type and state key of their events. fresh are those that have
// come since the room's state was asked for.
type policyRoom struct {
	rules map[string]policyRule
	fresh map[string]bool
}

func newPolicies() policies {
	return policies{rooms: map[matrix.RoomID]*policyRoom{}, named: map[string]matrix.RoomID{}}
}

// index prepares the rules for being asked.
func (p *policies) index() {
	p.exact, p.globs = map[string]map[string]policyRule{"user": {}, "server": {}, "room": {}}, map[string][]policyRule{}
	add := func(r policyRule) {
		if r.kind == "irc" || strings.ContainsAny(r.what, "*?") {
			p.globs[r.kind] = append(p.globs[r.kind], r)
		} else {
			p.exact[r.kind][r.what] = r
		}
	}
	for _, rule := range p.file {
		add(rule)
	}
	for _, room := range p.rooms {
		for _, rule := range room.rules {
			add(rule)
		}
	}
}

// find is a rule of a kind for a name.
func (p *policies) find(kind, name string) (policyRule, bool) {
	if rule, ok := p.exact[kind][name]; ok {
		return rule, true
	}
	for _, rule := range p.globs[kind] {
		if matrix.MatchGlob(rule.what, name) {
			return rule, true
		}
	}
	return policyRule{}, false
}

// barred tells why a Matrix user is not bridged, if that is so.
func (n *network) barred(user matrix.UserID) (reason string, barred bool) {
	rule, barred := n.policies.find("user", string(user))
	if !barred {
		rule, barred = n.policies.find("server", string(user.Server()))
	}
	return strings.TrimSuffix("A rule says that you are not bridged to "+n.now().Name+": "+rule.reason, ": "), barred
}

// barredOnIRC tells whether somebody on IRC is not bridged.
func (n *network) barredOnIRC(who wire.Prefix) bool {
	for _, rule := range n.policies.globs["irc"] {
		if n.means(rule.what, who) {
			return true
		}
	}
	if len(n.policies.exact["user"]) == 0 && len(n.policies.globs["user"]) == 0 {
		return false
	}
	_, barred := n.policies.find("user", string(n.ghost(who.Nick).ID))
	return barred
}

// show notes what a message shows of its source, and whether that is bridged.
func (n *network) show(u *user, from wire.Prefix) {
	if from.Host != "" {
		u.prefix = from
	}
	u.barred = u.puppet == nil && !u.bot && n.barredOnIRC(u.seen())
}

// applySoon is applyPolicies when one of maybe many rules has changed: everybody is held against all of them, which may take its time
// where there are many of both, and nobody else is heard meanwhile.
func (n *network) applySoon() {
	if n.policies.due {
		return
	}
	n.policies.due = true
	n.after(min(max(policyPause, 4*n.policies.took), policyMost), n.applyPolicies)
}

// applyPolicies is called when rules have changed.
func (n *network) applyPolicies() {
	began := time.Now()
	defer func() { n.policies.took = time.Since(began) }()
	n.policies.due = false
	n.policies.rounds++
	n.policies.index()
	n.applyRoomRules()
	for _, p := range n.puppets {
		reason, barred := n.barred(p.user)
		if !barred {
			continue
		}
		for channel := range p.wanted {
			p.expelled(channel, reason)
		}
		if p.link != nil {
			p.link.quit("Not bridged")
		}
	}
	n.removeBarred()
	for _, u := range n.users {
		n.look(u, wire.Prefix{})
	}
}

// removeBarred takes those out of the channels' rooms for whom the bot has spoken and may not any more.
func (n *network) removeBarred() {
	for _, p := range n.service.bridge.Portals() {
		channel := p.Key().Channel
		if p.Key().Network != n.config.ID || p.Direct() || p.Plumbed() || n.relayMode(channel) == RelayOff {
			continue
		}
		for user := range p.People() {
			if reason, barred := n.barred(user); barred && n.relays(channel, user) {
				p.Remove(user, reason)
			}
		}
	}
}

// look decides anew whether a user is bridged: rules have changed, or what is shown of it has.
func (n *network) look(u *user, from wire.Prefix) {
	before := u.visible()
	n.show(u, from)
	if before == u.visible() {
		return
	}
	for ch := range u.channels {
		if before {
			ch.portal.Leave(n.ghost(u.nick), "Not bridged")
		} else {
			ch.portal.Join(n.ghost(u.nick))
		}
		n.rightsChanged(ch)
	}
}

// HandleState implements bridge.StateWatcher: rules have changed.
func (s *Service) HandleState(ctx context.Context, e *client.Event) {
	if e.Type == event.StatePowerLevels && s.bridge.FindRoom(matrix.RoomID(e.RoomID)) != nil {
		s.powers.note(e, matrix.UserID(e.Sender) == s.bridge.Client().Bot().ID)
		return
	}
	if isBridgeInfo(e.Type.Type) {
		for _, n := range s.all() {
			n.noteBridge(ctx, e)
		}
		return
	}
	kind := ruleKind(e.Type.Type)
	if kind == "" {
		return
	}
	for _, n := range s.all() {
		if len(n.now().PolicyRooms) == 0 {
			continue
		}
		n.ask(ctx, func() {
			room := n.policies.rooms[matrix.RoomID(e.RoomID)]
			if room == nil {
				return
			}
			key := e.Type.Type + " " + e.GetStateKey()
			room.fresh[key] = true
			room.set(key, kind, e.Content.Raw)
			n.applySoon()
		})
	}
}

// set notes what a rule says; one that says nothing is gone.
func (r *policyRoom) set(key, kind string, content map[string]any) {
	delete(r.rules, key)
	entity, _ := content["entity"].(string)
	reason, _ := content["reason"].(string)
	switch content["recommendation"] {
	case "m.ban", "org.matrix.mjolnir.ban":
		if entity != "" && len(r.rules) < maxRules {
			r.rules[key] = policyRule{kind, entity, reason}
		}
	}
}

// enterPolicyRoom joins a room with rules and reads them, however long that takes.
func (n *network) enterPolicyRoom(ctx context.Context, aliasOrID string) {
	for ctx.Err() == nil {
		err := n.readPolicyRoom(ctx, aliasOrID)
		if err == nil || ctx.Err() != nil {
			return
		}
		n.log.Warn("the rules of a room could not be read; trying again", "room", aliasOrID, "err", err)
		timer := time.NewTimer(policyAgain)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func (n *network) readPolicyRoom(ctx context.Context, aliasOrID string) error {
	bot := n.service.bridge.Client().Bot()
	var id matrix.RoomID
	var state []*event.Event
	err := client.Retry(ctx, nil, func(ctx context.Context) (err error) {
		if err = bot.EnsureRegistered(ctx); err == nil {
			id, err = bot.JoinAlias(ctx, aliasOrID)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	room := &policyRoom{rules: map[string]policyRule{}, fresh: map[string]bool{}}
	n.ask(ctx, func() {
		if ctx.Err() == nil {
			n.policies.rooms[id], n.policies.named[aliasOrID] = room, id
		}
	})
	err = client.Retry(ctx, nil, func(ctx context.Context) (err error) {
		state, err = bot.AllState(ctx, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("read the state: %w", err)
	}
	n.ask(ctx, func() {
		for _, e := range state {
			key := e.Type.Type + " " + e.GetStateKey()
			if kind := ruleKind(e.Type.Type); kind != "" && !room.fresh[key] {
				room.set(key, kind, e.Content.Raw)
			}
		}
		n.applyPolicies()
		n.log.Info("rules were read", "room", aliasOrID, "rules", len(room.rules))
	})
	return nil
}

// watchBanFile reads the file whenever it has changed.
func (n *network) watchBanFile(ctx context.Context, path string) {
	var last os.FileInfo
	tick := time.NewTicker(banFileLook)
	defer tick.Stop()
	for {
		last = n.readBanFile(ctx, path, last)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// readBanFile reads the file, if it is not the one that was read last. While it cannot be read, the
// rules that were in it stay.
func (n *network) readBanFile(ctx context.Context, path string, last os.FileInfo) os.FileInfo {
	info, err := os.Stat(path)
	if err == nil && last != nil && info.ModTime().Equal(last.ModTime()) && info.Size() == last.Size() && os.SameFile(info, last) {
		return last
	}
	var content []byte
	if err == nil {
		content, err = readBounded(path)
	}
	if err != nil {
		if last != nil {
			n.log.Error("the file of bans could not be read; its old rules stay", "err", err)
		}
		return nil
	}
	rules, bad := parseBans(content)
	for _, line := range bad {
		n.log.Error("a line of the file of bans says nothing", "file", path, "line", line)
	}
	n.post(func() {
		if ctx.Err() == nil {
			n.policies.file = rules
			n.applyPolicies()
		}
	})
	return info
}

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxBanFile))
}

// parseBans reads "user GLOB", "server GLOB", "room GLOB" and "irc MASK", one a line, and comments behind "#" at the
// beginning of a line. bad are the numbers of the lines that are none of these, the first few.
func parseBans(content []byte) (rules []policyRule, bad []int) {
	lines := bufio.NewScanner(bytes.NewReader(content))
	lines.Buffer(nil, maxBanFile)
	for number := 1; lines.Scan() && len(rules) < maxRules; number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		kind, what, _ := strings.Cut(line, " ")
		what = strings.TrimSpace(what)
		switch {
		case strings.ContainsAny(what, " \t") || what == "":
			bad = append(bad, number)
		case kind == "user" || kind == "server" || kind == "room":
			rules = append(rules, policyRule{kind: kind, what: what})
		case kind == "irc":
			rules = append(rules, policyRule{kind: kind, what: fullMask(what)})
		default:
			bad = append(bad, number)
		}
	}
	return rules, bad[:min(len(bad), 20)]
}

// fullMask makes a mask of what people write: a nick, or a host behind "@".
func fullMask(mask string) string {
	switch {
	case strings.Contains(mask, "!"):
	case strings.Contains(mask, "@"):
		mask = "*!" + mask
	default:
		mask += "!*@*"
	}
	if !strings.Contains(mask, "@") {
		mask += "@*"
	}
	return strings.Replace(mask, "!@", "!*@", 1)
}
