package outbox_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trestle/homeserver/federation"
	"trestle/homeserver/notifier"
	"trestle/homeserver/outbox"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/discovery"
	"trestle/internal/matrix"
	"trestle/internal/outbound"
	"trestle/internal/testkit"
	"trestle/migrations"
)

const (
	here  matrix.ServerName = "here.example"
	alice matrix.UserID     = "@alice:here.example"
	dave  matrix.UserID     = "@dave:here.example"
)

// nobody is what a server without profiles, aliases and services has of them.
type nobody struct{}

func (nobody) Profile(context.Context, matrix.UserID) (string, string, error)     { return "", "", nil }
func (nobody) QueryAlias(context.Context, matrix.RoomAlias, string) (bool, error) { return false, nil }
func (nobody) QueryUser(context.Context, matrix.UserID, string) error             { return nil }
func (nobody) AliasesChanged(matrix.RoomID)                                       {}
func (nobody) MayUseAlias(string, matrix.RoomAlias) error                         { return nil }

// A world is a server with rooms, and others that it sends to.
type world struct {
	t         *testing.T
	authority *testkit.Authority
	key       matrix.SigningKey
	theirs    matrix.SigningKey // of everybody else
	url       string
	store     *storage.Store
	stream    *notifier.Notifier
	house     atomic.Pointer[rooms.Service]
	asked     atomic.Int64 // how often somebody wanted to know who is in a room
	client    *federation.Client
	sends     *outbox.Service
	denied    atomic.Pointer[matrix.ServerName]
	broken    atomic.Int64 // the number of a room of which nothing can be read
	change    func(*outbox.Options)
}

func newWorld(t *testing.T, url string, change func(*outbox.Options)) *world {
	t.Helper()
	w := &world{t: t, authority: testkit.NewAuthority(t), key: newKey(t), theirs: newKey(t), url: url, change: change}
	db, err := database.Open(t.Context(), url, migrations.Homeserver, database.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	w.store = storage.New(db)
	w.stream = notifier.New(w.store.Members, 0)
	w.open()
	w.start()
	return w
}

func newKey(t *testing.T) matrix.SigningKey {
	t.Helper()
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// open has the rooms be read anew.
func (w *world) open() {
	w.house.Store(rooms.New(rooms.Options{
		Store: w.store, ServerName: here, Key: w.key, DefaultVersion: "11", Listener: w.stream, Profiles: nobody{}, Directory: nobody{},
	}))
}

// Others implements outbox.Rooms.
func (w *world) Others(ctx context.Context, nid, root int64, known *rooms.Others) (*rooms.Others, error) {
	w.asked.Add(1)
	if nid == w.broken.Load() {
		return nil, errors.New("a state is missing")
	}
	return w.house.Load().Others(ctx, nid, root, known)
}

// start begins to send, with a memory as after a start of the server.
func (w *world) start() {
	w.t.Helper()
	w.client = federation.NewClient(federation.ClientOptions{
		ServerName: here, Key: w.key, Log: slog.New(slog.DiscardHandler),
		Transport: discovery.NewTransport(discovery.Options{Guard: outbound.New(outbound.Options{
			Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Authorities: w.authority.Pool(),
		})}),
		Heard: func(server matrix.ServerName) { w.sends.Heard(server) },
		Allowed: func(server matrix.ServerName) bool {
			denied := w.denied.Load()
			return denied == nil || *denied != server
		},
	})
	o := outbox.Options{
		ServerName: here, Store: w.store, Rooms: w, Stream: w.stream, Client: w.client, FirstPause: time.Millisecond, Log: slog.New(slog.DiscardHandler),
	}
	if w.change != nil {
		w.change(&o)
	}
	w.sends = outbox.New(o)
	if err := w.sends.Start(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.stop)
}

// stop breaks off what is under way.
func (w *world) stop() {
	if w.sends == nil {
		return // it is a process of its own
	}
	now, cancel := context.WithCancel(context.Background())
	cancel()
	w.sends.Close(now)
}

func (w *world) restart() {
	w.stop()
	w.store = storage.New(w.store.DB)
	w.open()
	w.start()
}

func (w *world) rooms() *rooms.Service { return w.house.Load() }

func (w *world) room() matrix.RoomID {
	w.t.Helper()
	id, err := w.rooms().Create(w.t.Context(), rooms.CreateRequest{Creator: alice, Preset: "public_chat"})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) say(room matrix.RoomID, body string) matrix.EventID {
	w.t.Helper()
	content, _ := json.Marshal(map[string]string{"msgtype": "m.text", "body": body})
	id, err := w.rooms().Send(w.t.Context(), rooms.SendRequest{Room: room, Sender: alice, Type: "m.room.message", Content: content})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// sayMany says numbers from 0 on.
func (w *world) sayMany(room matrix.RoomID, count int) {
	w.t.Helper()
	for from := 0; from < count; from += rooms.MaxSteps {
		var reqs []rooms.SendRequest
		for i := from; i < min(count, from+rooms.MaxSteps); i++ {
			content := fmt.Sprintf(`{"msgtype":"m.text","body":"%d"}`, i)
			reqs = append(reqs, rooms.SendRequest{Room: room, Sender: alice, Type: "m.room.message", Content: json.RawMessage(content)})
		}
		if _, err := w.rooms().SendOrdered(w.t.Context(), room, reqs, true); err != nil {
			w.t.Fatal(err)
		}
	}
}

// plant puts a membership of a user of another server into a room, as if that had sent it. note is called in the transaction.
func (w *world) plant(room matrix.RoomID, user matrix.UserID, membership string, note func(tx *database.Tx, nid int64) error) *storage.Event {
	w.t.Helper()
	ctx, s := w.t.Context(), w.store
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	info, err := s.Rooms.Info(ctx, room)
	must(err)
	head, err := s.Rooms.Head(ctx, info.NID)
	must(err)
	stateKey := string(user)
	event, err := matrix.EventTemplate{
		RoomID: room, Sender: user, Type: "m.room.member", StateKey: &stateKey, Content: json.RawMessage(`{"membership":"` + membership + `"}`),
		OriginServerTS: time.Now().UnixMilli(), Depth: head.Depth + 1, PrevEvents: head.Extremities,
	}.Build(info.Version, user.Server(), w.theirs)
	must(err)
	e := &storage.Event{Event: event, RoomNID: info.NID}
	e.NID, err = s.Events.NewNID(ctx)
	must(err)
	keys, err := s.State.Keys(ctx, info.NID)
	must(err)
	key := storage.StateKey{Type: "m.room.member", Key: stateKey}
	number := slices.Index(keys, key)
	isNew := number < 0
	if isNew {
		number = len(keys)
	}
	tree, err := s.State.Tree(ctx, head.Root)
	must(err)
	e.ReplacesNID, err = tree.Get(ctx, s.State, uint32(number))
	must(err)
	tree, nodes, err := tree.Set(ctx, s.State, s.State.NewNodeID, uint32(number), e.NID)
	must(err)
	e.Root = tree.Root()
	types, err := s.Types.NID(ctx, e.Type)
	must(err)
	sender, err := s.Users.NID(ctx, stateKey)
	must(err)
	must(s.DB.Update(ctx, func(tx *database.Tx) error {
		var err error
		if e.Position, err = tx.Position(ctx); err != nil {
			return err
		}
		e.Ordering = e.Position
		if isNew {
			if err := s.State.InsertKey(ctx, tx, info.NID, uint32(number), key); err != nil {
				return err
			}
		}
		if err := s.State.InsertNodes(ctx, tx, nodes); err != nil {
			return err
		}
		if err := s.Events.Insert(ctx, tx, e, types, sender); err != nil {
			return err
		}
		m := storage.Membership{RoomNID: info.NID, Membership: membership, EventNID: e.NID, Position: e.Position}
		if err := s.Members.Set(ctx, tx, sender, m); err != nil {
			return err
		}
		if note != nil {
			if err := note(tx, e.NID); err != nil {
				return err
			}
		}
		tx.OnCommit(func() { s.Events.Cache(e) })
		return s.Rooms.SetHead(ctx, tx, info.NID, storage.RoomHead{
			Root: e.Root, Extremities: []matrix.EventID{e.ID}, Depth: e.Depth, LastPosition: e.Position,
		})
	}))
	w.open()
	w.stream.Advance(e.Position)
	return e
}

// waiting is how many events are stored for a server.
func (w *world) waiting(p *peer) int {
	w.t.Helper()
	list, err := w.store.Outbox.Destinations(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, d := range list {
		if d.Name == p.name {
			return d.Waiting
		}
	}
	return 0
}

// settled waits until nothing waits for anybody.
func (w *world) settled() {
	w.t.Helper()
	w.caughtUp()
	until(w.t, "nothing waits", func() bool {
		list, err := w.store.Outbox.Destinations(w.t.Context())
		return err == nil && len(list) == 0
	})
}

// givenTime waits until a server is to be left alone for a while.
func (w *world) givenTime(p *peer) {
	w.t.Helper()
	until(w.t, "a server is left alone", func() bool {
		return slices.ContainsFunc(w.sends.Servers(w.t.Context()), func(s outbox.Status) bool {
			return s.Server == p.name && time.Until(s.NextAttempt) > time.Second
		})
	})
}

// caughtUp waits until all that is in the stream has been addressed.
func (w *world) caughtUp() {
	w.t.Helper()
	until(w.t, "the reader has come to the end of the stream", func() bool { return w.sends.Position() == w.stream.Position() })
}

// until waits for a condition.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to be that %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// A sent is a transaction as a server got it.
type sent struct {
	id   string
	body string
	said []string // of each event what it says, in short
}

// A peer is another server.
type peer struct {
	t    *testing.T
	name matrix.ServerName
	from matrix.ServerName // who sends
	got  chan sent         // all that it was sent, whatever it answered

	judged http.Handler // takes everything

	mu     sync.Mutex
	answer http.HandlerFunc // nil: judged
}

func (w *world) peer() *peer {
	w.t.Helper()
	p := &peer{t: w.t, from: here, got: make(chan sent, 10_000), judged: testkit.SpecServer(w.t, answers(200, `{"pdus":{}}`))}
	server := httptest.NewUnstartedServer(p)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{w.authority.Certificate("127.0.0.1")}}
	server.StartTLS()
	w.t.Cleanup(func() {
		w.stop() // or the server would wait for requests that it does not answer
		server.Close()
	})
	p.name = matrix.ServerName(server.Listener.Addr().String())
	return p
}

func (p *peer) user(localpart string) matrix.UserID { return matrix.NewUserID(localpart, p.name) }

// set has the server answer otherwise.
func (p *peer) set(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // whoever has sent it was killed before the end
	}
	id, ok := strings.CutPrefix(r.URL.Path, "/_matrix/federation/v1/send/")
	if !ok || r.Method != http.MethodPut {
		p.t.Errorf("%s %s", r.Method, r.URL)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	p.mu.Lock()
	answer := p.answer
	p.mu.Unlock()
	p.got <- sent{id, string(body), p.said(body)}
	if answer == nil {
		p.judged.ServeHTTP(w, r)
		return
	}
	answer(w, r)
}

func answers(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hangs does not answer.
func hangs(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// said is what the events of a transaction say.
func (p *peer) said(body []byte) (list []string) {
	p.t.Helper()
	var txn struct {
		Origin matrix.ServerName `json:"origin"`
		At     int64             `json:"origin_server_ts"`
		PDUs   []struct {
			Type     string  `json:"type"`
			StateKey *string `json:"state_key"`
			Content  struct {
				Body       string `json:"body"`
				Membership string `json:"membership"`
			} `json:"content"`
		} `json:"pdus"`
	}
	if err := json.Unmarshal(body, &txn); err != nil || txn.Origin != p.from || txn.At <= 0 || len(txn.PDUs) > 50 {
		p.t.Errorf("a transaction of %s at %d with %d events: %v", txn.Origin, txn.At, len(txn.PDUs), err)
	}
	for _, e := range txn.PDUs {
		switch e.Type {
		case "m.room.message":
			list = append(list, e.Content.Body)
		case "m.room.member":
			list = append(list, e.Content.Membership+" "+matrix.UserID(*e.StateKey).Localpart())
		default:
			list = append(list, e.Type)
		}
	}
	return list
}

// next is the next transaction that the server is sent.
func (p *peer) next() sent {
	p.t.Helper()
	select {
	case got := <-p.got:
		return got
	case <-time.After(30 * time.Second):
		p.t.Fatal("a server is sent nothing")
		return sent{}
	}
}

// wants reads so many events as are wanted, in order.
func (p *peer) wants(want ...string) {
	p.t.Helper()
	var got []string
	for len(got) < len(want) {
		got = append(got, p.next().said...)
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("%s was sent %q, want %q", p.name, got, want)
	}
}
