package irc

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"trestle/appservice/client"
	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// rightsAfter is how long a change of modes waits for others, so that a burst is one
// event in the room.
const rightsAfter = 400 * time.Millisecond

// Power is what a member's status on IRC is worth in the room. 0 is nothing.
type Power struct{ Owner, Admin, Op, HalfOp, Voice int }

// DefaultPower leaves the room to the bridge's own user, and moderation to operators.
var DefaultPower = Power{Owner: 90, Admin: 75, Op: 50, HalfOp: 25, Voice: 1}

// statuses are the letters that networks use, from the most powerful down.
const statuses = "qaohv"

// of is what a status letter is worth.
func (p Power) of(status byte) int {
	switch status {
	case 'q':
		return p.Owner
	case 'a':
		return p.Admin
	case 'o':
		return p.Op
	case 'h':
		return p.HalfOp
	case 'v':
		return p.Voice
	}
	return 0
}

// most is what several letters are worth.
func (p Power) most(letters string) (level int) {
	for i := range len(letters) {
		level = max(level, p.of(letters[i]))
	}
	return level
}

// status is the letter that a power level stands for, of those that the server has; 0 for none.
func (p Power) status(level int, support *wire.Support) byte {
	for i := range len(statuses) {
		if worth := p.of(statuses[i]); worth > 0 && level >= worth && support.IsStatus(statuses[i]) {
			return statuses[i]
		}
	}
	return 0
}

// rights is what a channel's modes mean in its room. It is called on the loop.
func (n *network) rights(ch *channel) bridge.Rights {
	power := n.now().Power
	r := bridge.Rights{Users: map[matrix.UserID]int{}}
	for u, letters := range ch.status {
		level := power.most(letters)
		switch {
		case level == 0 || u.bot:
		case u.puppet != nil:
			r.Users[u.puppet.user] = level
		case u.visible():
			r.Users[n.ghost(u.nick).ID] = level
		}
	}
	if ch.is('m') {
		r.Speak = power.Voice
	}
	if !ch.open {
		r.Topic = power.Op
		if n.bot.online && n.bot.link.conn.Support().IsStatus('h') && power.HalfOp > 0 {
			r.Topic = power.HalfOp
		}
	}
	r.Invited = ch.is('i') || ch.is('k') && !n.configuredKey(ch.key)
	return r
}

// is tells whether a channel has a mode.
func (ch *channel) is(mode byte) bool {
	_, on := ch.flags[mode]
	return on
}

// renamedRights has rooms follow a new nick, whose ghost is another.
func (n *network) renamedRights(u *user) {
	for ch := range u.channels {
		if ch.status[u] != "" {
			n.rightsChanged(ch)
		}
	}
}

// rightsChanged has the room follow soon.
func (n *network) rightsChanged(ch *channel) {
	if ch.settling {
		return
	}
	ch.settling = true
	n.after(rightsAfter, func() { n.settleRights(ch) })
}

// settleRights has the room follow now. What somebody says who has just got the right to
// must come behind that right.
func (n *network) settleRights(ch *channel) {
	if !ch.settling {
		return
	}
	ch.settling = false
	if !ch.changes.quiet() {
		return // what comes of that is put into the room then
	}
	if ch.joined && ch.synced && ch.portal != nil {
		ch.portal.SetRights(n.rights(ch), false)
	}
}

// hearStatus notes that a member has a status, or has it no longer.
func (n *network) hearStatus(ch *channel, nick string, mode byte, add bool) {
	u := n.users[n.fold(nick)]
	if u == nil || !ch.members[u] {
		return
	}
	letters := strings.ReplaceAll(ch.status[u], string(mode), "")
	if add {
		letters += string(mode)
	}
	ch.setStatus(u, letters)
}

func (ch *channel) setStatus(u *user, letters string) {
	if ch.status[u] == letters {
		return
	}
	if u.bot {
		ch.net.relay.allowed(ch.key)
	}
	if letters == "" {
		delete(ch.status, u)
	} else {
		ch.status[u] = letters
	}
	ch.net.rightsChanged(ch)
}

// setPower has a person's puppet change on IRC what the person has changed in the room. What
// IRC refuses is taken back in the room.
func (n *network) setPower(ctx context.Context, p *bridge.Portal, e *client.Event, done func()) {
	levels := e.Content.AsPowerLevels()
	c := &change{by: matrix.UserID(e.Sender), kind: "power", base: n.service.powers.before(p.Room())}
	c.need = func(ch *channel) ([]*wire.Message, []matrix.UserID) {
		support := n.bot.link.conn.Support()
		had := p.Rights()
		changes, users := n.powerChanges(ch, levels, c.base, had, support)
		if moderated := levels.EventsDefault > 0; n.now().Power.Voice > 0 && c.base.speaks(levels.EventsDefault, had.Speak, moderated != ch.is('m')) {
			changes = append(changes, wire.ModeChange{Add: moderated, Mode: 'm'})
		}
		p.NoteRights(func(r *bridge.Rights) {
			r.Speak = levels.EventsDefault
			for _, user := range users {
				r.Users[user] = levels.Users[id.UserID(user)]
			}
		})
		return modeLines(p.Name(), changes, support.Modes), users
	}
	n.change(ctx, p, c, done)
}

// powerChanges are the changes of status by which IRC would have what somebody has changed in the room:
// what differs from the levels before or, if these are not known, from the rights that the bridge has set.
func (n *network) powerChanges(ch *channel, levels *event.PowerLevelsEventContent, base before, rights bridge.Rights, support *wire.Support) (changes []wire.ModeChange, about []matrix.UserID) {
	power := n.now().Power
	members := slices.SortedFunc(maps.Keys(ch.members), func(a, b *user) int { return strings.Compare(a.nick, b.nick) })
	for _, u := range members {
		var user matrix.UserID
		switch {
		case u.bot:
			continue
		case u.puppet != nil:
			user = u.puppet.user
		default:
			user = n.ghost(u.nick).ID
		}
		level, named := levels.Users[id.UserID(user)]
		granted, given := rights.Users[user]
		had := ch.status[u]
		if !named {
			level = levels.UsersDefault
		}
		changed := (named || given) && level != granted
		if base.any != nil {
			changed = base.differs(level, func(l *event.PowerLevelsEventContent) int { return l.GetUserLevel(id.UserID(user)) })
		}
		if !changed || level == power.most(had) {
			continue
		}
		want := power.status(level, support)
		if want == power.status(power.most(had), support) {
			// IRC has nothing in between: the room gets back what IRC has.
			about = append(about, user)
			continue
		}
		for i := range len(had) {
			if power.of(had[i]) > power.of(want) || want == 0 && power.of(had[i]) > 0 {
				changes = append(changes, wire.ModeChange{Mode: had[i], Arg: u.nick})
			}
		}
		if want != 0 && strings.IndexByte(had, want) < 0 {
			changes = append(changes, wire.ModeChange{Add: true, Mode: want, Arg: u.nick})
		}
		about = append(about, user)
	}
	return changes, about
}

// setJoinRule has a person's puppet make the channel what the room has become: for those who
// are invited, or open.
func (n *network) setJoinRule(ctx context.Context, p *bridge.Portal, e *client.Event, done func()) {
	rule := e.Content.AsJoinRules().JoinRule
	if rule != "public" && rule != "invite" {
		done()
		return
	}
	closed := rule == "invite"
	n.change(ctx, p, &change{by: matrix.UserID(e.Sender), kind: "join rule", need: func(ch *channel) (lines []*wire.Message, _ []matrix.UserID) {
		if closed != p.Rights().Invited || closed != ch.is('i') {
			lines = modeLines(p.Name(), []wire.ModeChange{{Add: closed, Mode: 'i'}}, 0)
		}
		p.NoteRights(func(r *bridge.Rights) { r.Invited = closed })
		return lines, nil
	}}, done)
}

// sequence has a puppet send commands about a channel, one after the other, up to the first that is
// refused.
func (n *network) sequence(ctx context.Context, by matrix.UserID, p *bridge.Portal, lines []*wire.Message, finish func(error)) {
	if len(lines) == 0 {
		finish(nil)
		return
	}
	u := &utterance{channel: p.Key().Channel, direct: p.Direct(), portal: p, message: lines[0]}
	n.utter(ctx, by, u, func(err error) {
		if err != nil || len(lines) == 1 {
			finish(err)
			return
		}
		n.goRun(func() { n.sequence(n.ctx, by, p, lines[1:], finish) })
	})
}

// modesLine is how many bytes of arguments one MODE has at most: they, what is before them, and our
// prefix, as others see it, are a line.
const modesLine = 250

// atOnce is how many of some changes one MODE can have.
func atOnce(changes []wire.ModeChange, most int) int {
	length := 0
	for i, change := range changes {
		if length += len(change.Arg) + 1; i == most || i > 0 && length > modesLine {
			return i
		}
	}
	return len(changes)
}

// modeLines puts changes into as few MODEs as the server allows.
func modeLines(channel string, changes []wire.ModeChange, most int) (lines []*wire.Message) {
	if most <= 0 {
		most = 10
	}
	for len(changes) > 0 {
		now := changes[:atOnce(changes, most)]
		changes = changes[len(now):]
		var letters strings.Builder
		args, sign := []string{channel, ""}, byte(0)
		for _, change := range now {
			next := byte('-')
			if change.Add {
				next = '+'
			}
			if next != sign {
				letters.WriteByte(next)
				sign = next
			}
			letters.WriteByte(change.Mode)
			if change.Arg != "" {
				args = append(args, change.Arg)
			}
		}
		args[1] = letters.String()
		lines = append(lines, wire.NewMessage("MODE", args...))
	}
	return lines
}
