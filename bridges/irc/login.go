package irc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"trestle/bridges/irc/wire"
)

// A login is how a Matrix user proves to a network who it is.
type login struct {
	name        string // of the account
	password    string
	certificate *tls.Certificate // shown in any case
	external    bool             // the certificate is what logs in
}

// login reads a user's secrets: errLocked if it has some that cannot be read.
func (a *accounts) login(who whose, nick string) (login, error) {
	one := a.of(who)
	l := login{name: one.username, external: one.external}
	if l.name == "" {
		l.name = nick
	}
	if one.password != nil {
		secret, err := a.open(who, "password", one.password)
		if err != nil {
			return l, err
		}
		l.password = string(secret)
	}
	if one.certificate != nil {
		secret, err := a.open(who, "certificate", one.certificate)
		if err != nil {
			return l, err
		}
		if l.certificate, err = parseCertificate(secret); err != nil {
			return l, fmt.Errorf("%w (%w)", errLocked, err)
		}
	}
	return l, nil
}

// asked tells whether the user wants to be logged in, and not to be there otherwise.
func (l login) asked() bool { return l.external || l.password != "" }

// mechanisms begins a run of SASL. Without encryption the password itself is not sent.
func (l login) mechanisms(encrypted bool) wire.SASL {
	if l.external {
		return wire.External()
	}
	strong := []wire.SASL{wire.ScramSHA512(l.name, l.password), wire.ScramSHA256(l.name, l.password)}
	if encrypted {
		strong = append(strong, wire.Plain(l.name, l.password))
	}
	return wire.AnyOf(strong...)
}

// apply puts a user's login into its call. services is who takes IDENTIFY where there is no
// SASL; empty: nobody.
func (l login) apply(c *call, encrypted bool, services string) {
	if l.certificate != nil && c.secure != nil {
		c.secure = c.secure.Clone()
		c.secure.Certificates = []tls.Certificate{*l.certificate}
	}
	if !l.asked() {
		return
	}
	c.sasl = func() wire.SASL { return l.mechanisms(encrypted) }
	if services != "" && encrypted && !l.external {
		c.identify = func(ctx context.Context, conn *wire.Conn) error {
			return identify(ctx, conn, services, l.name, l.password)
		}
	}
}

const identifyWait = 15 * time.Second

// identifyLooks are the waits after which the server is asked whether services have let us
// in: it alone is believed, since what services say has a hundred forms, and anybody may be
// called NickServ where there are none.
var identifyLooks = []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second, 6 * time.Second}

// identify logs in to services that know no SASL.
func identify(ctx context.Context, conn *wire.Conn, services, name, password string) error {
	ctx, cancel := context.WithTimeout(ctx, identifyWait)
	defer cancel()
	if strings.ContainsAny(name+password, " \r\n\x00") {
		return &wire.RegisterError{Reason: wire.ErrAuth, Text: services + " takes no names and passwords with spaces"}
	}
	if err := tellServices(ctx, conn, services, "IDENTIFY "+name+" "+password); err != nil {
		return err
	}
	for i, wait := range identifyLooks {
		if i > 0 { // the first was spent in tellServices
			pause(ctx, wait)
		}
		in, err := loggedIn(ctx, conn)
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("log in at %s: %w", services, err)
		}
		if in {
			return nil
		}
	}
	return &wire.RegisterError{Reason: wire.ErrAuth, Text: services + " did not let us in"}
}

func pause(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// tellServices sends a text to services, and gives the server a moment to say that there are
// none.
func tellServices(ctx context.Context, conn *wire.Conn, services, text string) error {
	ctx, cancel := context.WithTimeout(ctx, identifyLooks[0])
	defer cancel()
	var gone error
	err := conn.Request(ctx, wire.NewMessage("PRIVMSG", services, text), func(m *wire.Message) bool {
		if m.Command == "401" || m.Command == "402" {
			gone = &wire.RegisterError{Reason: wire.ErrNoSASL, Code: m.Command, Text: services + " is not there"}
		}
		return gone != nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return errors.Join(gone, err)
}

// loggedIn asks the server whether it takes us for the owner of an account: RPL_WHOISACCOUNT, or
// RPL_WHOISREGNICK of older servers.
func loggedIn(ctx context.Context, conn *wire.Conn) (in bool, err error) {
	nick, fold := conn.Nick(), conn.Support().CaseMapping.Fold
	err = conn.Request(ctx, wire.NewMessage("WHOIS", nick), func(m *wire.Message) bool {
		if fold(m.Param(1)) == fold(nick) {
			in = in || m.Command == "330" || m.Command == "307"
		}
		return m.Command == "318" || m.Command == "401"
	})
	return in, err
}
