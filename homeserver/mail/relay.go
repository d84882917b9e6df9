package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"strings"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// How the connection to a relay is secured.
const (
	StartTLS = "starttls" // the connection turns to TLS before anything is said
	TLS      = "tls"      // TLS from the first byte on
	Plain    = "none"     // for a relay on the same machine
)

// Options say where mails go. Address and From are needed.
type Options struct {
	Address  string // host:port of the relay
	Security string // default [StartTLS]
	Username string // empty: no authentication
	Password string
	From     string // "Example <noreply@example.org>"
	Hello    string // how the server names itself; default localhost
	Roots    *x509.CertPool
	Timeout  time.Duration // for a mail in all; default 30 s
	Now      func() time.Time
}

// A Relay sends mails. It is safe for use by several goroutines.
type Relay struct {
	options Options
	host    string
	from    *netmail.Address
}

// NewRelay checks the options; it does not connect yet.
func NewRelay(options Options) (*Relay, error) {
	host, _, err := net.SplitHostPort(options.Address)
	if err != nil {
		return nil, fmt.Errorf("address of the relay: %w", err)
	}
	from, err := netmail.ParseAddress(options.From)
	if err != nil {
		return nil, fmt.Errorf("sender of mails: %w", err)
	}
	if options.Security == "" {
		options.Security = StartTLS
	}
	if options.Hello == "" {
		options.Hello = "localhost"
	}
	if options.Timeout <= 0 {
		options.Timeout = 30 * time.Second
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Relay{options: options, host: host, from: from}, nil
}

// ErrRefused is what Send returns, wrapped, when the relay will never take
// this mail: its receiver does not exist, for instance.
var ErrRefused = errors.New("the mail was refused")

// Send hands a mail over to the relay. When it returns nil, the relay has
// taken the responsibility for it.
func (r *Relay) Send(ctx context.Context, m Message) error {
	to, err := netmail.ParseAddress(m.To)
	if err != nil {
		return fmt.Errorf("%w: receiver: %w", ErrRefused, err)
	}
	body, err := m.encode(r.from, to, r.options.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	client, err := r.connect(ctx)
	if err != nil {
		return fmt.Errorf("mail relay %s: %w", r.options.Address, err)
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	if err := r.deliver(client, to.Address, body); err != nil {
		return fmt.Errorf("mail relay %s: %w", r.options.Address, permanent(err))
	}
	return nil
}

// connect opens a connection that is as secure as it has to be.
func (r *Relay) connect(ctx context.Context) (*smtp.Client, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", r.options.Address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			conn.Close()
			return nil, err
		}
	}
	secure := &tls.Config{ServerName: r.host, RootCAs: r.options.Roots, MinVersion: tls.VersionTLS12}
	var client *smtp.Client
	switch r.options.Security {
	case TLS:
		encrypted := tls.Client(conn, secure)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		client = smtp.NewClient(encrypted)
	case StartTLS:
		if client, err = smtp.NewClientStartTLS(conn, secure); err != nil {
			conn.Close()
			return nil, err
		}
	default:
		client = smtp.NewClient(conn)
	}
	client.CommandTimeout, client.SubmissionTimeout = r.options.Timeout, r.options.Timeout
	return client, nil
}

func (r *Relay) deliver(client *smtp.Client, to string, body []byte) error {
	// After STARTTLS the library has said hello already, and says so.
	if err := client.Hello(r.options.Hello); err != nil && r.options.Security != StartTLS {
		return err
	}
	if r.options.Username != "" {
		auth, err := r.auth(client)
		if err != nil {
			return err
		}
		if err := client.Auth(auth); err != nil {
			return fmt.Errorf("authentication: %w", err)
		}
	}
	if err := client.SendMail(r.from.Address, []string{to}, bytes.NewReader(body)); err != nil {
		return err
	}
	// The mail is handed over: what happens to the farewell does not matter.
	_ = client.Quit()
	return nil
}

// auth chooses the mechanism. A password is never sent in the open to another
// machine.
func (r *Relay) auth(client *smtp.Client) (sasl.Client, error) {
	if _, encrypted := client.TLSConnectionState(); !encrypted && !loopback(r.host) {
		return nil, errors.New("no password is sent over a connection without TLS")
	}
	if client.SupportsAuth(sasl.Plain) || !client.SupportsAuth(sasl.Login) {
		return sasl.NewPlainClient("", r.options.Username, r.options.Password), nil
	}
	return sasl.NewLoginClient(r.options.Username, r.options.Password), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// permanent marks what a second attempt would not change.
func permanent(err error) error {
	var answer *smtp.SMTPError
	if errors.As(err, &answer) && answer.Code >= 550 && answer.Code < 560 {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return err
}

// oneLine makes a text fit for a header.
func oneLine(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}
