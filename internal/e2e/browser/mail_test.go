package browser_test

import (
	"io"
	"net"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/emersion/go-message/mail"
	"github.com/emersion/go-smtp"
)

// A relay is a real SMTP server; the texts of what it takes lie in its channel.
type relay struct {
	address string
	letters chan string
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener.Addr().String(), make(chan string, 10)}
	server := smtp.NewServer(r)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close(); <-done })
	return r
}

func (r *relay) NewSession(*smtp.Conn) (smtp.Session, error) { return delivery{r}, nil }

type delivery struct{ *relay }

func (delivery) Mail(string, *smtp.MailOptions) error { return nil }
func (delivery) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (delivery) Reset()                               {}
func (delivery) Logout() error                        { return nil }

func (d delivery) Data(r io.Reader) error {
	letter, err := mail.CreateReader(r)
	if err != nil {
		return err
	}
	part, err := letter.NextPart()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(part.Body)
	d.letters <- string(text)
	return err
}

var mailed = regexp.MustCompile(`http://\S+/_trestle/client/verify\?\S+`)

// link is the one in the next letter.
func (r *relay) link(t *testing.T) string {
	t.Helper()
	select {
	case letter := <-r.letters:
		if found := mailed.FindString(letter); found != "" {
			return found
		}
		t.Fatalf("no link: %s", letter)
	case <-time.After(30 * time.Second):
		t.Fatal("no letter")
	}
	return ""
}

// TestMailStage has a person give a mail address on the page of the stage, and
// open the link in the mail in another window. The page finds out, with scripts
// and without, and tells the application.
func TestMailStage(t *testing.T) {
	t.Parallel()
	chromium := launch(t)
	post := newRelay(t)
	server, address := publicWith(t, []string{
		"TRESTLE_MAIL_RELAY=" + post.address, "TRESTLE_MAIL_SECURITY=none", "TRESTLE_MAIL_FROM=noreply@localhost", "TRESTLE_REGISTRATION_EMAIL=required",
	}, "--open-registration")
	for _, scripts := range []bool{true, false} {
		name := map[bool]string{true: "scripts", false: "plain"}[scripts]
		t.Run(name, func(t *testing.T) {
			registration := map[string]any{"username": name, "password": password}
			_, asked := request(t, server, "/register", registration)
			session := asked["session"].(string)
			page := address + "/_matrix/client/v3/auth/m.login.email.identity/fallback/web?session=" + session
			var application *tab
			opened := chromium.tab(t, scripts)
			if scripts {
				application = opened
				application.open(listener(t), "script")
				opened = application.opens("window.open(" + quoted(page) + ")")
			} else {
				opened.open(page, "input[name=email]")
			}
			opened.picture("ask")
			opened.fill("input[name=email]", "nonsense")
			opened.permit("status of 400") // of the page that says so
			opened.click("button")
			opened.find("[role=alert]")
			opened.fill("input[name=email]", name+"@example.org")
			opened.click("button")
			opened.says("Open the link in the mail")
			opened.says(name + "@example.org")
			opened.picture("wait")

			reader := chromium.tab(t, scripts)
			reader.open(post.link(t), "button")
			reader.says(name + "@example.org")
			reader.click("button")
			reader.says("You can go back to your application now.")
			if scripts {
				application.says(address + " says authDone")
			}
			opened.says("You can close this window")

			registration["auth"] = map[string]any{"session": session}
			if status, answer := request(t, server, "/register", registration); status != http.StatusOK {
				t.Errorf("afterwards: %d %v", status, answer)
			}
		})
	}
}
