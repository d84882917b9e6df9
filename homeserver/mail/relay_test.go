package mail_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	gomail "github.com/emersion/go-message/mail"
	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"trestle/homeserver/mail"
)

// A server is a real SMTP server that keeps what it is given.
type server struct {
	mechanisms []string
	refuse     *smtp.SMTPError
	silent     bool
	got        chan received
}

type received struct {
	from, to, user string
	secure         bool
	data           string
}

type conn struct {
	server *server
	smtp   *smtp.Conn
	received
}

func (s *server) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &conn{server: s, smtp: c}, nil
}

func (c *conn) AuthMechanisms() []string { return c.server.mechanisms }

func (c *conn) Auth(mechanism string) (sasl.Server, error) {
	check := func(user, password string) error {
		if user != "trestle" || password != "s3cret" {
			return smtp.ErrAuthFailed
		}
		c.user = user + " by " + mechanism
		return nil
	}
	if mechanism == sasl.Login {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(func(_, user, password string) error { return check(user, password) }), nil
}

// loginServer is AUTH LOGIN, of which the library has the client only.
type loginServer struct {
	check func(user, password string) error
	user  string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil:
		return []byte("Username:"), false, nil
	case l.user == "":
		l.user = string(response)
		return []byte("Password:"), false, nil
	}
	return nil, true, l.check(l.user, string(response))
}

func (c *conn) Mail(from string, _ *smtp.MailOptions) error { c.from = from; return nil }
func (c *conn) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.to = to
	if c.server.refuse != nil {
		return c.server.refuse
	}
	return nil
}

func (c *conn) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	c.data = string(data)
	_, c.secure = c.smtp.TLSConnectionState()
	c.server.got <- c.received
	return nil
}
func (c *conn) Reset()        {}
func (c *conn) Logout() error { return nil }

// start serves on a free port and returns the address and who to trust.
func (s *server) start(t *testing.T, implicit bool) (string, *x509.CertPool) {
	t.Helper()
	certificate, pool := certificate(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	s.got = make(chan received, 1)
	if s.silent {
		t.Cleanup(func() { listener.Close() })
		return address, pool
	}
	smtpServer := smtp.NewServer(s)
	smtpServer.Domain, smtpServer.AllowInsecureAuth = "mail.example", true
	smtpServer.TLSConfig = &tls.Config{Certificates: []tls.Certificate{certificate}}
	if implicit {
		listener = tls.NewListener(listener, smtpServer.TLSConfig)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = smtpServer.Serve(listener) }()
	t.Cleanup(func() { smtpServer.Close(); <-done })
	return address, pool
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

var letter = mail.Message{To: "Bob <bob@example.org>", Subject: "Grüße\r\nBcc: eve@example.org", Text: "Hello, wörld.\n.\nEnd", HTML: "<p>Hello, wörld.</p>", Unsubscribe: "https://hs.example/end?a=b"}

func TestSend(t *testing.T) {
	for _, tt := range []struct {
		name, security string
		implicit       bool
		mechanisms     []string
		user           string
	}{
		{"in the open", mail.Plain, false, nil, ""},
		{"STARTTLS with PLAIN", mail.StartTLS, false, []string{"PLAIN"}, "trestle by PLAIN"},
		{"STARTTLS with LOGIN", mail.StartTLS, false, []string{"LOGIN"}, "trestle by LOGIN"},
		{"TLS", mail.TLS, true, []string{"LOGIN", "PLAIN"}, "trestle by PLAIN"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &server{mechanisms: tt.mechanisms}
			address, roots := s.start(t, tt.implicit)
			options := mail.Options{Address: address, Security: tt.security, From: "Trestle <noreply@hs.example>", Roots: roots, Hello: "hs.example"}
			if tt.user != "" {
				options.Username, options.Password = "trestle", "s3cret"
			}
			relay, err := mail.NewRelay(options)
			if err != nil {
				t.Fatal(err)
			}
			if err := relay.Send(t.Context(), letter); err != nil {
				t.Fatal(err)
			}
			got := <-s.got
			if got.from != "noreply@hs.example" || got.to != "bob@example.org" || got.user != tt.user || got.secure != (tt.security != mail.Plain) {
				t.Errorf("%+v", got)
			}
			checkLetter(t, got.data)
		})
	}
}

func checkLetter(t *testing.T, data string) {
	t.Helper()
	r, err := gomail.CreateReader(strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if subject, err := r.Header.Subject(); err != nil || subject != "Grüße  Bcc: eve@example.org" || r.Header.Has("Bcc") {
		t.Errorf("subject %q, %v", subject, err)
	}
	if id, err := r.Header.MessageID(); err != nil || id == "" || r.Header.Get("Auto-Submitted") != "auto-generated" {
		t.Errorf("header %v, %v", r.Header, err)
	}
	if list := r.Header.Get("List-Unsubscribe"); list != "<https://hs.example/end?a=b>" || r.Header.Get("List-Unsubscribe-Post") != "List-Unsubscribe=One-Click" {
		t.Errorf("how to end it: %s", list)
	}
	want := []string{letter.Text, letter.HTML}
	for _, text := range want {
		part, err := r.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part.Body)
		if err != nil || strings.ReplaceAll(string(body), "\r\n", "\n") != text {
			t.Errorf("part %q, %v, want %q", body, err, text)
		}
	}
}

func TestSendRefuses(t *testing.T) {
	s := &server{mechanisms: []string{"PLAIN"}, refuse: &smtp.SMTPError{Code: 550, Message: "No such user"}}
	address, roots := s.start(t, false)
	send := func(change func(*mail.Options), m mail.Message) error {
		options := mail.Options{Address: address, From: "noreply@hs.example", Roots: roots, Timeout: time.Minute}
		change(&options)
		relay, err := mail.NewRelay(options)
		if err != nil {
			t.Fatal(err)
		}
		return relay.Send(t.Context(), m)
	}
	if err := send(func(*mail.Options) {}, letter); !errors.Is(err, mail.ErrRefused) {
		t.Errorf("a receiver who does not exist: %v", err)
	}
	if err := send(func(*mail.Options) {}, mail.Message{To: "nobody"}); !errors.Is(err, mail.ErrRefused) {
		t.Errorf("no address: %v", err)
	}
	s.refuse = &smtp.SMTPError{Code: 451, Message: "Later"}
	if err := send(func(*mail.Options) {}, letter); err == nil || errors.Is(err, mail.ErrRefused) {
		t.Errorf("a relay that is busy: %v", err)
	}
	if err := send(func(o *mail.Options) { o.Roots = nil }, letter); err == nil {
		t.Error("a certificate that nobody vouches for was believed")
	}
	if err := send(func(o *mail.Options) { o.Username, o.Password = "trestle", "guess" }, letter); err == nil {
		t.Error("a wrong password was accepted")
	}
}

// A relay that says nothing holds nobody up for longer than was agreed.
func TestSendTimesOut(t *testing.T) {
	s := &server{silent: true}
	address, _ := s.start(t, false)
	relay, err := mail.NewRelay(mail.Options{Address: address, Security: mail.Plain, From: "a@b.example", Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := relay.Send(context.Background(), letter); err == nil {
		t.Error("a silent relay took a mail")
	}
}

func TestTemplateEscapes(t *testing.T) {
	tm := mail.MustTemplate("For {{.}}", "Dear {{.}},", "<p>Dear {{.}},</p>")
	m, err := tm.Message("a@b.example", "<b>Bob</b>")
	if err != nil || m.Text != "Dear <b>Bob</b>," || m.HTML != "<p>Dear &lt;b&gt;Bob&lt;/b&gt;,</p>" || m.Subject != "For <b>Bob</b>" || m.To != "a@b.example" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestNewRelayRefuses(t *testing.T) {
	for _, o := range []mail.Options{{Address: "nowhere", From: "a@b.example"}, {Address: "h:25", From: "nobody"}} {
		if _, err := mail.NewRelay(o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}
