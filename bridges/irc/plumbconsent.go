package irc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"trestle/appservice/client"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

const (
	proofWait  = 10 * time.Second // for the server to say who is an operator
	maxNamed   = 10000            // operators of a channel that are looked at
	maxAnswer  = 200              // bytes of what somebody answers that are read
	codeDigits = 1_000_000
)

// askPace is how often operators of a network are asked something, all of them together.
var askPace = wire.Flood{Burst: 20, Interval: 5 * time.Second}

// A question waits for an operator's answer. It belongs to the network's loop.
type question struct {
	id      string // of the plumb
	channel string // folded
	proving bool   // somebody has answered who may be an operator
}

// An answer is what somebody on IRC has told the bot about links.
type answer struct {
	verb    string // yes, no or unlink
	code    string
	public  bool   // also if everybody can read the room
	channel string // to be unlinked
}

// parseAnswer reads what somebody has said to the bot.
func parseAnswer(text string) (a answer, ok bool) {
	if len(text) > maxAnswer {
		return answer{}, false
	}
	words := strings.Fields(text)
	if len(words) < 2 || len(words) > 3 {
		return answer{}, false
	}
	a.verb = strings.ToLower(words[0])
	switch {
	case a.verb == "unlink" && len(words) == 2:
		a.channel = words[1]
		return a, true
	case a.verb == "yes" && len(words) == 3 && strings.EqualFold(words[2], "public"):
		a.public = true
	case a.verb != "yes" && a.verb != "no" || len(words) != 2:
		return answer{}, false
	}
	for _, c := range words[1] {
		if c < '0' || c > '9' {
			return answer{}, false
		}
	}
	a.code = words[1]
	return a, true
}

// newCode is what an answer has to repeat.
func newCode() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("%06d", binary.BigEndian.Uint64(b[:])%codeDigits)
}

// operates tells whether status letters are those of an operator, or of more. It is called on the loop.
func (n *network) operates(letters string) bool {
	if !n.bot.online {
		return false
	}
	for _, prefix := range n.bot.link.conn.Support().Prefixes {
		if strings.IndexByte(letters, prefix.Mode) >= 0 {
			return true
		}
		if prefix.Mode == 'o' {
			return false
		}
	}
	return false
}

// question asks operators, whom somebody of Matrix has to wait for. It is called on the loop.
func (n *network) question(one plumb, operators []string) {
	code := newCode()
	for n.questions[code] != nil {
		code = newCode()
	}
	n.questions[code] = &question{id: one.ID, channel: string(one.Channel)}
	for _, nick := range operators {
		n.bot.say(wire.Text{Kind: wire.Privmsg, Target: nick, Lines: questionLines(one, code, n.now().PlumbWait)})
	}
	n.after(time.Until(time.UnixMilli(one.Until)), func() {
		delete(n.questions, code)
		n.goRun(func() { n.expire(one.ID) })
	})
}

// harmless is a text of strangers as it may stand in a line: without controls, formatting included.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, text)
}

// questionLines say what an operator has to know: who asks, who will read, and what to answer.
func questionLines(one plumb, code string, wait time.Duration) []string {
	room := string(one.Room)
	if one.Title != "" {
		room = fmt.Sprintf("“%s” (%s)", one.Title, one.Room)
	}
	room = harmless(room)
	who := "who is invited may join it"
	if one.Open {
		who = "anybody may join it"
	}
	name := harmless(decode(string(one.Name)))
	yes := "yes " + code
	lines := []string{
		fmt.Sprintf("%s wants to link %s with the Matrix room %s: %d are there, and %s.", clip(harmless(string(one.AskedBy)), 100), name, clip(room, 200), one.Members, who),
		"What is said in either is then said in the other. Who is in the room reads the channel without being in it, and who comes later may read what was said before.",
	}
	if one.World {
		yes += " public"
		lines = append(lines, "This room can be read by EVERYBODY, without joining it and without an account.")
	}
	return append(lines, fmt.Sprintf("Only an operator of %s can allow that. To allow it, answer here: %s — to refuse it: no %s — This counts for %s. It can be ended at any time by: unlink %s",
		name, yes, code, wait.Round(time.Second), name))
}

// answered takes what somebody says to the bot, if it is an answer or a wish about links. It is called
// on the loop.
func (n *network) answered(m *wire.Message) bool {
	a, ok := parseAnswer(m.Last())
	if !ok || m.Replayed() || m.Command != "PRIVMSG" {
		return false
	}
	if a.verb == "unlink" {
		n.unlinkAsked(a, m)
		return true
	}
	q := n.questions[a.code]
	if q == nil || q.proving {
		n.tellNick(m.Prefix.Nick, "No question with that code is open.")
		return true
	}
	one, ok := n.service.plumbs.get(q.id)
	if !ok || one.State != plumbAsked {
		return true
	}
	if a.verb == "yes" && one.World && !a.public {
		n.tellNick(m.Prefix.Nick, "Everybody can read that room. If you want that, answer: yes "+a.code+" public")
		return true
	}
	q.proving = true
	n.prove(q.channel, m, func(by witnessed, proven bool) {
		q.proving = false
		if !proven {
			n.tellNick(by.nick, fmt.Sprintf("You are no operator of %s at this moment.", decode(string(one.Name))))
			return
		}
		delete(n.questions, a.code)
		n.goRun(func() { n.decide(one.ID, a, by) })
	})
	return true
}

// answerLimit is how much strangers are told about links.
var answerLimit = wire.Flood{Burst: 20, Interval: time.Second}

// tellNick says something to somebody on IRC, unless too much is said already.
func (n *network) tellNick(nick, text string) {
	if n.answers.take(time.Now()) {
		n.bot.say(wire.Text{Kind: wire.Notice, Target: nick, Lines: []string{harmless(text)}})
	}
}

// A witnessed is somebody who was seen to be an operator.
type witnessed struct {
	nick    string // by now
	mask    string
	account string
}

// prove finds out whether who has sent a message is an operator of a channel at this moment: as
// the bot has seen it, all changes of nicks and modes included, and then as the server says when it is asked.
// Who leaves, or loses the status, meanwhile is none. It is called on the loop, as is then.
func (n *network) prove(channel string, m *wire.Message, then func(witnessed, bool)) {
	by := witnessed{m.Prefix.Nick, clip(decode(m.Prefix.String()), 200), clip(decode(m.Account()), 60)}
	ch, u := n.known(channel), n.users[n.fold(m.Prefix.Nick)]
	is := func() bool {
		return u != nil && n.known(channel) == ch && ch.members[u] && n.operates(ch.status[u]) && u.puppet == nil && !u.barred
	}
	if ch == nil || !is() {
		then(by, false)
		return
	}
	conn, name := n.bot.link.conn, ch.name
	n.goRun(func() {
		operators, err := n.namedOperators(conn, name)
		n.post(func() {
			by.nick = u.nick
			then(by, err == nil && is() && operators[n.fold(u.nick)])
		})
	})
}

// namedOperators asks the server for a channel's operators, folded.
func (n *network) namedOperators(conn *wire.Conn, channel string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(n.ctx, proofWait)
	defer cancel()
	var named []wire.Member
	folded := n.fold(channel)
	err := conn.Request(ctx, wire.NewMessage("NAMES", channel), func(m *wire.Message) bool {
		switch m.Command {
		case "353":
			of, members := conn.Support().Names(m)
			for _, member := range members {
				if n.fold(of) == folded && member.Modes != "" && len(named) < maxNamed {
					named = append(named, member)
				}
			}
		case "366":
			return n.fold(m.Param(1)) == folded
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	operators := map[string]bool{}
	n.ask(ctx, func() {
		for _, member := range named {
			if n.operates(member.Modes) {
				operators[n.fold(member.Prefix.Nick)] = true
			}
		}
	})
	return operators, nil
}

// decide does what an operator has answered.
func (n *network) decide(id string, a answer, by witnessed) {
	s := n.service
	one, ok := s.plumbs.get(id)
	if !ok {
		return
	}
	name := decode(string(one.Name))
	if a.verb == "no" {
		n.refuse(one, by.mask, fmt.Sprintf("%s refuses to have %s linked with the room.", decode(by.nick), name))
		n.post(func() { n.tellNick(by.nick, "Nothing is linked.") })
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, plumbWait)
	defer cancel()
	var visibility string
	err := client.Retry(ctx, nil, func(ctx context.Context) (err error) {
		visibility, err = s.bridge.Visibility(ctx, one.Room)
		return err
	})
	if client.Temporary(err) || ctx.Err() != nil {
		n.post(func() {
			n.questions[a.code] = &question{id: one.ID, channel: string(one.Channel)}
			n.tellNick(by.nick, "The room cannot be looked at just now. Answer again in a moment.")
		})
		return
	}
	if err != nil || visibility == "world_readable" && !one.World {
		n.refuse(one, "", "The room has changed since it was asked whether it may be linked with "+name+". Ask again.")
		n.post(func() { n.tellNick(by.nick, "The room is another than I told you: nothing is linked.") })
		return
	}
	one, err = s.plumbs.move(ctx, id, []string{plumbAsked}, func(one *plumb) {
		one.State, one.Granted, one.Account = plumbGranted, by.mask, by.account
	}, nil)
	if err != nil {
		n.logPlumb(one, err)
		n.post(func() { n.tellNick(by.nick, "That did not work, or it is too late.") })
		return
	}
	n.log.Info("an operator has allowed a link", "channel", name, "room", one.Room, "by", by.mask, "account", by.account, "asked_by", one.AskedBy)
	if n.install(one) {
		n.post(func() { n.tellNick(by.nick, fmt.Sprintf("%s is linked. To end that: unlink %s", name, name)) })
	}
}

// refuse ends a wish that is not granted.
func (n *network) refuse(one plumb, by, reason string) {
	n.endWish(one, plumbRefused, by, reason)
}

// expire ends a wish that nobody has answered in time.
func (n *network) expire(id string) {
	if one, ok := n.service.plumbs.get(id); ok && one.State == plumbAsked {
		n.endWish(one, plumbExpired, "", "No operator of "+decode(string(one.Name))+" has answered in time: the room is not linked.")
	}
}

func (n *network) endWish(one plumb, state, by, reason string) {
	one, err := n.service.plumbs.move(n.ctx, one.ID, []string{plumbAsked, plumbGranted}, func(one *plumb) {
		one.State, one.Granted, one.Reason = state, by, reason
		one.Until = time.Now().Add(plumbHistory).UnixMilli()
	}, nil)
	if err != nil {
		n.logPlumb(one, err)
		return
	}
	n.service.notifyPlumber(one, reason)
	n.post(func() {
		for code, q := range n.questions {
			if q.id == one.ID {
				delete(n.questions, code)
			}
		}
		n.abandon(string(one.Name))
	})
	if err := n.service.plumbs.prune(n.ctx, time.Now()); err != nil {
		n.logPlumb(one, err)
	}
}

func (n *network) logPlumb(one plumb, err error) {
	if err != nil && !errors.Is(err, errMoved) && n.ctx.Err() == nil {
		n.log.Error("a link with a room", "room", one.Room, "channel", decode(string(one.Name)), "err", err)
	}
}

// unlinkAsked is called when somebody on IRC wants a link to end. It is called on the loop.
func (n *network) unlinkAsked(a answer, m *wire.Message) {
	one, ok := n.service.plumbs.ofChannel(n.key(a.channel))
	if !ok {
		n.tellNick(m.Prefix.Nick, "That channel is not linked with a room of others.")
		return
	}
	channel := string(one.Channel)
	if n.proving[channel] {
		return
	}
	n.proving[channel] = true
	n.prove(channel, m, func(by witnessed, proven bool) {
		delete(n.proving, channel)
		if !proven {
			n.tellNick(by.nick, fmt.Sprintf("You are no operator of %s at this moment.", decode(string(one.Name))))
			return
		}
		n.goRun(func() {
			err := n.unlink(n.ctx, one, decode(by.nick)+" has ended the link with "+decode(string(one.Name))+" on IRC.")
			answer := "The link has ended."
			if err != nil {
				n.logPlumb(one, err)
				answer = "That did not work."
				if known := (*matrix.Error)(nil); errors.As(err, &known) {
					answer = known.Message
				}
			}
			n.post(func() { n.tellNick(by.nick, answer) })
		})
	})
}
