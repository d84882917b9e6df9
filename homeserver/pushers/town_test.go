package pushers_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/accounts"
	"trestle/homeserver/mail"
	"trestle/homeserver/pushers"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
	"trestle/migrations"
)

const (
	alice = matrix.UserID("@alice:hs.example")
	bob   = matrix.UserID("@bob:hs.example")
)

// people are what is known of the users, who have names and mail addresses.
type people struct{}

func (people) Profile(_ context.Context, user matrix.UserID) (string, string, error) {
	return "The " + user.Localpart(), "", nil
}
func (people) ThreePIDs(_ context.Context, user matrix.UserID) ([]accounts.ThreePID, error) {
	return []accounts.ThreePID{{Medium: "email", Address: user.Localpart() + "@example.org"}}, nil
}
func (people) Account(_ context.Context, user matrix.UserID) (*accounts.Account, error) {
	return &accounts.Account{UserID: user}, nil
}
func (people) QueryAlias(context.Context, matrix.RoomAlias, string) (bool, error) { return false, nil }
func (people) QueryUser(context.Context, matrix.UserID, string) error             { return nil }
func (people) AliasesChanged(matrix.RoomID)                                       {}
func (people) MayUseAlias(string, matrix.RoomAlias) error                         { return nil }
func (people) RoomChanged(rooms.Change)                                           {}

// A town has rooms, notifications that the test makes, and pushers.
type town struct {
	t             testing.TB
	db            *database.DB
	store         *storage.Store
	rooms         *rooms.Service
	notifications *storage.Notifications
	pushers       *pushers.Service
	mail          *post
	change        func(*pushers.Options)
}

func open(t testing.TB, url string, change func(*pushers.Options)) *town {
	t.Helper()
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	w := &town{t: t, db: db, store: storage.New(db), notifications: storage.NewNotifications(db), mail: &post{letters: make(chan mail.Message, 10)}, change: change}
	w.rooms = rooms.New(rooms.Options{
		Store: w.store, ServerName: "hs.example", Key: key, DefaultVersion: "11", Listener: people{}, Profiles: people{}, Directory: people{},
	})
	w.start()
	t.Cleanup(w.stop)
	return w
}

func (w *town) start() {
	w.t.Helper()
	o := pushers.Options{
		ServerName: "hs.example", Store: w.store, Pushers: storage.NewPushers(w.db), Notifications: w.notifications, Rooms: w.rooms,
		Accounts: people{}, Client: new(http.Client), AllowHTTP: true, Mailer: w.mail, BaseURL: "https://hs.example/", Secret: []byte("secret"),
		BackoffMin: time.Millisecond, BackoffMax: 20 * time.Millisecond,
	}
	if w.change != nil {
		w.change(&o)
	}
	w.pushers = pushers.New(o)
	w.must(w.pushers.Start(w.t.Context()))
}

func (w *town) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.pushers.Close(ctx)
}

func (w *town) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// room is one of alice's, with bob in it.
func (w *town) room(req rooms.CreateRequest) matrix.RoomID {
	w.t.Helper()
	req.Creator, req.Preset = alice, "public_chat"
	id, err := w.rooms.Create(w.t.Context(), req)
	w.must(err)
	_, err = w.rooms.Join(w.t.Context(), string(id), rooms.MemberRequest{Sender: bob})
	w.must(err)
	return id
}

func (w *town) send(room matrix.RoomID, typ, content string) matrix.EventID {
	w.t.Helper()
	id, err := w.rooms.Send(w.t.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: typ, Content: json.RawMessage(content)})
	w.must(err)
	return id
}

// say has alice say something that bob is notified of.
func (w *town) say(room matrix.RoomID, text string) matrix.EventID {
	w.t.Helper()
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	w.must(err)
	id := w.send(room, "m.room.message", string(content))
	w.notify(id, time.Now(), `["notify",{"set_tweak":"sound","value":"default"}]`)
	return id
}

// notify notifies bob of an event.
func (w *town) notify(event matrix.EventID, at time.Time, actions string) {
	w.t.Helper()
	ctx := w.t.Context()
	e, err := w.store.Events.ByID(ctx, event)
	w.must(err)
	user, err := w.store.Users.NID(ctx, string(bob))
	w.must(err)
	w.must(w.db.Update(ctx, func(tx *database.Tx) error {
		err := w.notifications.Insert(ctx, tx, []storage.Notification{{
			UserNID: user, Position: e.Position, RoomNID: e.RoomNID, EventNID: e.NID, TS: at.UnixMilli(), Actions: json.RawMessage(actions),
		}})
		if err != nil {
			return err
		}
		return w.notifications.Add(ctx, tx, []storage.Count{{UserNID: user, RoomNID: e.RoomNID, Notifications: 1, Newest: e.Position}})
	}))
	w.pushers.Wake(bob)
}

// read has bob read a room up to an event.
func (w *town) read(event matrix.EventID) {
	w.t.Helper()
	ctx := w.t.Context()
	e, err := w.store.Events.ByID(ctx, event)
	w.must(err)
	user, err := w.store.Users.NID(ctx, string(bob))
	w.must(err)
	w.must(w.db.Update(ctx, func(tx *database.Tx) error {
		if err := w.notifications.Mark(ctx, tx, storage.ReadMark{UserNID: user, RoomNID: e.RoomNID, UpTo: e.Position}); err != nil {
			return err
		}
		return w.notifications.Recount(ctx, tx, user, e.RoomNID)
	}))
	w.pushers.Wake(bob)
}

func canceled(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func text(s string) *string { return &s }

// set gives bob a pusher.
func (w *town) set(kind, app, key, data string) {
	w.t.Helper()
	w.must(w.pushers.Set(w.t.Context(), bob, "PHONE", pushers.Spec{
		Kind: kind, AppID: app, Key: key, AppName: text("App"), DeviceName: text("Phone"), Lang: text("en"),
		Data: json.RawMessage(data), Enabled: true,
	}))
}

// count waits until bob has so many pushers.
func (w *town) count(n int) {
	w.t.Helper()
	until(w.t, "the right number of pushers", func() bool {
		list, err := w.pushers.List(w.t.Context(), bob)
		w.must(err)
		return len(list) == n
	})
}

// until tries until something is true.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// A gateway takes pushes that are as the specification has them.
type gateway struct {
	t      testing.TB
	url    string
	pushes chan map[string]any // what it took

	mu     sync.Mutex
	status int // 0: 200
	answer string
	asked  int
}

func newGateway(t testing.TB) *gateway {
	g := &gateway{t: t, pushes: make(chan map[string]any, 100), answer: `{"rejected":[]}`}
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	g.url = server.URL + "/_matrix/push/v1/notify"
	return g
}

func (g *gateway) say(status int, answer string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.status, g.answer = status, answer
}

func (g *gateway) times() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

func (g *gateway) data(more string) string { return `{"url":"` + g.url + `"` + more + `}` }

// ServeHTTP takes a push, if the gateway takes any.
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	status, answer := g.status, g.answer
	g.asked++
	g.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	if status != 0 {
		w.WriteHeader(status)
		return
	}
	_, _ = io.WriteString(w, answer)
	if err == nil {
		err = testkit.ValidateExchange(testkit.Exchange{
			Method: r.Method, URL: &url.URL{Path: r.URL.Path}, RequestHeader: r.Header, Request: body,
			Status: http.StatusOK, Header: w.Header(), Response: []byte(answer),
		})
	}
	var p map[string]map[string]any
	if err == nil {
		err = json.Unmarshal(body, &p)
	}
	if err != nil {
		g.t.Errorf("%s: %v", body, err)
	}
	g.pushes <- p["notification"]
}

// next is the next push that the gateway takes.
func (g *gateway) next() map[string]any {
	g.t.Helper()
	select {
	case p := <-g.pushes:
		return p
	case <-time.After(2 * time.Minute):
		g.t.Fatal("no push came")
		return nil
	}
}

// expect is next, held against what it has to be.
func (g *gateway) expect(what string, want map[string]any) {
	g.t.Helper()
	got := g.next()
	for _, d := range got["devices"].([]any) {
		device := d.(map[string]any)
		if at, ok := device["pushkey_ts"].(float64); !ok || time.Since(time.Unix(int64(at), 0)).Abs() > time.Minute {
			g.t.Errorf("%s: pushkey_ts %v", what, device["pushkey_ts"])
		}
		delete(device, "pushkey_ts")
	}
	if a, b := canonical(g.t, got), canonical(g.t, want); a != b {
		g.t.Errorf("%s:\n%s\nwant\n%s", what, a, b)
	}
}

func canonical(t testing.TB, value any) string {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// letter is the next mail to bob.
func (w *town) letter() mail.Message {
	w.t.Helper()
	select {
	case m := <-w.mail.letters:
		return m
	case <-time.After(2 * time.Minute):
		w.t.Fatal("no mail came")
		return mail.Message{}
	}
}

// A post is a relay that keeps what it is given.
type post struct {
	letters chan mail.Message

	mu    sync.Mutex
	err   error
	asked int
}

func (p *post) refuse(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *post) times() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *post) Send(_ context.Context, m mail.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if p.err == nil {
		p.letters <- m
	}
	return p.err
}
