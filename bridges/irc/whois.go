package irc

import (
	"context"
	"fmt"
	"strings"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/names"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// commandWhois tells who is behind a nick, and whose nick is a Matrix user's.
func (s *Service) commandWhois(ctx context.Context, call *bridge.Call) (string, error) {
	if len(call.Args) == 0 {
		return "", matrix.MissingParam("Say whom: whois nick, or whois @user:server.")
	}
	if last := call.Args[len(call.Args)-1]; strings.HasPrefix(last, "@") {
		return s.whoisUser(ctx, call, matrix.UserID(last))
	}
	n, args, err := s.commandNetworkOf(call, 1)
	if err != nil {
		return "", err
	}
	if len(args) != 1 || !names.ValidNick(args[0]) {
		return "", matrix.MissingParam("Say whom: whois nick, or whois @user:server.")
	}
	return n.whois(ctx, call, args[0])
}

// whoisUser is about a Matrix user: a virtual one is somebody on IRC.
func (s *Service) whoisUser(ctx context.Context, call *bridge.Call, user matrix.UserID) (string, error) {
	if _, err := matrix.ParseUserID(string(user)); err != nil {
		return "", matrix.InvalidParam("That is not a user ID.")
	}
	if _, ghost := s.Ghost(user); ghost {
		n, nick := s.whose(user)
		return n.whois(ctx, call, nick)
	}
	asked := s.all()
	if len(call.Args) > 1 {
		n, _, err := s.commandNetworkOf(call, 1)
		if err != nil {
			return "", err
		}
		asked = []*network{n}
	}
	lines := make([]string, len(asked))
	for i, n := range asked {
		lines[i] = fmt.Sprintf("%s is not connected to %s.", user, n.now().Name)
		if nick, ok := n.nicks.Load(user); ok {
			lines[i] = fmt.Sprintf("%s is %s on %s.", user, decode(nick.(string)), n.now().Name)
		}
	}
	return strings.Join(lines, "\n"), nil
}

// whois says what the bridge knows of a nick, and what IRC tells whoever asks. That is asked on the
// user's own connection: the bot's would tell of channels that are none of the user's business.
func (n *network) whois(ctx context.Context, call *bridge.Call, nick string) (string, error) {
	text := fmt.Sprintf("%s on %s is %s.", decode(nick), n.now().Name, n.ghost(nick).ID)
	n.ask(ctx, func() {
		switch p := n.byNick[n.fold(nick)]; {
		case p != nil:
			text = fmt.Sprintf("%s on %s is the Matrix user %s.", decode(nick), n.now().Name, p.user)
		case n.bot.is(nick):
			text = fmt.Sprintf("%s on %s is this bridge.", decode(nick), n.now().Name)
		}
	})
	conn, err := n.connOf(ctx, call.Sender)
	if err != nil {
		return text + " You have no connection by which IRC could be asked for more.", nil
	}
	heard := hearing{public: n.service.private(ctx, call) != nil}
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	err = conn.Request(ctx, wire.NewMessage("WHOIS", nick), func(m *wire.Message) bool {
		if m.Numeric() != 318 && m.Numeric() > 0 && n.fold(m.Param(1)) == n.fold(nick) && len(m.Params) > 2 && !heard.withheld(m) {
			heard.line(plain(strings.Join(m.Params[2:], " ")))
		}
		return m.Numeric() == 318 && n.fold(m.Param(1)) == n.fold(nick)
	})
	if err != nil {
		return "", matrix.NotFound("IRC did not answer: %s", decode(err.Error()))
	}
	return strings.TrimSpace(text + "\n" + heard.text()), nil
}
