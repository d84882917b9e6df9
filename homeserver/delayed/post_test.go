package delayed_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"sync"
	"testing"
	"time"

	"trestle/homeserver/delayed"
	"trestle/homeserver/rooms"
	"trestle/homeserver/storage"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/migrations"
)

const alice, bob matrix.UserID = "@alice:hs", "@bob:hs"

// A post is a service with a room, and a clock.
type post struct {
	*delayed.Service
	t       *testing.T
	options delayed.Options
	rooms   *rooms.Service
	store   *storage.Store
	room    matrix.RoomID // of alice; bob is in it

	mu     sync.Mutex
	now    time.Time
	barred error // what MayAct answers
	broken bool  // the connection breaks after an event is sent
}

func newPost(t *testing.T, url string) *post {
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
	p := &post{t: t, now: time.UnixMilli(1_700_000_000_000), store: storage.New(db)}
	p.rooms = rooms.New(rooms.Options{
		Store: p.store, ServerName: "hs", Key: key, DefaultVersion: "12", Listener: nobody{}, Profiles: nobody{}, Directory: nobody{},
	})
	p.options = delayed.Options{
		DB: db, Events: storage.NewDelayedEvents(db), Rooms: shakyRooms{p.rooms, p}, MayAct: p.mayAct,
		MaxDelay: time.Hour, MaxPerUser: 3, Now: p.time,
	}
	p.Service = delayed.New(p.options)
	p.room, err = p.rooms.Create(t.Context(), rooms.CreateRequest{Creator: alice, Preset: "public_chat"})
	p.must(err)
	_, err = p.rooms.Join(t.Context(), string(p.room), rooms.MemberRequest{Sender: bob})
	p.must(err)
	return p
}

// shakyRooms can lose the answer to what they have done.
type shakyRooms struct {
	*rooms.Service
	post *post
}

var errBroken = errors.New("the connection is broken")

func (r shakyRooms) Send(ctx context.Context, req rooms.SendRequest) (matrix.EventID, error) {
	id, err := r.Service.Send(ctx, req)
	if r.post.broken {
		return "", errBroken
	}
	return id, err
}

func (p *post) mayAct(context.Context, matrix.UserID) error { return p.barred }

func (p *post) time() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// wait lets time pass and the service do its work.
func (p *post) wait(d time.Duration) time.Duration {
	p.mu.Lock()
	p.now = p.now.Add(d)
	p.mu.Unlock()
	return p.Work(p.t.Context())
}

func (p *post) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *post) wantCode(what string, err error, code string) {
	p.t.Helper()
	if matrix.Code(err) != code || code == "" && err != nil {
		p.t.Errorf("%s: %v, want %q", what, err, code)
	}
}

// message is a request for a message later.
func (p *post) message(user matrix.UserID, text, txn string, delay time.Duration) delayed.Request {
	content, err := json.Marshal(map[string]string{"body": text})
	p.must(err)
	return delayed.Request{Room: p.room, User: user, Type: "m.room.message", Content: content, TxnKey: txn, Delay: delay.Milliseconds()}
}

func (p *post) schedule(req delayed.Request) string {
	p.t.Helper()
	id, err := p.Schedule(p.t.Context(), req)
	p.must(err)
	return id
}

// said is the messages in the room, in their order.
func (p *post) said() []string {
	p.t.Helper()
	info, err := p.rooms.Info(p.t.Context(), p.room)
	p.must(err)
	events, err := p.store.Events.Forward(p.t.Context(), info.NID, math.MinInt64, math.MaxInt64, 1000)
	p.must(err)
	said := []string{}
	for _, e := range events {
		var content struct{ Body string }
		if e.Type == "m.room.message" && json.Unmarshal(e.Content, &content) == nil {
			said = append(said, content.Body)
		}
	}
	return said
}

// nobody is the rest of a server.
type nobody struct{}

func (nobody) RoomChanged(rooms.Change) {}
func (nobody) Profile(context.Context, matrix.UserID) (string, string, error) {
	return "", "", nil
}
func (nobody) QueryAlias(context.Context, matrix.RoomAlias, string) (bool, error) { return false, nil }
func (nobody) QueryUser(context.Context, matrix.UserID, string) error             { return nil }
func (nobody) MayUseAlias(string, matrix.RoomAlias) error                         { return nil }
func (nobody) AliasesChanged(matrix.RoomID)                                       {}
