package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/appservice/client"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// A recorder handles events by writing down their IDs, and calls done as told.
type recorder struct {
	mu     sync.Mutex
	seen   []string
	more   chan struct{}
	finish func(id string) bool
}

func newRecorder(finish func(id string) bool) *recorder {
	return &recorder{more: make(chan struct{}, 10000), finish: finish}
}

func (r *recorder) HandleEvent(_ context.Context, e *client.Event, done func()) {
	r.mu.Lock()
	r.seen = append(r.seen, e.ID.String())
	r.mu.Unlock()
	if r.finish(e.ID.String()) {
		done()
	}
	r.more <- struct{}{}
}

// wait waits until n events were handled and returns them all.
func (r *recorder) wait(t *testing.T, n int) []string {
	t.Helper()
	for {
		r.mu.Lock()
		seen := slices.Clone(r.seen)
		r.mu.Unlock()
		if len(seen) >= n {
			return seen
		}
		select {
		case <-r.more:
		case <-time.After(2 * time.Minute):
			t.Fatalf("only %d of %d events were handled: %v", len(seen), n, seen)
		}
	}
}

func always(string) bool { return true }

// run runs an inbox until stop is called.
func run(t *testing.T, db *database.DB, handler client.Handler) (in *client.Inbox, stop func()) {
	t.Helper()
	in = client.NewInbox(db, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, handler) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return in, stop
}

func events(room string, from, to int) (list []json.RawMessage) {
	for i := from; i <= to; i++ {
		list = append(list, json.RawMessage(fmt.Sprintf(
			`{"event_id":"$%s-%d","room_id":"!%s:hs","sender":"@a:hs","type":"m.room.message","content":{"n":%d}}`, room, i, room, i)))
	}
	return list
}

func ids(room string, from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("$%s-%d", room, i))
	}
	return list
}

func store(t *testing.T, in *client.Inbox, txn string, list []json.RawMessage) {
	t.Helper()
	if err := in.Store(context.Background(), txn, list); err != nil {
		t.Fatal(err)
	}
}

func TestARepeatIsAcknowledgedAndNotWorkedOffTwice(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		r := newRecorder(always)
		in, _ := run(t, open(t, url), r)
		store(t, in, "1", events("r", 1, 3))
		store(t, in, "1", events("r", 1, 3))
		store(t, in, "2", events("r", 3, 4)) // a homeserver that was restored from a backup
		store(t, in, "3", nil)
		if got, want := r.wait(t, 4), ids("r", 1, 4); !slices.Equal(got, want) {
			t.Errorf("handled %v, want %v", got, want)
		}
	})
}

func TestARestartGoesOnWhereTheLastProcessStopped(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db := open(t, url)
		// The first process finishes even events only, out of order as it pleases.
		first := newRecorder(func(id string) bool { return strings.HasSuffix(id, "2") || strings.HasSuffix(id, "4") })
		in, stop := run(t, db, first)
		store(t, in, "1", events("r", 1, 5))
		first.wait(t, 5)
		stop()
		second := newRecorder(always)
		in, _ = run(t, db, second)
		store(t, in, "2", events("r", 6, 6))
		if got, want := second.wait(t, 4), []string{"$r-1", "$r-3", "$r-5", "$r-6"}; !slices.Equal(got, want) {
			t.Errorf("after the restart %v, want %v", got, want)
		}
	})
}

func TestARoomThatHangsHoldsUpNeitherOthersNorTheHomeserver(t *testing.T) {
	db := open(t, t.TempDir()+"/db")
	release := make(chan struct{})
	r := newRecorder(func(id string) bool {
		if id == "$slow-1" {
			<-release
		}
		return true
	})
	in, _ := run(t, db, r)
	const many = 1000 // more than are held in memory
	for i := 0; i < many; i += 100 {
		store(t, in, fmt.Sprint("s", i), events("slow", i+1, i+100))
	}
	store(t, in, "q", events("quick", 1, 50))
	if got := r.wait(t, 51); !slices.Contains(got, "$quick-50") {
		t.Errorf("the other room waits: %v", got)
	}
	close(release)
	all := r.wait(t, many+50)
	slow := slices.DeleteFunc(all, func(id string) bool { return !strings.HasPrefix(id, "$slow-") })
	if !slices.Equal(slow, ids("slow", 1, many)) {
		t.Errorf("out of order: %v", slow)
	}
}

// answers are the queries of a service that knows one name of each kind.
type answers struct{}

func (answers) QueryUser(_ context.Context, user matrix.UserID) error {
	if user == "@irc_bob:hs" {
		return nil
	}
	return matrix.NotFound("No such user.")
}

func (answers) QueryAlias(_ context.Context, alias matrix.RoomAlias) error {
	if alias == "#irc_#go/lang+x:hs" {
		return nil
	}
	return matrix.Forbidden("IRC refused.")
}

func (answers) UserOfURI(_ context.Context, uri string) (matrix.UserID, error) {
	if uri == "irc://x/bob" {
		return "@irc_bob:hs", nil
	}
	return "", matrix.NotFound("No such user.")
}

func (answers) AliasOfURI(context.Context, string) (matrix.RoomAlias, error) {
	return "", matrix.NotFound("No such channel.")
}

func TestListener(t *testing.T) {
	r := newRecorder(always)
	in, _ := run(t, open(t, t.TempDir()+"/db"), r)
	listener := client.Listener{HSToken: "secret", Inbox: in, Queries: answers{}, Logger: slog.New(slog.DiscardHandler)}
	server := httptest.NewServer(listener.Handler())
	defer server.Close()
	judged := http.Client{Transport: testkit.SpecTransport(t, http.DefaultTransport)}
	const txn = `{"events":[{"event_id":"$1","room_id":"!r:hs","sender":"@a:hs","type":"x","content":{},"origin_server_ts":1}]}`
	const header = "Bearer secret"
	for _, test := range []struct {
		method, path, auth, body string
		status                   int
		code                     string
	}{
		{"PUT", "/_matrix/app/v1/transactions/1", header, txn, 200, ""},
		{"PUT", "/_matrix/app/v1/transactions/1", header, txn, 200, ""},
		{"PUT", "/transactions/2?access_token=secret", "", txn, 200, ""},
		{"PUT", "/_matrix/app/v1/transactions/3", "", txn, 401, "M_MISSING_TOKEN"},
		{"PUT", "/_matrix/app/v1/transactions/3", "Bearer wrong", txn, 403, "M_FORBIDDEN"},
		{"PUT", "/_matrix/app/v1/transactions/3?access_token=secret", "Bearer wrong", txn, 403, "M_FORBIDDEN"},
		{"PUT", "/_matrix/app/v1/transactions/3", header, `{"events"`, 400, "M_BAD_JSON"},
		{"PUT", "/_matrix/app/v1/transactions/3", header, `{}`, 400, "M_BAD_JSON"},
		{"PUT", "/transactions/3", header, `{"events":[1,{"type":"x"}]}`, 200, ""}, // not by the specification
		{"GET", "/_matrix/app/v1/users/%40irc_bob%3Ahs", header, "", 200, ""},
		{"GET", "/users/%40irc_eve%3Ahs?access_token=secret", "", "", 404, "M_NOT_FOUND"},
		{"GET", "/_matrix/app/v1/users/bob", header, "", 400, "M_INVALID_PARAM"},
		{"GET", "/_matrix/app/v1/rooms/%23irc_%23go%2Flang+x%3Ahs", header, "", 200, ""},
		{"GET", "/_matrix/app/v1/rooms/%23irc_%23secret%3Ahs", header, "", 403, "M_FORBIDDEN"},
		{"POST", "/_matrix/app/v1/ping", header, `{"transaction_id":"x"}`, 200, ""},
		{"GET", "/_matrix/app/v1/thirdparty/protocol/irc", header, "", 404, "M_NOT_FOUND"},
		{"GET", "/_matrix/app/v1/user?uri=irc%3A%2F%2Fx%2Fbob", header, "", 200, ""},
		{"GET", "/_matrix/app/v1/alias?uri=irc%3A%2F%2Fx%2Fgo", header, "", 404, "M_NOT_FOUND"},
		{"GET", "/_matrix/app/v1/nothing", header, "", 404, "M_UNRECOGNIZED"},
	} {
		req, err := http.NewRequest(test.method, server.URL+test.path, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		if test.auth != "" {
			req.Header.Set("Authorization", test.auth)
		}
		resp, err := judged.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ Errcode string }
		err = json.NewDecoder(resp.Body).Decode(&answer)
		resp.Body.Close()
		if err != nil || resp.StatusCode != test.status || answer.Errcode != test.code {
			t.Errorf("%s %s: %d %s %v, want %d %s", test.method, test.path, resp.StatusCode, answer.Errcode, err, test.status, test.code)
		}
	}
	if got := r.wait(t, 1); !slices.Equal(got, []string{"$1"}) {
		t.Errorf("handled %v", got)
	}
}

// directory knows the network irc, on which there is nobody and nothing but bob
// and #tea.
type directory struct{ answers }

func (directory) Protocol(_ context.Context, protocol string) (*appservice.Protocol, error) {
	if protocol != "irc" {
		return nil, matrix.NotFound("No such protocol.")
	}
	return &appservice.Protocol{UserFields: []string{"nick"}, Instances: []appservice.Instance{{NetworkID: "libera"}}}, nil
}

func (directory) Users(_ context.Context, protocol string, fields map[string]string) ([]appservice.User, error) {
	if protocol != "irc" || fields["nick"] != "bob" {
		return nil, nil
	}
	return []appservice.User{{UserID: "@irc_bob:hs", Protocol: protocol, Fields: []byte(`{"nick":"bob"}`)}}, nil
}

func (directory) Locations(_ context.Context, protocol string, fields map[string]string) ([]appservice.Location, error) {
	if protocol != "irc" || fields["channel"] != "#tea" {
		return nil, nil
	}
	return []appservice.Location{{Alias: "#irc_tea:hs", Protocol: protocol, Fields: []byte(`{"channel":"#tea"}`)}}, nil
}

func (d directory) UserByID(ctx context.Context, user matrix.UserID) ([]appservice.User, error) {
	return d.Users(ctx, "irc", map[string]string{"nick": strings.TrimPrefix(user.Localpart(), "irc_")})
}

func (d directory) LocationByAlias(ctx context.Context, alias matrix.RoomAlias) ([]appservice.Location, error) {
	return d.Locations(ctx, "irc", map[string]string{"channel": strings.Replace(alias.Localpart(), "irc_", "#", 1)})
}

func TestListenerAnswersThirdPartyLookUps(t *testing.T) {
	listener := client.Listener{HSToken: "secret", Queries: directory{}, Logger: slog.New(slog.DiscardHandler)}
	server := httptest.NewServer(listener.Handler())
	defer server.Close()
	judged := http.Client{Transport: testkit.SpecTransport(t, http.DefaultTransport)}
	const bob, tea = `[{"userid":"@irc_bob:hs","protocol":"irc","fields":{"nick":"bob"}}]`, `[{"alias":"#irc_tea:hs","protocol":"irc","fields":{"channel":"#tea"}}]`
	for _, test := range []struct {
		path   string
		status int
		body   string
	}{
		{"protocol/irc", 200, `{"user_fields":["nick"],"location_fields":[],"icon":"","field_types":{},"instances":[{"network_id":"libera","desc":"","fields":{}}]}`},
		{"protocol/xmpp", 404, `{"errcode":"M_NOT_FOUND","error":"No such protocol."}`},
		{"user/irc?nick=bob", 200, bob},
		{"user/irc?nick=eve", 200, `[]`},
		{"user?userid=%40irc_bob%3Ahs", 200, bob},
		{"user?userid=bob", 400, `{"errcode":"M_INVALID_PARAM","error":"userid is not a user ID."}`},
		{"location/irc?channel=%23tea", 200, tea},
		{"location?alias=%23irc_tea%3Ahs", 200, tea},
		{"location?alias=%23irc_milk%3Ahs", 200, `[]`},
	} {
		req, err := http.NewRequest("GET", server.URL+"/_matrix/app/v1/thirdparty/"+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer secret")
		resp, err := judged.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != test.status || strings.TrimSpace(string(body)) != test.body {
			t.Errorf("%s: %d %s %v, want %d %s", test.path, resp.StatusCode, body, err, test.status, test.body)
		}
	}
}

// What is no news is heard of, in its place, and not kept.
func TestIdleEventsAreNotKept(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		db := open(t, url)
		seen := newRecorder(always)
		in := client.NewInbox(db, slog.New(slog.DiscardHandler))
		var heard []string
		in.Heard = func(e *client.Event) { heard = append(heard, e.ID.String()) }
		in.Idle = func(e client.Glance) bool { return e.Sender == "@ghost:localhost" && e.StateKey == nil }
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- in.Run(ctx, seen) }()
		made := func(id, sender, more string) json.RawMessage {
			return json.RawMessage(fmt.Sprintf(`{"event_id":%q,"room_id":"!r","sender":%q,"type":"m.room.message","content":{}%s}`, id, sender, more))
		}
		one := []json.RawMessage{
			made("$1", "@ghost:localhost", ""), made("$2", "@alice:localhost", ""), made("$3", "@ghost:localhost", ""), made("$4", "@ghost:localhost", `,"state_key":""`),
		}
		for range 2 { // the second time it is a repeat
			if err := in.Store(t.Context(), "one", one); err != nil {
				t.Fatal(err)
			}
		}
		if err := in.Store(t.Context(), "two", []json.RawMessage{made("$5", "@ghost:localhost", "")}); err != nil {
			t.Fatal(err)
		}
		if err := in.Store(t.Context(), "three", []json.RawMessage{made("$6", "@alice:localhost", "")}); err != nil {
			t.Fatal(err)
		}
		if got := seen.wait(t, 3); !slices.Equal(got, []string{"$2", "$4", "$6"}) {
			t.Errorf("worked off: %v", got)
		}
		if !slices.Equal(heard, []string{"$1", "$2", "$3", "$4", "$5", "$6"}) {
			t.Errorf("heard: %v", heard)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
