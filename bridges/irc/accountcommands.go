package irc

import (
	"context"
	"fmt"
	"strings"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/names"
	"trestle/internal/matrix"
)

// maxCredential bounds names and passwords; SASL and services take no longer ones.
const maxCredential = 300

// private makes sure that nobody but the caller reads along.
func (s *Service) private(ctx context.Context, call *bridge.Call) error {
	bot := s.bridge.Client().Bot()
	if call.Portal == nil {
		members, err := bot.JoinedMembers(ctx, call.Room)
		if err != nil {
			return fmt.Errorf("who is in the room: %w", err)
		}
		if _, here := members[call.Sender]; here && len(members) == 2 {
			return nil
		}
	}
	return matrix.Forbidden("Do that in a direct chat with %s: here, others read along.", bot.ID)
}

// accountCommand is what the commands about accounts begin with.
func (s *Service) accountCommand(ctx context.Context, call *bridge.Call) (*network, whose, []string, error) {
	if err := s.private(ctx, call); err != nil {
		return nil, whose{}, nil, err
	}
	n, args, err := s.commandNetwork(call)
	if err != nil {
		return nil, whose{}, nil, err
	}
	return n, whose{n.config.ID, call.Sender}, args, nil
}

func (s *Service) commandUsername(ctx context.Context, call *bridge.Call) (string, error) {
	n, who, args, err := s.accountCommand(ctx, call)
	if err != nil {
		return "", err
	}
	if len(args) == 0 {
		if name := s.accounts.of(who).username; name != "" {
			return fmt.Sprintf("Your account on %s is %s.", n.now().Name, name), nil
		}
		return fmt.Sprintf("You have named no account on %s. To log in, your nick would be used.", n.now().Name), nil
	}
	if len(args) > 1 || len(args[0]) > maxCredential || oneLine(args[0]) != args[0] {
		return "", matrix.InvalidParam("The name of an account is one word.")
	}
	err = s.accounts.change(ctx, who, func(a *account) error {
		a.username = args[0]
		return nil
	})
	if err != nil {
		return "", err
	}
	if one := s.accounts.of(who); one.password != nil || one.external {
		n.reconnect(ctx, call.Sender)
		return fmt.Sprintf("Your account on %s is %s. Logging in.", n.now().Name, args[0]), nil
	}
	return fmt.Sprintf("Your account on %s is %s. Now tell me its password (storepass), or use a certificate (certfp).", n.now().Name, args[0]), nil
}

func (s *Service) commandStorePass(ctx context.Context, call *bridge.Call) (string, error) {
	n, who, args, err := s.accountCommand(ctx, call)
	switch {
	case err != nil:
		return "", err
	case len(args) != 1:
		return "", matrix.MissingParam("Say the network, if there are several, and the password, which must be one word.")
	case len(args[0]) > maxCredential || strings.ContainsFunc(args[0], func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", matrix.InvalidParam("IRC has no such passwords.")
	}
	err = s.accounts.change(ctx, who, func(a *account) (err error) {
		a.external = false
		a.password, err = s.accounts.seal(who, "password", []byte(args[0]))
		return err
	})
	if err != nil {
		return "", err
	}
	n.reconnect(ctx, call.Sender)
	return fmt.Sprintf("The password for %s is kept, sealed. From now on you are connected to it only if you can be logged in.", n.now().Name), nil
}

func (s *Service) commandRemovePass(ctx context.Context, call *bridge.Call) (string, error) {
	n, who, _, err := s.accountCommand(ctx, call)
	if err != nil {
		return "", err
	}
	if s.accounts.of(who).password == nil {
		return fmt.Sprintf("I know no password of yours for %s.", n.now().Name), nil
	}
	err = s.accounts.change(ctx, who, func(a *account) error {
		a.password = nil
		return nil
	})
	if err != nil {
		return "", err
	}
	n.reconnect(ctx, call.Sender)
	return fmt.Sprintf("The password for %s is forgotten.", n.now().Name), nil
}

// chooseNick asks IRC for a nick, and keeps it for later connections.
func (n *network) chooseNick(ctx context.Context, user matrix.UserID, nick string) (string, error) {
	if !names.ValidNick(nick) {
		return "", matrix.InvalidParam("IRC has no such nicks.")
	}
	if conn, err := n.connOf(ctx, user); err == nil {
		var p *puppet
		if !n.ask(ctx, func() {
			p = n.puppet(user)
			p.nick.asked, p.nick.chosen = append(p.nick.asked, nick), nick
		}) {
			return "", context.Canceled
		}
		defer n.post(func() { n.puppet(user).nick.chosen = "" })
		ctx, cancel := context.WithTimeout(ctx, commandWait)
		defer cancel()
		if err := p.askNick(ctx, conn, nick); err != nil {
			return "", matrix.Forbidden("IRC did not take the nick: %s", decode(err.Error()))
		}
		nick = conn.Nick()
	}
	var usual string
	n.ask(ctx, func() { usual = n.now().templates.puppetNick(user, n.puppet(user).display, n.nickLength()) })
	err := n.service.accounts.change(ctx, whose{n.config.ID, user}, func(a *account) error {
		if a.nick = nick; nick == usual {
			a.nick = "" // and so it follows the name again
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("You are %s on %s now.", nick, n.now().Name), nil
}
