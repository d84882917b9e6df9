package clientapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

// newGateway is a push gateway that takes everything which is as the
// specification has it.
func newGateway(t *testing.T) (address string, pushes <-chan map[string]any) {
	t.Helper()
	taken := make(chan map[string]any, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const answer = `{"rejected":[]}`
		body, err := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
		if err == nil {
			err = testkit.ValidateExchange(testkit.Exchange{
				Method: r.Method, URL: r.URL, RequestHeader: r.Header, Request: body,
				Status: http.StatusOK, Header: w.Header(), Response: []byte(answer),
			})
		}
		var push map[string]map[string]any
		if err == nil {
			err = json.Unmarshal(body, &push)
		}
		if err != nil {
			t.Errorf("%s: %v", body, err)
		}
		taken <- push["notification"]
	}))
	t.Cleanup(server.Close)
	return server.URL + "/_matrix/push/v1/notify", taken
}

func nextPush(t *testing.T, pushes <-chan map[string]any) map[string]any {
	t.Helper()
	select {
	case p := <-pushes:
		return p
	case <-time.After(2 * time.Minute):
		t.Fatal("no push came")
		return nil
	}
}

func withGateway(cfg *config.Config) {
	cfg.Pushers.AllowHTTP, cfg.Pushers.AllowAddresses = true, []string{"127.0.0.1"}
}

// From a message to what the gateway is told of it, and of its being read.
func TestPushes(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database, withGateway)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.must("POST", v3+"/createRoom", object{"preset": "public_chat", "name": "Mission Control"}).field("room_id")
		bob.join(room)
		address, pushes := newGateway(t)
		bob.setPusher(object{"data": object{"url": address, "custom": 1}})
		event := alice.say(room, "ground control")
		p := nextPush(t, pushes)
		devices, _ := p["devices"].([]any)
		if len(devices) != 1 {
			t.Fatalf("%v", p)
		}
		phone := devices[0].(map[string]any)
		if at, ok := phone["pushkey_ts"].(float64); !ok || time.Since(time.Unix(int64(at), 0)).Abs() > time.Minute {
			t.Errorf("pushkey_ts %v", phone["pushkey_ts"])
		}
		delete(phone, "pushkey_ts")
		if !same(p, object{
			"event_id": event, "room_id": room, "type": "m.room.message", "sender": alice.user, "sender_display_name": "alice",
			"room_name": "Mission Control", "prio": "high", "content": object{"msgtype": "m.text", "body": "ground control"},
			"counts": object{"unread": 1},
			"devices": []object{{
				"app_id": "app.example.ios", "pushkey": "key", "data": object{"custom": 1},
				"tweaks": object{"sound": "default"},
			}},
		}) {
			t.Errorf("%s", mustJSON(t, p))
		}
		bob.read(room, "m.read", event, "")
		if p := nextPush(t, pushes); !same(p["counts"], object{"unread": 0}) || p["event_id"] != nil {
			t.Errorf("read: %v", p)
		}
		bob.say(room, "his own words are nothing new")
		last := alice.say(room, "bye")
		if p := nextPush(t, pushes); p["event_id"] != last {
			t.Errorf("then: %v", p)
		}
	})
}

// Who is locked out is not told, either.
func TestNoPushesForTheLocked(t *testing.T) {
	s := newWholeServer(t, testkit.SQLite(t), withGateway)
	alice, bob, carol := s.person("alice"), s.person("bob"), s.person("carol")
	room := alice.room(bob, carol)
	address, pushes := newGateway(t)
	bob.setPusher(object{"pushkey": "bob", "data": object{"url": address}})
	carol.setPusher(object{"pushkey": "carol", "data": object{"url": address}})
	s.administrator("root").must("PUT", lockPath+bob.user, object{"locked": true})
	for _, text := range []string{"one", "two"} {
		alice.say(room, text)
		if p := nextPush(t, pushes); !strings.Contains(mustJSON(t, p["devices"]), `"carol"`) {
			t.Errorf("%v", p)
		}
	}
}

// Gateways are not reached where the operator does not allow it.
func TestPushesReachNothingPrivate(t *testing.T) {
	s := newWholeServer(t, testkit.SQLite(t), withGateway)
	alice, bob := s.person("alice"), s.person("bob")
	room := alice.room(bob)
	address, pushes := newGateway(t)
	port := address[strings.LastIndexByte(address, ':'):]
	for _, host := range []string{"127.0.0.2", "[::ffff:127.0.0.3]", "0.0.0.0"} {
		bob.setPusher(object{"pushkey": host, "data": object{"url": "http://" + host + port}})
	}
	bob.setPusher(object{"pushkey": "fine", "data": object{"url": address}})
	event := alice.say(room, "hello")
	p := nextPush(t, pushes)
	if p["event_id"] != event || !strings.Contains(mustJSON(t, p["devices"]), `"fine"`) {
		t.Errorf("%v", p)
	}
	select {
	case p := <-pushes:
		t.Errorf("more: %v", p)
	default:
	}
}

var unsubscribeLink = regexp.MustCompile(`https://matrix\.hs\.example(/_trestle/client/unsubscribe\?\S+)`)

// From a message to a mail, and to no more of them.
func TestMailsAboutNotifications(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		box, relay := newPostbox(t)
		s := newWholeServer(t, database, func(cfg *config.Config) {
			cfg.Mail = config.Mail{Relay: relay, Security: "none", From: "noreply@hs.example", Timeout: config.Duration(time.Minute)}
			cfg.PublicBaseURL, cfg.Pushers.MailDelay = "https://matrix.hs.example", config.Duration(time.Millisecond)
		})
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.room(bob)
		setMail := func() reply {
			return bob.do("POST", v3+"/pushers/set", pusherBody(object{"kind": "email", "app_id": "m.email", "pushkey": "Bob@example.org", "data": object{}}))
		}
		if r := setMail(); r.status != 400 || r.field("errcode") != "M_THREEPID_NOT_FOUND" {
			t.Errorf("without an address: %d %s", r.status, r.body)
		}
		sid := bob.must("POST", v3+"/account/3pid/email/requestToken", requestBody("bob@example.org", "secret", 1)).field("sid")
		link := box.next(t, "bob@example.org")
		query, _ := url.ParseQuery(link[strings.IndexByte(link, '?')+1:])
		s.form(t, "/_trestle/client/verify", query)
		bob.must("POST", v3+"/account/3pid/add", `{"sid":"`+sid+`","client_secret":"secret","auth":`+passwordAuth("bob", password)+`}`)
		if r := setMail(); r.status != 200 {
			t.Fatalf("with an address: %d %s", r.status, r.body)
		}
		alice.say(room, "are you there?")
		var l letter
		select {
		case l = <-box.letters:
		case <-time.After(2 * time.Minute):
			t.Fatal("no mail came")
		}
		found := unsubscribeLink.FindStringSubmatch(l.text)
		if l.to != "bob@example.org" || !strings.Contains(l.text, "alice: are you there?") || !strings.Contains(l.html, "<b>alice</b>") || found == nil {
			t.Fatalf("to %s: %s\n%s", l.to, l.text, l.html)
		}
		page := s.form(t, found[1], nil)
		if !strings.Contains(page, "bob@example.org") || !strings.Contains(page, `<form method="post" action="/_trestle/client/unsubscribe">`) {
			t.Errorf("the page: %s", page)
		}
		if len(bob.pushers()) != 1 {
			t.Error("looking at the page was enough")
		}
		s.form(t, found[1], url.Values{"List-Unsubscribe": {"One-Click"}})
		if list := bob.pushers(); len(list) != 0 {
			t.Errorf("after the click: %v", list)
		}
		if page := s.form(t, found[1], nil); !strings.Contains(page, "ended already") || strings.Contains(page, "<form") {
			t.Errorf("the page again: %s", page)
		}
		// The pusher goes with the address, too.
		setMail()
		bob.must("POST", v3+"/account/3pid/delete", `{"medium":"email","address":"bob@example.org"}`)
		if list := bob.pushers(); len(list) != 0 {
			t.Errorf("without the address: %v", list)
		}
	})
}

// Operators say it in their own words, as far as they like.
func TestMailsInOtherWords(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{
		"verify.subject": "Adresse", "verify.txt": "Bestätigen: {{.Link}}\n", "verify.html": "<a href={{.Link}}>Bestätigen</a>",
		"unread.txt": "{{range .Rooms}}{{range .Messages}}{{.At.Format \"02.01.2006\"}} {{.Kind}} von {{.Sender}}: {{.Body}}{{end}}{{end}}",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	box, relay := newPostbox(t)
	s := newWholeServer(t, testkit.SQLite(t), func(cfg *config.Config) {
		cfg.Mail = config.Mail{Relay: relay, Security: "none", From: "noreply@hs.example", Timeout: config.Duration(time.Minute), Templates: folder}
		cfg.PublicBaseURL, cfg.Pushers.MailDelay = "https://matrix.hs.example", config.Duration(time.Millisecond)
	})
	alice, bob := s.person("alice"), s.person("bob")
	room := alice.room(bob)
	sid := bob.must("POST", v3+"/account/3pid/email/requestToken", requestBody("bob@example.org", "secret", 1)).field("sid")
	l := <-box.letters
	found := link.FindStringSubmatch(l.text)
	if !strings.HasPrefix(l.text, "Bestätigen: https://") || found == nil || !strings.Contains(l.html, ">Bestätigen</a>") {
		t.Fatalf("%s\n%s", l.text, l.html)
	}
	query, _ := url.ParseQuery(found[1][strings.IndexByte(found[1], '?')+1:])
	s.form(t, "/_trestle/client/verify", query)
	bob.must("POST", v3+"/account/3pid/add", `{"sid":"`+sid+`","client_secret":"secret","auth":`+passwordAuth("bob", password)+`}`)
	bob.must("POST", v3+"/pushers/set", pusherBody(object{"kind": "email", "app_id": "m.email", "pushkey": "bob@example.org", "data": object{}}))
	alice.say(room, "are you there?")
	select {
	case l = <-box.letters:
	case <-time.After(2 * time.Minute):
		t.Fatal("no mail came")
	}
	today := time.Now().UTC()
	if want := " message von alice: are you there?"; !strings.HasSuffix(strings.TrimSpace(l.text), want) || l.html != "" ||
		!strings.HasPrefix(l.text, today.Format("02.01.2006")) && !strings.HasPrefix(l.text, today.Add(-time.Minute).Format("02.01.2006")) {
		t.Errorf("%q %q", l.text, l.html)
	}
	// The rest is as it was.
	bob.must("POST", v3+"/account/password/email/requestToken", requestBody("bob@example.org", "other", 1))
	if l = <-box.letters; !strings.Contains(l.text, "wants a new password") {
		t.Errorf("%s", l.text)
	}
}

// form opens a page, or sends its form.
func (s *wholeServer) form(t *testing.T, path string, values url.Values) string {
	t.Helper()
	method, body := http.MethodGet, io.Reader(nil)
	if values != nil {
		method, body = http.MethodPost, strings.NewReader(values.Encode())
	}
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 500 {
		t.Fatalf("%s: %d %v", path, response.StatusCode, err)
	}
	return string(text)
}
