package clientapi_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"
	"github.com/emersion/go-smtp"

	"trestle/homeserver/accounts"
	"trestle/homeserver/mail"
)

// A postbox is a real SMTP server; what it takes lies in its channel.
type postbox struct {
	letters chan letter
}

type letter struct{ to, text, html string }

func (p *postbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &delivery{box: p}, nil }

type delivery struct {
	box *postbox
	to  string
}

func (d *delivery) Mail(string, *smtp.MailOptions) error { return nil }
func (d *delivery) Reset()                               {}
func (d *delivery) Logout() error                        { return nil }

func (d *delivery) Rcpt(to string, _ *smtp.RcptOptions) error {
	switch {
	case strings.HasPrefix(to, "nobody@"):
		return &smtp.SMTPError{Code: 550, Message: "No such user"}
	case strings.HasPrefix(to, "later@"):
		return &smtp.SMTPError{Code: 451, Message: "Try again later"}
	}
	d.to = to
	return nil
}

func (d *delivery) Data(r io.Reader) error {
	l := letter{to: d.to}
	m, err := gomail.CreateReader(r)
	if err != nil && !message.IsUnknownCharset(err) {
		return err
	}
	for _, into := range []*string{&l.text, &l.html} {
		part, err := m.NextPart()
		if errors.Is(err, io.EOF) {
			break // there is no page
		}
		if err != nil {
			return err
		}
		text, err := io.ReadAll(part.Body)
		if err != nil {
			return err
		}
		*into = string(text)
	}
	d.box.letters <- l
	return nil
}

// newPostbox opens a postbox at an address.
func newPostbox(t *testing.T) (box *postbox, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	box = &postbox{letters: make(chan letter, 10)}
	server := smtp.NewServer(box)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	return box, listener.Addr().String()
}

// withMail gives a server a relay.
func withMail(t *testing.T) (*postbox, func(*accounts.Options)) {
	t.Helper()
	box, address := newPostbox(t)
	relay, err := mail.NewRelay(mail.Options{Address: address, Security: mail.Plain, From: "noreply@hs.example", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	return box, func(o *accounts.Options) { o.Mailer, o.BaseURL = relay, "https://matrix.hs.example/" }
}

var link = regexp.MustCompile(`https://matrix\.hs\.example(/_trestle/client/verify\?[^\s"]+)`)

// next is the newest letter's link, without the server.
func (p *postbox) next(t *testing.T, to string) string {
	t.Helper()
	select {
	case l := <-p.letters:
		found := link.FindStringSubmatch(l.text)
		if l.to != to || found == nil || !strings.Contains(strings.ReplaceAll(l.html, "&amp;", "&"), found[0]) {
			t.Fatalf("a letter to %s: %s\n%s", l.to, l.text, l.html)
		}
		return found[1]
	default:
		t.Fatalf("no letter for %s", to)
		return ""
	}
}

func (p *postbox) empty(t *testing.T) {
	t.Helper()
	select {
	case l := <-p.letters:
		t.Errorf("a letter that nobody expected: %+v", l)
	default:
	}
}

// browse opens a page, or sends its form, and does not follow redirects.
func (s *accountServer) browse(path string, form url.Values) (reply, http.Header) {
	s.t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if form != nil {
		method, body = http.MethodPost, strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	if kind := response.Header.Get("Content-Type"); kind == "text/html; charset=utf-8" && response.StatusCode != 302 && response.StatusCode != 303 {
		policy := response.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'") || response.Header.Get("Cache-Control") != "no-store" {
			s.t.Errorf("%s: policy %q", path, policy)
		}
	}
	return reply{response.StatusCode, string(text)}, response.Header
}

// click does what somebody does who gets a mail.
func (s *accountServer) click(link string) http.Header {
	s.t.Helper()
	shown, _ := s.browse(link, nil)
	if shown.status != 200 || !strings.Contains(shown.body, "<form method=\"post\" action=\"/_trestle/client/verify\">") {
		s.t.Fatalf("%s: %d %s", link, shown.status, shown.body)
	}
	query, err := url.ParseQuery(link[strings.IndexByte(link, '?')+1:])
	if err != nil {
		s.t.Fatal(err)
	}
	for name := range query {
		if !strings.Contains(shown.body, `name="`+name+`"`) {
			s.t.Errorf("the form lacks %s", name)
		}
	}
	done, header := s.browse("/_trestle/client/verify", query)
	if done.status != 200 && done.status != 303 {
		s.t.Fatalf("confirming: %d %s", done.status, done.body)
	}
	return header
}
