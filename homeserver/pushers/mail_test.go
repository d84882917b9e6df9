package pushers_test

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/mail"
	"trestle/homeserver/pushers"
	"trestle/homeserver/rooms"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// long is a time at which something was said that was unread for long.
func long() time.Time { return time.Now().Add(-20 * time.Minute) }

func (w *town) mailBob() {
	w.t.Helper()
	w.set(pushers.Email, pushers.EmailApp, "bob@example.org", `{"brand":"App"}`)
}

// told says something in a room, long ago.
func (w *town) told(room matrix.RoomID, text string) matrix.EventID {
	w.t.Helper()
	id := w.send(room, "m.room.message", canonical(w.t, map[string]string{"msgtype": "m.text", "body": text}))
	w.notify(id, long(), `["notify"]`)
	return id
}

func TestMail(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := open(t, url, nil)
		room := w.room(rooms.CreateRequest{Name: "<b>Hall</b>\n\u202egnp.exe"})
		other := w.room(rooms.CreateRequest{})
		w.mailBob()
		w.stop() // so that all of it is there when the pusher looks
		w.say(room, "just now")
		w.read(w.told(other, "was read"))
		for i := range 7 {
			w.told(other, fmt.Sprint("number ", i))
		}
		picture := w.send(other, "m.room.message", `{"msgtype":"m.image","body":"<script>alert(1)</script>\nBcc: x"}`)
		w.notify(picture, long(), `["notify"]`)
		secret := w.send(other, "m.room.encrypted", `{"algorithm":"x"}`)
		w.notify(secret, long(), `["notify"]`)
		w.start()
		m := w.letter()
		if m.To != "bob@example.org" || !strings.HasPrefix(m.Subject, "Unread in ") || strings.Contains(m.Subject, "\n") {
			t.Errorf("to %s: %s", m.To, m.Subject)
		}
		if !strings.HasPrefix(m.Unsubscribe, "https://hs.example/_trestle/client/unsubscribe?pusher=") || !strings.Contains(m.Text, m.Unsubscribe) {
			t.Errorf("the link: %s", m.Unsubscribe)
		}
		for _, part := range []string{"[image] <script>alert(1)</script> Bcc: x\n", "The alice: [encrypted message]", "Hello The bob", "before that, 4 more", "number 6", "just now"} {
			if !strings.Contains(m.Text, part) {
				t.Errorf("the text lacks %q:\n%s", part, m.Text)
			}
		}
		if strings.Contains(m.HTML, "<script>") || !strings.Contains(m.HTML, "&lt;script&gt;") || strings.Contains(m.Text+m.HTML, "was read") || strings.Contains(m.Text, "number 3") {
			t.Errorf("the page:\n%s", m.HTML)
		}
	})
}

// Rooms about which there was a mail lately are quiet, until there is another
// reason for a mail; what was mailed once is not mailed again.
func TestMailsGetRarer(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		w := open(t, url, nil)
		hall, yard := w.room(rooms.CreateRequest{Name: "Hall"}), w.room(rooms.CreateRequest{Name: "Yard"})
		w.mailBob()
		w.told(hall, "one")
		if m := w.letter(); !strings.Contains(m.Text, "one") {
			t.Error(m.Text)
		}
		w.told(hall, "two")
		w.stop()
		w.start()
		w.told(hall, "three")
		w.told(yard, "four")
		// The desk may have looked before: what waits for long does not wait again.
		w.stop()
		w.start()
		m := w.letter()
		if strings.Contains(m.Text, ": one\n") || !strings.Contains(m.Text, ": two\n") || !strings.Contains(m.Text, ": three\n") || !strings.Contains(m.Text, ": four\n") || m.Subject != "Unread in Hall and elsewhere" {
			t.Errorf("%s\n%s", m.Subject, m.Text)
		}
	})
}

func TestMailRetries(t *testing.T) {
	w := open(t, testkit.SQLite(t), nil)
	room := w.room(rooms.CreateRequest{})
	w.mailBob()
	w.mail.refuse(errors.New("the relay sleeps"))
	w.told(room, "hello")
	until(t, "attempts", func() bool { return w.mail.times() > 2 })
	w.mail.refuse(nil)
	if m := w.letter(); !strings.Contains(m.Text, "hello") || !strings.HasPrefix(m.Subject, "Unread in The alice") {
		t.Errorf("%s\n%s", m.Subject, m.Text)
	}
	// A mail that nobody will ever take is given up.
	w.mail.refuse(fmt.Errorf("no: %w", mail.ErrRefused))
	asked := w.mail.times()
	other := w.room(rooms.CreateRequest{Name: "Other"})
	w.told(other, "lost")
	until(t, "an attempt", func() bool { return w.mail.times() > asked })
	w.stop()
	w.mail.refuse(nil)
	w.start()
	third := w.room(rooms.CreateRequest{Name: "Third"})
	w.told(third, "found")
	if m := w.letter(); strings.Contains(m.Text, "lost") || !strings.Contains(m.Text, "found") {
		t.Error(m.Text)
	}
}

func TestUnsubscribe(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, databaseURL string) {
		w := open(t, databaseURL, nil)
		room := w.room(rooms.CreateRequest{})
		w.mailBob()
		w.told(room, "hello")
		link, err := url.Parse(w.letter().Unsubscribe)
		w.must(err)
		w.stop()
		w.start() // links outlive the server
		right := pushers.Subscription{Pusher: link.Query().Get("pusher"), Token: link.Query().Get("token")}
		for _, wrong := range []pushers.Subscription{{}, {Pusher: right.Pusher}, {right.Pusher, right.Token + "x"}, {"x", right.Token}, {right.Pusher + "0", right.Token}} {
			if err := w.pushers.Unsubscribe(t.Context(), wrong); matrix.Code(err) != "M_INVALID_PARAM" {
				t.Errorf("%v: %v", wrong, err)
			}
		}
		if address, err := w.pushers.Subscribed(t.Context(), right); err != nil || address != "bob@example.org" {
			t.Errorf("%s, %v", address, err)
		}
		w.must(w.pushers.Unsubscribe(t.Context(), right))
		w.count(0)
		if err := w.pushers.Unsubscribe(t.Context(), right); matrix.Code(err) != "M_INVALID_PARAM" {
			t.Errorf("again: %v", err)
		}
	})
}
