package irc

import (
	"context"
	"fmt"
	"strings"

	"trestle/bridges/irc/names"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// templates translate between a network's names and Matrix IDs.
type templates struct {
	alias, user pattern
	display     string
	nick        string
	realname    string
	bot         string              // the bridge's own localpart, which is nobody's on IRC
	kept        *keptNames          // nil: there was no other bridge
	fold        func(string) string // as the network does
}

// A pattern is a localpart with one place for a name in it.
type pattern struct{ before, after string }

func newTemplates(n *Network) (*templates, error) {
	alias, err := newPattern(strings.ReplaceAll(n.Alias, "{network}", n.ID), "{channel}")
	if err != nil {
		return nil, fmt.Errorf("alias: %w", err)
	}
	user, err := newPattern(strings.ReplaceAll(n.User, "{network}", n.ID), "{nick}")
	if err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	if !matrix.ValidLocalpart(user.before + user.after) {
		return nil, fmt.Errorf("user: %q has characters that user IDs do not", n.User)
	}
	return &templates{
		alias: alias, user: user,
		display:  strings.ReplaceAll(n.DisplayName, "{network}", n.Name),
		nick:     strings.NewReplacer("{localpart}", "$LOCALPART", "{display}", "$DISPLAY", "{mxid}", "$USERID").Replace(n.Nick),
		realname: n.Realname,
	}, nil
}

func newPattern(template, place string) (pattern, error) {
	before, after, ok := strings.Cut(template, place)
	if !ok || strings.Contains(after, place) {
		return pattern{}, fmt.Errorf("%q needs %s exactly once", template, place)
	}
	if before == "" {
		return pattern{}, fmt.Errorf("%q would claim every name: it needs something before %s", template, place)
	}
	return pattern{before, after}, nil
}

func (p pattern) fill(name string) string { return p.before + name + p.after }

func (p pattern) match(s string) (name string, ok bool) {
	if len(s) <= len(p.before)+len(p.after) || !strings.HasPrefix(s, p.before) || !strings.HasSuffix(s, p.after) {
		return "", false
	}
	return s[len(p.before) : len(s)-len(p.after)], true
}

// channel is the channel that an alias' localpart means.
func (t *templates) channel(localpart string) (string, bool) {
	part, ok := t.alias.match(localpart)
	if !ok {
		return "", false
	}
	return names.UnescapeChannel(part)
}

// aliasLocalpart is the alias of a channel, given folded.
func (t *templates) aliasLocalpart(channel string) string {
	return t.alias.fill(names.EscapeChannel(channel))
}

// ghostNick is the nick, folded, that a virtual user's localpart means.
func (t *templates) ghostNick(localpart string) (string, bool) {
	part, ok := t.user.match(localpart)
	if !ok || localpart == t.bot {
		return "", false
	}
	if nick, ok := t.botsNick(); ok && localpart == t.insteadOfBot() {
		return nick, true
	}
	if nick, ok := names.UnescapeNick(part); ok || t.kept == nil {
		return nick, ok
	}
	// As it was written on IRC. Whatever could be such an ID is a virtual user's, and never a person's.
	return t.fold(part), true
}

// ghostLocalpart is the virtual user of a nick, given folded.
func (t *templates) ghostLocalpart(nick string) string {
	if t.kept != nil {
		if localpart, ok := t.kept.localpart(nick); ok {
			return localpart
		}
	}
	return t.written(nick)
}

// written is the localpart of a nick, given folded, as the template has it.
func (t *templates) written(nick string) string {
	localpart := t.user.fill(names.EscapeNick(nick))
	if localpart == t.bot {
		return t.insteadOfBot()
	}
	return localpart
}

// botsNick is the nick, folded, that would have the bridge's own ID, if there is one.
func (t *templates) botsNick() (string, bool) {
	part, ok := t.user.match(t.bot)
	if !ok {
		return "", false
	}
	return names.UnescapeNick(part)
}

// insteadOfBot is the localpart that this nick has. What needs no escape, and has one, is no other nick's.
func (t *templates) insteadOfBot() string {
	part, _ := t.user.match(t.bot)
	return t.user.fill(fmt.Sprintf("=%02x", part[0]) + part[1:])
}

// displayName is a virtual user's display name.
func (t *templates) displayName(nick string) string {
	return strings.ReplaceAll(t.display, "{nick}", nick)
}

// puppetNick is the nick that a Matrix user's connection asks for.
func (t *templates) puppetNick(user matrix.UserID, displayName string, maxLength int) string {
	return names.Nick(t.nick, names.Person{UserID: string(user), DisplayName: displayName}, maxLength)
}

// puppetRealname tells the network who a puppet is.
func (t *templates) puppetRealname(user matrix.UserID, displayName string) string {
	if displayName == "" {
		displayName = user.Localpart()
	}
	return oneLine(strings.NewReplacer("{localpart}", user.Localpart(), "{display}", displayName, "{mxid}", string(user)).Replace(t.realname))
}

// oneLine takes out what may not be in an IRC parameter.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return ' '
		}
		return r
	}, s))
}

// What people write is cut to what has its place in one message: what is too long for that would not be said at
// all, and who leaves a room would stay in the channel.
const (
	maxSaidReason = 250 // bytes, beside names of the usual length
	maxTopic      = 390
)

// reasonLine is a reason as IRC is told it.
func reasonLine(reason string) string { return clip(oneLine(reason), maxSaidReason) }

// kickReason is that of a kick, and topicLine a topic: as much of it as the server takes, which would cut
// it amid a character.
func (n *network) kickReason(ctx context.Context, reason string) string {
	return clip(oneLine(reason), n.allowed(ctx, maxSaidReason, func(s *wire.Support) int { return s.KickLen }))
}

func (n *network) topicLine(ctx context.Context, topic string) string {
	return clip(oneLine(topic), n.allowed(ctx, maxTopic, func(s *wire.Support) int { return s.TopicLen }))
}

// allowed is how long something may be, by what the server has said to the bot, without the mark of what was cut.
func (n *network) allowed(ctx context.Context, most int, said func(*wire.Support) int) int {
	limit := 0
	n.ask(ctx, func() {
		if n.bot.online {
			limit = said(n.bot.link.conn.Support())
		}
	})
	if limit == 0 {
		return most
	}
	return max(min(most, limit-len("…")), 1)
}
