package irc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/names"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

// commandWait bounds how long a command waits for IRC.
const commandWait = 20 * time.Second

// commands is what people may ask for. Those that are about one network take its
// name first; it may be left out in a channel's room and if there is only one.
func (s *Service) commands() []bridge.Command {
	return []bridge.Command{
		{Name: "join", Args: "[NETWORK] #CHANNEL [KEY]", Help: "opens a room for a channel and invites you", Run: s.commandJoin},
		{Name: "nick", Args: "[NETWORK] [NICK]", Help: "shows or changes your nick", Run: s.commandNick},
		{Name: "whois", Args: "[NETWORK] NICK", Help: "asks IRC who somebody is", Run: s.commandWhois},
		{Name: "networks", Help: "lists the networks", Run: s.commandNetworks},
		{Name: "status", Help: "shows your connections", Run: s.commandStatus},
		{Name: "username", Args: "[NETWORK] [NAME]", Help: "shows or sets the account that you log in to on IRC", Run: s.commandUsername},
		{Name: "storepass", Args: "[NETWORK] PASSWORD", Help: "keeps the password of your account on IRC, and logs in", Run: s.commandStorePass},
		{Name: "removepass", Args: "[NETWORK]", Help: "forgets the password", Run: s.commandRemovePass},
		{Name: "certfp", Args: "[NETWORK] [add | use | remove]", Help: "makes a certificate for you and shows its fingerprint; registers it with NickServ; logs in with it; forgets it", Run: s.commandCertFP},
		{Name: "reconnect", Args: "[NETWORK]", Help: "drops your connection and makes a new one", Run: s.commandReconnect},
	}
}

// commandNetwork takes the network's name, if there is one, off the arguments.
func (s *Service) commandNetwork(call *bridge.Call) (*network, []string, error) {
	if len(call.Args) > 0 {
		if n := s.networks[call.Args[0]]; n != nil {
			return n, call.Args[1:], nil
		}
	}
	if call.Portal != nil {
		if n := s.networks[call.Portal.Key().Network]; n != nil {
			return n, call.Args, nil
		}
	}
	if len(s.order) == 1 {
		return s.order[0], call.Args, nil
	}
	ids := make([]string, len(s.order))
	for i, n := range s.order {
		ids[i] = n.config.ID
	}
	return nil, nil, matrix.MissingParam("Say which network you mean: %s.", strings.Join(ids, ", "))
}

func (s *Service) commandJoin(ctx context.Context, call *bridge.Call) (string, error) {
	n, args, err := s.commandNetwork(call)
	if err != nil {
		return "", err
	}
	if len(args) < 1 || len(args) > 2 {
		return "", matrix.MissingParam("Say which channel: join #channel, and its key if it has one.")
	}
	key := ""
	if len(args) == 2 {
		key = args[1]
	}
	p, err := n.openFor(ctx, args[0], key)
	if err != nil {
		return "", err
	}
	if err := s.bridge.Client().Bot().Invite(ctx, p.Room(), call.Sender); err != nil {
		n.log.Info("no invitation", "room", p.Room(), "user", call.Sender, "err", err)
	}
	return fmt.Sprintf("%s is the room %s. You are invited.", args[0], n.aliasOf(args[0])), nil
}

func (s *Service) commandNick(ctx context.Context, call *bridge.Call) (string, error) {
	n, args, err := s.commandNetwork(call)
	if err != nil {
		return "", err
	}
	if len(args) > 0 {
		return n.chooseNick(ctx, call.Sender, args[0])
	}
	conn, err := n.connOf(ctx, call.Sender)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("You are %s on %s.", conn.Nick(), n.config.Name), nil
}

// connOf is a user's own connection.
func (n *network) connOf(ctx context.Context, user matrix.UserID) (*wire.Conn, error) {
	var conn *wire.Conn
	n.ask(ctx, func() {
		if p := n.puppets[user]; p != nil && p.link != nil {
			conn = p.link.conn
		}
	})
	if conn == nil {
		return nil, matrix.NotFound("You have no connection to %s. You get one with the first channel that you join.", n.config.Name)
	}
	return conn, nil
}

func (s *Service) commandWhois(ctx context.Context, call *bridge.Call) (string, error) {
	n, args, err := s.commandNetwork(call)
	if err != nil {
		return "", err
	}
	if len(args) != 1 || !names.ValidNick(args[0]) {
		return "", matrix.MissingParam("Say whom: whois nick.")
	}
	conn, err := n.connOf(ctx, call.Sender)
	if err != nil {
		return "", err
	}
	var answer []string
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	err = conn.Request(ctx, wire.NewMessage("WHOIS", args[0]), func(m *wire.Message) bool {
		if m.Numeric() != 318 && n.fold(m.Param(1)) == n.fold(args[0]) && len(m.Params) > 2 {
			answer = append(answer, plain(strings.Join(m.Params[2:], " ")))
		}
		return m.Numeric() == 318
	})
	if err != nil {
		return "", matrix.NotFound("IRC did not answer: %s", decode(err.Error()))
	}
	return args[0] + ":\n" + strings.Join(answer, "\n"), nil
}

func (s *Service) commandNetworks(ctx context.Context, _ *bridge.Call) (string, error) {
	var text strings.Builder
	for _, status := range s.Status(ctx).Networks {
		fmt.Fprintf(&text, "%s (%s): %s\n", status.ID, status.Name, status.State)
	}
	return strings.TrimSpace(text.String()), nil
}

func (s *Service) commandStatus(ctx context.Context, call *bridge.Call) (string, error) {
	var text strings.Builder
	for _, n := range s.order {
		n.ask(ctx, func() {
			p := n.puppets[call.Sender]
			switch {
			case p == nil:
				fmt.Fprintf(&text, "%s: not used\n", n.config.ID)
			case p.link != nil && p.link.conn != nil:
				fmt.Fprintf(&text, "%s: connected as %s for %s, %d channels\n", n.config.ID, p.link.conn.Nick(), ago(p.since), len(p.wanted))
			default:
				fmt.Fprintf(&text, "%s: not connected, %d failures, %d channels\n", n.config.ID, p.failures, len(p.wanted))
			}
		})
	}
	return strings.TrimSpace(text.String()), nil
}

func (s *Service) commandReconnect(ctx context.Context, call *bridge.Call) (string, error) {
	n, _, err := s.commandNetwork(call)
	if err != nil {
		return "", err
	}
	n.reconnect(ctx, call.Sender)
	return "Connecting to " + n.config.Name + ".", nil
}

// reconnect drops a user's connection, or the wait for one, and makes a new one if there
// is something to do for it.
func (n *network) reconnect(ctx context.Context, user matrix.UserID) {
	n.ask(ctx, func() {
		p := n.puppet(user)
		if p.waiting != nil {
			p.waiting.Stop()
			p.waiting = nil
		}
		p.failures, p.told = 0, false
		if p.link != nil {
			p.again = true
			p.link.quit("Reconnecting")
		} else if len(p.wanted) > 0 {
			p.connect()
		}
	})
}
