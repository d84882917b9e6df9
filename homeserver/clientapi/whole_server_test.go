package clientapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/testkit"
)

// A wholeServer is a homeserver with all its services, over HTTP.
type wholeServer struct {
	t    *testing.T
	url  string
	http *http.Client
	// close ends the server before the test does.
	close func()
}

func newWholeServer(t *testing.T, url string, change ...func(*config.Config)) *wholeServer {
	t.Helper()
	cfg := config.Default()
	cfg.ServerName = "hs.example"
	cfg.Data = t.TempDir()
	cfg.Media.Path = filepath.Join(cfg.Data, "media")
	cfg.Database = config.Secret(url)
	cfg.SigningKey = filepath.Join(cfg.Data, "signing.key")
	cfg.AppServices = []string{filepath.Join(cfg.Data, "appservices")}
	cfg.OpenRegistration, cfg.NoRateLimits = true, true
	cfg.RegistrationSharedSecret = "shared"
	cfg.Registration.Guests = true
	cfg.Passwords.Hash, cfg.Passwords.BcryptCost = "bcrypt", 4
	listener := httptest.NewUnstartedServer(nil)
	t.Cleanup(listener.Close)
	cfg.PublicBaseURL = "http://" + listener.Listener.Addr().String()
	for _, c := range change {
		c(cfg)
	}
	server, err := homeserver.Open(t.Context(), cfg, slog.New(failing{t}))
	if err != nil {
		t.Fatal(err)
	}
	listener.Config.Handler = server.Handler()
	listener.Start()
	end := sync.OnceFunc(func() { listener.Close(); server.Close() })
	t.Cleanup(end)
	return &wholeServer{t: t, close: end, url: listener.URL, http: &http.Client{Transport: testkit.SpecTransport(t, listener.Client().Transport)}}
}

// plain is the same server for requests that the specification's files do not
// have, or forbid.
func (s *wholeServer) plain() *wholeServer {
	return &wholeServer{t: s.t, url: s.url, http: &http.Client{}}
}

// A device is one login of a user of a wholeServer.
type device struct {
	*wholeServer
	user, id, token string
	since           string // of the last sync
}

// person makes a user and logs in.
func (s *wholeServer) person(name string) *device {
	s.t.Helper()
	d := &device{wholeServer: s}
	res := d.must("POST", v3+"/register", map[string]any{
		"username": name, "password": password, "device_id": strings.ToUpper(name), "auth": map[string]string{"type": "m.login.dummy"},
	})
	d.user, d.id, d.token = "@"+name+":hs.example", strings.ToUpper(name), res.field("access_token")
	return d
}

// another is a second login of the same user.
func (d *device) another(id string) *device {
	d.t.Helper()
	other := &device{wholeServer: d.wholeServer, user: d.user, id: id}
	other.token = other.must("POST", v3+"/login", map[string]any{
		"type": "m.login.password", "identifier": map[string]string{"type": "m.id.user", "user": d.user}, "password": password, "device_id": id,
	}).field("access_token")
	return other
}

// do makes a request; the body is JSON as text, or anything that can be
// encoded, or nil.
func (d *device) do(method, path string, body any) reply {
	d.t.Helper()
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		content = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			d.t.Fatal(err)
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(d.t.Context(), method, d.url+path, content)
	if err != nil {
		d.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if d.token != "" {
		r.Header.Set("Authorization", "Bearer "+d.token)
	}
	response, err := d.http.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return reply{response.StatusCode, string(text)}
}

func (d *device) must(method, path string, body any) reply {
	d.t.Helper()
	r := d.do(method, path, body)
	if r.status != http.StatusOK {
		d.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	return r
}

func (d *device) refused(method, path string, body any, status int, code string) {
	d.t.Helper()
	r := d.do(method, path, body)
	if r.status != status || r.field("errcode") != code {
		d.t.Errorf("%s %s %.200v: %d %s, want %d %s", method, path, body, r.status, r.body, status, code)
	}
	if r.field("error") == "" {
		d.t.Errorf("%s %s: no sentence that helps: %s", method, path, r.body)
	}
}

// at is a value deep in a JSON answer, or nil.
func (r reply) at(path ...string) any {
	var value any
	_ = json.Unmarshal([]byte(r.body), &value)
	for _, key := range path {
		members, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = members[key]
	}
	return value
}

// texts is a list of strings deep in a JSON answer.
func (r reply) texts(path ...string) []string {
	list, _ := r.at(path...).([]any)
	var texts []string
	for _, v := range list {
		texts = append(texts, fmt.Sprint(v))
	}
	slices.Sort(texts)
	return texts
}

// same compares two values as JSON.
func same(a, b any) bool {
	left, _ := json.Marshal(a)
	right, _ := json.Marshal(b)
	var x, y any
	_ = json.Unmarshal(left, &x)
	_ = json.Unmarshal(right, &y)
	left, _ = json.Marshal(x)
	right, _ = json.Marshal(y)
	return bytes.Equal(left, right)
}

// sync answers what is new since the last one, at once.
func (d *device) sync(params ...string) reply {
	d.t.Helper()
	return d.syncFor(0, params...)
}

func (d *device) syncFor(timeout time.Duration, params ...string) reply {
	d.t.Helper()
	q := url.Values{"timeout": {fmt.Sprint(timeout.Milliseconds())}}
	if d.since != "" {
		q.Set("since", d.since)
	}
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	res := d.must("GET", v3+"/sync?"+q.Encode(), nil)
	d.since = res.field("next_batch")
	return res
}

// syncUntil syncs until an answer is the right one.
func (d *device) syncUntil(what string, right func(reply) bool) reply {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), 2*time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if res := d.syncFor(time.Second); right(res) {
			return res
		}
	}
	d.t.Fatalf("%s: no %s in any sync", d.user, what)
	return reply{}
}

// room makes a public room and has others join it.
func (d *device) room(others ...*device) string {
	d.t.Helper()
	id := d.must("POST", v3+"/createRoom", map[string]string{"preset": "public_chat"}).field("room_id")
	for _, other := range others {
		other.join(id)
	}
	return id
}

func (d *device) join(room string) {
	d.t.Helper()
	d.must("POST", v3+"/rooms/"+room+"/join", "{}")
}

func (d *device) leave(room string) {
	d.t.Helper()
	d.must("POST", v3+"/rooms/"+room+"/leave", "{}")
}

// say sends a message and returns its event ID. Extra content may follow.
func (d *device) say(room, text string, more ...any) string {
	d.t.Helper()
	content := map[string]any{"msgtype": "m.text", "body": text}
	for i := 0; i < len(more); i += 2 {
		content[more[i].(string)] = more[i+1]
	}
	return d.must("PUT", v3+"/rooms/"+room+"/send/m.room.message/"+fmt.Sprintf("%s-%d", text, time.Now().UnixNano()), content).field("event_id")
}

func mustJSON(t *testing.T, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
