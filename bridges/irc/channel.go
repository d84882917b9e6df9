package irc

import (
	"fmt"
	"maps"
	"strings"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// A channel is one that the bot is in or wants to be in. Like users, it
// belongs to the network's loop.
type channel struct {
	net    *network
	key    string // folded
	name   string
	portal *bridge.Portal // nil until the bot has been in it

	joined  bool
	refused bool           // the server does not let the bot in, for now
	again   *time.Timer    // the next attempt, after a refusal
	synced  bool           // NAMES is complete
	waiting []func()       // to be called when it is
	names   []wire.Member  // so far
	members map[*user]bool // those that the bot sees
	topic   string
	open    bool // everybody may set the topic (no +t)

	flags    map[byte]string  // modes that are on, and their arguments
	status   map[*user]string // letters of those who have any
	masks    []string         // of bans, as far as the bot has seen them
	listed   []string         // the list of bans, so far
	told     bool             // the server has said which modes there are, or will not
	settling bool             // the room is to follow soon
	changes  changes          // by people of Matrix, on their way to IRC
	back     takingBack       // what IRC has refused of them

	recall    *recall                     // history that is being worked off
	untrimmed int                         // messages since the log was last trimmed
	absent    map[matrix.UserID]time.Time // people who are in the room and not here, since when
}

// A user is somebody on IRC in a channel that the bot is in.
type user struct {
	nick     string
	puppet   *puppet     // whose connection it is, nil for IRC's own people
	bot      bool        // it is us
	prefix   wire.Prefix // as far as it was shown
	barred   bool        // by a rule of the operator's
	channels map[*channel]bool
}

const (
	maxUsers   = 100_000 // whom the bridge knows on a network; a server may invent endless ones
	maxUserID  = 255     // bytes of a Matrix ID
	maxInvited = 1000    // channels without a room; anybody can invite the bot to more
)

// strange tells whether the bridge takes no notice of who has a nick: no Matrix user can be called
// that, or there are too many already.
func (n *network) strange(nick string) bool {
	return nick == "" || len(n.ghost(nick).ID) > maxUserID || len(n.users) >= maxUsers && n.users[n.fold(nick)] == nil
}

// lonely is in how many channels there is nobody from Matrix.
func (n *network) lonely() (channels int) {
	for _, ch := range n.channels {
		if ch.portal == nil || ch.portal.Room() == "" {
			channels++
		}
	}
	return channels
}

// sightings are the users as whom the bot sees one puppet: more than one while a new
// connection is up and the server has not noticed the end of the old one.
type sightings map[*user]bool

// channel returns a channel's state and makes it if there is none.
func (n *network) channel(name string) *channel {
	key := n.fold(name)
	ch := n.channels[key]
	if ch == nil {
		ch = &channel{net: n, key: key, name: name, members: map[*user]bool{}, flags: map[byte]string{}, status: map[*user]string{}}
		ch.portal = n.service.bridge.Find(n.key(name))
		n.channels[key] = ch
	}
	return ch
}

// bind gives the channel a portal.
func (ch *channel) bind() error {
	if ch.portal != nil {
		return nil
	}
	var err error
	ch.portal, err = ch.net.service.bridge.Portal(ch.net.ctx, ch.net.key(ch.name), ch.name)
	return err
}

// want has the bot listen in a channel from now on.
func (n *network) want(name string) {
	ch := n.channel(name)
	if err := ch.bind(); err != nil {
		n.log.Error("channel has no portal", "channel", name, "err", err)
		return
	}
	ch.portal.SetWanted(true)
}

// wanted tells whether there is a reason for the bot to be in the channel.
func (ch *channel) wanted() bool {
	return !ch.net.isShut(ch.key) && (len(ch.waiting) > 0 || ch.net.asking(ch.key) ||
		ch.portal != nil && (ch.portal.Room() != "" || ch.portal.Wanted()))
}

// enter notes that a nick is in a channel.
func (n *network) enter(ch *channel, who wire.Prefix) *user {
	folded := n.fold(who.Nick)
	u := n.users[folded]
	if u == nil {
		u = &user{nick: who.Nick, puppet: n.puppetOf(who), channels: map[*channel]bool{}}
		u.bot = n.bot.is(who.Nick)
		n.users[folded] = u
	}
	ch.members[u] = true
	u.channels[ch] = true
	if u.puppet != nil {
		u.puppet.seen[u] = true
		n.attend(ch, u)
	}
	return u
}

// exit notes that a user is no longer in a channel; it forgets users who are in none.
func (n *network) exit(ch *channel, u *user) {
	delete(ch.members, u)
	ch.setStatus(u, "")
	delete(u.channels, ch)
	if len(u.channels) == 0 && n.users[n.fold(u.nick)] == u {
		delete(n.users, n.fold(u.nick))
	}
	if u.puppet != nil {
		if len(u.channels) == 0 {
			delete(u.puppet.seen, u)
		}
		n.attend(ch, u)
	}
}

// rename notes a new nick.
func (n *network) rename(u *user, nick string) {
	if n.users[n.fold(u.nick)] == u {
		delete(n.users, n.fold(u.nick))
	}
	u.nick = nick
	n.users[n.fold(nick)] = u
}

// leave forgets who is in a channel: the bot is not any more.
func (n *network) leave(ch *channel) {
	ch.joined, ch.synced, ch.names, ch.recall = false, false, nil, nil
	ch.told, ch.masks, ch.listed = false, nil, nil
	n.watched.Delete(ch.key)
	n.relay.enters(ch.key, false)
	n.settleChannel(ch)
	for u := range maps.Clone(ch.members) {
		n.exit(ch, u)
	}
}

// shutOut notes that IRC does not let the bot into a channel, and tells its room, once until it does.
func (n *network) shutOut(ch *channel, m *wire.Message) {
	if !ch.refused && ch.portal != nil {
		ch.portal.Notice(fmt.Sprintf("IRC does not let the bridge into %s: %s Until it does, what is said there cannot be seen here.",
			decode(ch.name), strings.TrimSuffix(plain(m.Last()), ".")+"."))
	}
	ch.refused = true
}

// watches tells whether the bot sees what is said in a channel. It is safe for
// concurrent use.
func (n *network) watches(channel string) bool {
	_, ok := n.watched.Load(channel)
	return ok
}

// visible tells whether a user has a ghost.
func (u *user) visible() bool { return u.puppet == nil && !u.bot && !u.barred }

// showMembers makes the channel's virtual users the room's.
func (ch *channel) showMembers() {
	n := ch.net
	var ghosts []bridge.Ghost
	for u := range ch.members {
		if u.visible() {
			ghosts = append(ghosts, n.ghost(u.nick))
		}
	}
	ch.portal.SetMembers(ghosts, n.now().LazyMembers > 0 && len(ghosts) > n.now().LazyMembers)
}

// endOfNames compares what the server says with the room.
func (ch *channel) endOfNames(c *wire.Conn) {
	n, first := ch.net, !ch.synced
	present := map[*user]bool{}
	for _, m := range ch.names {
		if n.strange(m.Prefix.Nick) {
			continue
		}
		u := n.enter(ch, m.Prefix)
		n.show(u, m.Prefix)
		ch.setStatus(u, m.Modes)
		present[u] = true
	}
	ch.names = nil
	for u := range maps.Clone(ch.members) {
		if !present[u] {
			n.exit(ch, u)
			n.settleGone(u, ch)
		}
	}
	n.foundAll(ch.portal)
	ch.showMembers()
	n.lookForDoubles(ch)
	if !first {
		n.shown(ch)
		return
	}
	n.fillGap(ch, c, func() {
		ch.synced = true
		n.shown(ch)
	})
}
