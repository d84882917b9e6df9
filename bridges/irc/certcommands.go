package irc

import (
	"context"
	"fmt"
	"strings"
	"time"

	"trestle/bridges/bridge"
	"trestle/bridges/irc/wire"
	"trestle/internal/matrix"
)

func (s *Service) commandCertFP(ctx context.Context, call *bridge.Call) (string, error) {
	n, who, args, err := s.accountCommand(ctx, call)
	switch {
	case err != nil:
		return "", err
	case n.now().TLS == nil:
		return "", matrix.Forbidden("%s is reached without TLS, where there are no certificates.", n.now().Name)
	case len(args) == 0:
		return s.showCertificate(ctx, n, who)
	case args[0] == "add":
		return n.addCertificate(ctx, call.Sender)
	case s.accounts.of(who).certificate == nil:
		return "", matrix.NotFound("You have no certificate for %s. Say “certfp” to get one.", n.now().Name)
	}
	var answer string
	var change func(*account) error
	switch args[0] {
	case "use":
		answer = "From now on your certificate logs you in to %s, and you are connected only if it can."
		change = func(a *account) error {
			a.external = true
			return nil
		}
	case "remove":
		answer = "Your certificate for %s is forgotten."
		change = func(a *account) error {
			a.certificate, a.external = nil, false
			return nil
		}
	default:
		return "", matrix.InvalidParam("Say “certfp”, “certfp add”, “certfp use” or “certfp remove”.")
	}
	if err := s.accounts.change(ctx, who, change); err != nil {
		return "", err
	}
	n.reconnect(ctx, call.Sender)
	return fmt.Sprintf(answer, n.now().Name), nil
}

// showCertificate shows the fingerprint of a user's certificate, and makes it if there is none.
func (s *Service) showCertificate(ctx context.Context, n *network, who whose) (string, error) {
	if s.accounts.of(who).certificate == nil {
		text, err := newCertificate(who.user, time.Now())
		if err != nil {
			return "", err
		}
		err = s.accounts.change(ctx, who, func(a *account) (err error) {
			a.certificate, err = s.accounts.seal(who, "certificate", text)
			return err
		})
		if err != nil {
			return "", err
		}
		n.reconnect(ctx, who.user) // the server is to see it
	}
	l, err := s.accounts.login(who, "")
	if err != nil {
		return "", matrix.Forbidden("I cannot use it: %s.", errLocked)
	}
	return fmt.Sprintf("The fingerprint of your certificate for %s is\n%s\nRegister it with your account there (“certfp add” while your password logs you in, or /msg NickServ CERT ADD fingerprint), and then say “certfp use”.",
		n.now().Name, fingerprints(l.certificate)), nil
}

// addCertificate has a user's own connection, which shows the certificate and is logged in,
// register it with services.
func (n *network) addCertificate(ctx context.Context, user matrix.UserID) (string, error) {
	if n.now().NickServ == "" {
		return "", matrix.Forbidden("I do not know who NickServ is on %s. Register the fingerprint yourself.", n.now().Name)
	}
	conn, err := n.connOf(ctx, user)
	if err != nil {
		return "", err
	}
	services, _, _ := strings.Cut(n.now().NickServ, "@")
	answer := ""
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	err = conn.Request(ctx, wire.NewMessage("PRIVMSG", n.now().NickServ, "CERT ADD"), func(m *wire.Message) bool {
		switch {
		case m.Command == "NOTICE" && n.fold(m.Prefix.Nick) == n.fold(services):
			answer = "NickServ says: " + plain(m.Last())
		case m.Command == "401" || m.Command == "402":
			answer = "NickServ is not there: " + plain(m.Last())
		}
		return answer != ""
	})
	if err != nil {
		return "", matrix.NotFound("NickServ did not answer: %s", decode(err.Error()))
	}
	return answer, nil
}
