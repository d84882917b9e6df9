package irc

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"

	"trestle/bridges/irc/names"
	"trestle/bridges/irc/wire"
	"trestle/internal/database"
	"trestle/internal/matrix"
)

const (
	maxRelayNick = 20
	relayMark    = "m"      // what stands behind the separator in nicks of RELAYMSG
	zeroWidth    = "\u200b" // a space without width
)

// relayColors are legible on black and on white.
var relayColors = []int{2, 3, 4, 5, 6, 7, 10, 12, 13}

var (
	selectRelayed = database.SQL(`
		SELECT user_id, nick, named_for, wanted
		FROM irc_relayed
		WHERE network = $1
		ORDER BY user_id
		LIMIT 10000000`)
	upsertRelayed = database.SQL(`
		INSERT INTO irc_relayed (network, user_id, nick, named_for, wanted)
		VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (network, user_id) DO UPDATE
		SET nick = excluded.nick, named_for = excluded.named_for, wanted = excluded.wanted`)
)

// A relayed is somebody for whom the bot speaks, or did.
type relayed struct {
	nick     string // empty: none yet
	namedFor string // the display name of which it was made
	wanted   bool   // they want no connection of their own
}

func newRelay(n *network) (*relay, error) {
	r := &relay{
		net: n, turn: make(chan struct{}, 1), full: map[matrix.UserID]bool{}, voices: map[string]*speech{},
		plain: map[string]*wire.Conn{}, people: map[matrix.UserID]*relayed{}, nicks: map[string]matrix.UserID{},
	}
	if err := r.load(n.service.ctx); err != nil {
		return nil, fmt.Errorf("read who is spoken for: %w", err)
	}
	return r, nil
}

func (r *relay) load(ctx context.Context) error {
	rows, err := r.net.service.db.Read().Query(ctx, selectRelayed, r.net.config.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var user matrix.UserID
		one := &relayed{}
		if err := rows.Scan(&user, &one.nick, &one.namedFor, &one.wanted); err != nil {
			return err
		}
		r.people[user] = one
		if one.nick != "" {
			r.nicks[r.net.fold(one.nick)] = user
		}
	}
	return rows.Err()
}

// save is called with mu held. What is lost of it is made anew.
func (r *relay) save(user matrix.UserID) {
	one := r.people[user]
	args := []any{r.net.config.ID, user, one.nick, one.namedFor, one.wanted}
	r.net.service.db.Enqueue(func(tx *database.Tx) error {
		return tx.Queue(context.Background(), upsertRelayed, args...)
	}, func(err error) {
		if err != nil && !errors.Is(err, database.ErrClosed) {
			r.net.log.Error("how somebody is called on IRC was not stored", "err", err)
		}
	})
}

func (r *relay) person(user matrix.UserID) *relayed {
	one := r.people[user]
	if one == nil {
		one = &relayed{}
		r.people[user] = one
	}
	return one
}

// wants tells whether somebody wants no connection of their own.
func (r *relay) wants(user matrix.UserID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.people[user]
	return one != nil && one.wanted
}

func (r *relay) setWanted(user matrix.UserID, wanted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.person(user).wanted = wanted
	r.save(user)
}

// nick is how the bot names somebody: as they call themselves, as far as a nick can say that, and as nobody
// else is called, neither on IRC now nor by the bot ever. Who has a name keeps it, until they call
// themselves something else. It is called on the loop.
func (r *relay) nick(user matrix.UserID, display string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	display = strings.ToValidUTF8(strings.ReplaceAll(display, "\x00", ""), "")
	one := r.person(user)
	if one.nick != "" && one.namedFor == display {
		return one.nick
	}
	for nick := range names.Nicks(r.baseNick(user, display), maxRelayNick) {
		if r.free(nick, user) {
			delete(r.nicks, r.net.fold(one.nick))
			one.nick, one.namedFor = nick, display
			r.nicks[r.net.fold(nick)] = user
			r.save(user)
			return nick
		}
	}
	return one.nick // names.Nicks does not end
}

// baseNick is a nick made of a display name, without what the prefix has around it: where that
// ends, nobody but the operator decides.
func (r *relay) baseNick(user matrix.UserID, display string) string {
	around := strings.ReplaceAll(r.net.now().Relay.Prefix, relayPlace, "")
	for _, template := range []string{"$DISPLAY", "$LOCALPART"} {
		nick := names.Nick(template, names.Person{UserID: string(user), DisplayName: display}, maxRelayNick)
		nick = strings.Map(func(c rune) rune {
			if strings.ContainsRune(around, c) {
				return -1
			}
			return c
		}, nick)
		if nick != "" {
			return nick
		}
	}
	return relayMark
}

// free is called with mu held.
func (r *relay) free(nick string, user matrix.UserID) bool {
	n, folded := r.net, r.net.fold(nick)
	if owner := r.nicks[folded]; owner != "" && owner != user {
		return false
	}
	if p := n.byNick[folded]; p != nil && p.user != user {
		return false
	}
	u := n.users[folded]
	return (u == nil || u.puppet != nil && u.puppet.user == user) && folded != n.fold(n.now().BotNick) && !n.bot.is(nick)
}

// nickOf is how somebody appears on IRC for whom the bot speaks.
func (r *relay) nickOf(user matrix.UserID) (string, bool) {
	nick, ok := r.called(user)
	if !ok {
		return "", false
	}
	return r.shown(nick), true
}

// called is how the bot names somebody, if it has a name for them.
func (r *relay) called(user matrix.UserID) (nick string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.people[user]
	if one == nil {
		return "", false
	}
	return one.nick, one.nick != ""
}

// shown is a nick as people on IRC see it.
func (r *relay) shown(nick string) string { return nick + r.suffix() }

// suffix is what nicks of RELAYMSG end with; empty where there is no such thing.
func (r *relay) suffix() string {
	r.mu.Lock()
	conn := r.conn
	r.mu.Unlock()
	if conn == nil {
		return ""
	}
	separator, ok := conn.RelaySeparator()
	if !ok {
		return ""
	}
	return separator + relayMark
}

// mentioned is whom of those for whom the bot speaks a word of a message may mean. Those who are in the
// channel themselves come first.
func (r *relay) mentioned(ch *channel, nick string) (matrix.UserID, bool) {
	if suffix := r.suffix(); suffix != "" {
		nick = strings.TrimSuffix(nick, suffix)
	}
	r.mu.Lock()
	user := r.nicks[r.net.fold(nick)]
	r.mu.Unlock()
	if u := r.net.users[r.net.fold(nick)]; user == "" || ch.portal == nil || u != nil && ch.members[u] {
		return "", false
	}
	_, there := ch.portal.Person(user)
	return user, there && r.net.relays(ch.key, user)
}

// A guise says how somebody is to appear on a connection, and as what kind of text then.
type guise func(conn *wire.Conn, kind wire.Kind, plain bool) (wire.Guise, wire.Kind)

// guise is that of a nick in a channel.
func (r *relay) guise(channel, nick string) guise {
	return func(conn *wire.Conn, kind wire.Kind, plain bool) (wire.Guise, wire.Kind) {
		r.mu.Lock()
		refused := r.plain[channel] == conn
		r.mu.Unlock()
		separator, can := conn.RelaySeparator()
		switch {
		case can && !plain && !refused && kind != wire.Notice: // RELAYMSG has no notices, which programs do not answer
			return wire.Guise{Nick: nick + separator + relayMark}, kind
		case kind == wire.Action:
			return wire.Guise{Before: "* " + r.net.now().Relay.named(nick) + " "}, wire.Privmsg
		}
		return wire.Guise{Before: strings.ReplaceAll(r.net.now().Relay.Prefix, relayPlace, r.net.now().Relay.named(nick))}, kind
	}
}

// named is a nick as it stands in the prefix.
func (c Relay) named(nick string) string {
	plain := nick
	if c.Break {
		nick = nick[:1] + zeroWidth + nick[1:]
	}
	if !c.Colors {
		return nick
	}
	hash := fnv.New32a()
	hash.Write([]byte(plain))
	return fmt.Sprintf("\x03%02d%s\x0f", relayColors[hash.Sum32()%uint32(len(relayColors))], nick)
}
