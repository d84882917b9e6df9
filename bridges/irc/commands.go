package irc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
	"trestle/internal/telemetry"
)

// commandWait bounds how long a command waits for IRC.
const commandWait = 20 * time.Second

// commands is what people may ask for. Those that are about one network take its
// name first; it may be left out in a channel's room and if there is only one.
func (s *Service) commands() []bridge.Command {
	return []bridge.Command{
		{Name: "join", Args: "[NETWORK] #CHANNEL [KEY]", Help: "opens a room for a channel and invites you", Run: s.commandJoin},
		{Name: "nick", Args: "[NETWORK] [NICK]", Help: "shows or changes your nick", Run: s.commandNick},
		{Name: "whois", Args: "[NETWORK] NICK | @USER:SERVER", Help: "says who somebody on IRC is, or a Matrix user there", Run: s.commandWhois},
		{Name: "cmd", Args: "[NETWORK] COMMAND [ARGUMENTS]", Help: "gives a command of IRC on your connection and shows the answer", Run: s.commandRaw},
		{Name: "listrooms", Args: "[NETWORK]", Help: "lists the channels whose rooms you are in", Run: s.commandListRooms},
		{Name: "quit", Args: "[NETWORK]", Help: "disconnects you and takes you out of the channels' rooms, until you come back", Run: s.commandQuit},
		{Name: "feature", Args: "[NAME [on | off | default]]", Help: "shows or changes what the bridge does for you", Run: s.commandFeature},
		{Name: "active", Args: "[NETWORK]", Help: "keeps your connection from being closed because you are silent", Run: s.commandActive},
		{Name: "bridgeversion", Help: "says what bridge this is", Run: s.commandVersion},
		{Name: "networks", Help: "lists the networks", Run: s.commandNetworks},
		{Name: "status", Help: "shows your connections", Run: s.commandStatus},
		{Name: "username", Args: "[NETWORK] [NAME]", Help: "shows or sets the account that you log in to on IRC", Run: s.commandUsername},
		{Name: "storepass", Args: "[NETWORK] PASSWORD", Secret: true, Help: "keeps the password of your account on IRC, and logs in", Run: s.commandStorePass},
		{Name: "removepass", Args: "[NETWORK]", Help: "forgets the password", Run: s.commandRemovePass},
		{Name: "certfp", Args: "[NETWORK] [add | use | remove]", Help: "makes a certificate for you and shows its fingerprint; registers it with NickServ; logs in with it; forgets it", Run: s.commandCertFP},
		{Name: "relay", Args: "[NETWORK] [on | off]", Help: "has the bridge's bot speak for you, instead of a connection of your own", Run: s.commandRelay},
		{Name: "reconnect", Args: "[NETWORK]", Help: "drops your connection and makes a new one", Run: s.commandReconnect},
	}
}

// commandNetwork takes the network's name, if there is one, off the arguments.
func (s *Service) commandNetwork(call *bridge.Call) (*network, []string, error) {
	return s.commandNetworkOf(call, 0)
}

// commandNetworkOf is commandNetwork where so many arguments must be left: the first may be
// something else by the name of a network.
func (s *Service) commandNetworkOf(call *bridge.Call, least int) (*network, []string, error) {
	if len(call.Args) > least {
		if n := s.networkAt(call.Args[0]); n != nil {
			return n, call.Args[1:], nil
		}
	}
	if call.Portal != nil {
		if n := s.network(call.Portal.Key().Network); n != nil {
			return n, call.Args, nil
		}
	}
	all := s.all()
	if len(all) == 1 {
		return all[0], call.Args, nil
	}
	ids := make([]string, len(all))
	for i, n := range all {
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
	before := s.bridge.Find(n.key(args[0]))
	fresh := before == nil || before.Room() == ""
	p, err := n.openFor(ctx, args[0], key)
	if err != nil {
		return "", err
	}
	if fresh {
		p.SetCreator(call.Sender)
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
	if len(args) > 1 {
		return "", matrix.InvalidParam("A nick is one word. If you mean another network, say which: nick network nick.")
	}
	if len(args) > 0 {
		return n.chooseNick(ctx, call.Sender, args[0])
	}
	conn, err := n.connOf(ctx, call.Sender)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("You are %s on %s.", conn.Nick(), n.now().Name), nil
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
		return nil, matrix.NotFound("You have no connection to %s. You get one with the first channel that you join.", n.now().Name)
	}
	return conn, nil
}

func (s *Service) commandNetworks(ctx context.Context, _ *bridge.Call) (string, error) {
	var text strings.Builder
	for _, status := range s.Status(ctx).Networks {
		fmt.Fprintf(&text, "%s (%s): %s; %d people of Matrix\n", status.ID, status.Name, status.State, status.Puppets)
	}
	return strings.TrimSpace(text.String()), nil
}

func (s *Service) commandStatus(ctx context.Context, call *bridge.Call) (string, error) {
	var text strings.Builder
	for _, n := range s.all() {
		state := "not answering"
		n.ask(ctx, func() { state = n.statusOf(call.Sender) })
		fmt.Fprintf(&text, "%s: %s\n", n.config.ID, state)
	}
	return strings.TrimSpace(text.String()), nil
}

// statusOf is what there is to say of a user. It is called on the loop.
func (n *network) statusOf(user matrix.UserID) string {
	p := n.puppets[user]
	account := ""
	if one := n.service.accounts.of(whose{n.config.ID, user}); one.external {
		account = ", logged in with a certificate"
	} else if one.password != nil {
		account = ", logged in with a password"
	}
	switch {
	case n.away(user):
		return "you have quit"
	case p == nil:
		return "not used"
	case p.link != nil && p.link.conn != nil:
		if !p.link.loggedIn {
			account = ""
		}
		return fmt.Sprintf("connected as %s for %s, %d channels%s", decode(p.link.conn.Nick()), ago(p.since), len(p.wanted), account)
	case p.link != nil:
		return fmt.Sprintf("connecting, %d channels", len(p.wanted))
	case !p.needed():
		return "not used"
	case p.waiting == nil:
		return fmt.Sprintf("asleep until you speak, %d channels", len(p.wanted))
	}
	return fmt.Sprintf("not connected, %d failures, %d channels", p.failures, len(p.wanted))
}

func (s *Service) commandVersion(context.Context, *bridge.Call) (string, error) {
	return "This is the IRC bridge of " + telemetry.Build().String() + ".", nil
}

func (s *Service) commandReconnect(ctx context.Context, call *bridge.Call) (string, error) {
	n, _, err := s.commandNetwork(call)
	if err != nil {
		return "", err
	}
	if n.away(call.Sender) {
		n.comeBack(ctx, call.Sender)
	} else {
		n.reconnect(ctx, call.Sender)
	}
	return "Connecting to " + n.now().Name + ".", nil
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
		} else if p.needed() && !n.away(user) {
			p.connectAsked()
		}
	})
}
