package asstory_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/appservice"
	"trestle/internal/testkit"
	"trestle/registration"
)

const (
	asToken = "as_token_of_the_service"
	bot     = "@crash_bot:localhost"
	device  = "BRIDGE"
	secret  = "a secret for scripts"
)

// deaths is how often somebody is killed: TEST_CRASHES, or often enough to see
// each kind of death.
func deaths(t *testing.T) int { return testkit.Size(t, "TEST_CRASHES", 8) }

// A world is a homeserver and a service that die and come back, and people who
// do not notice more of it than that they have to try again.
type world struct {
	t       *testing.T
	trestle *testkit.Trestle
	service *service
	client  http.Client
}

func newWorld(t *testing.T, database string) *world {
	t.Helper()
	w := &world{t: t, service: newService(t)}
	data := filepath.Join(t.TempDir(), "data")
	if err := os.MkdirAll(filepath.Join(data, "appservices"), 0o700); err != nil {
		t.Fatal(err)
	}
	settings := "server_name: localhost\nopen_registration: true\nregistration_shared_secret: " + secret + "\n"
	if err := os.WriteFile(filepath.Join(data, "trestle.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	reg := registration.Generate("crash", "http://"+w.service.address, "crash_bot")
	reg.ASToken, reg.HSToken, reg.ReceiveEphemeral, reg.DeviceLists = asToken, w.service.token, true, true
	if err := reg.Write(filepath.Join(data, "appservices", "crash.yaml")); err != nil {
		t.Fatal(err)
	}
	options := testkit.TrestleOptions{Data: data}
	if filepath.Ext(database) == "" {
		options.Database = database
	}
	w.trestle = testkit.StartTrestle(t, options)
	return w
}

// do makes a request until it is answered with 200, and returns a member of the
// answer. Requests that are made twice have to be the same then.
func (w *world) do(ctx context.Context, token, method, path string, body any, member string) (string, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		value, answered, err := w.once(ctx, token, method, path, raw, member)
		if answered {
			return value, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", fmt.Errorf("%s %s: %w, after %v", method, path, ctx.Err(), err)
		}
	}
}

func (w *world) once(ctx context.Context, token, method, path string, body []byte, member string) (value string, answered bool, err error) {
	r, err := http.NewRequestWithContext(ctx, method, w.trestle.BaseURL+path, bytes.NewReader(body))
	if err != nil {
		return "", true, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	answer, err := w.client.Do(r)
	if err != nil {
		return "", false, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode >= 500 {
		return "", false, fmt.Errorf("%d %s, %w", answer.StatusCode, raw, err)
	}
	if answer.StatusCode >= 300 {
		return "", true, fmt.Errorf("%s %s: %d %s", method, path, answer.StatusCode, raw)
	}
	var members map[string]any
	if err := json.Unmarshal(raw, &members); err != nil {
		return "", true, err
	}
	value, _ = members[member].(string)
	return value, true, nil
}

func (w *world) must(token, method, path string, body any, member string) string {
	w.t.Helper()
	value, err := w.do(w.t.Context(), token, method, path, body, member)
	if err != nil {
		w.t.Fatal(err)
	}
	return value
}

const v3 = "/_matrix/client/v3"

// room is one that the service has made, and alice is in.
func (w *world) room(alice, name string) string {
	w.t.Helper()
	room := w.must(asToken, "POST", v3+"/createRoom", map[string]any{"preset": "public_chat", "name": name}, "room_id")
	w.must(alice, "POST", v3+"/join/"+url.PathEscape(room), map[string]any{}, "")
	return room
}

// stream is the IDs of all events of a room, from its first.
func (w *world) stream(room string) (ids []string) {
	w.t.Helper()
	from := ""
	for {
		path := w.trestle.BaseURL + v3 + "/rooms/" + url.PathEscape(room) + "/messages?dir=f&limit=500&from=" + url.QueryEscape(from)
		r, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, path, nil)
		if err != nil {
			w.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+asToken)
		answer, err := w.client.Do(r)
		if err != nil {
			w.t.Fatal(err)
		}
		var page struct {
			Chunk []struct {
				ID string `json:"event_id"`
			}
			End string
		}
		err = json.NewDecoder(answer.Body).Decode(&page)
		answer.Body.Close()
		if err != nil || answer.StatusCode != http.StatusOK {
			w.t.Fatalf("%s: %d, %v", path, answer.StatusCode, err)
		}
		for _, e := range page.Chunk {
			ids = append(ids, e.ID)
		}
		if page.End == "" || len(page.Chunk) == 0 {
			return ids
		}
		from = page.End
	}
}

// A record is what the service knows, each transaction counted once.
type record struct {
	rooms   map[string][]string // IDs of events
	numbers []string            // of messages to the device
	repeats int
	txns    int
}

func (w *world) record() record {
	w.t.Helper()
	list, repeats := w.service.transactions()
	return w.read(list, repeats)
}

func (w *world) read(list []entry, repeats int) record {
	w.t.Helper()
	rec := record{rooms: map[string][]string{}, repeats: repeats, txns: len(list)}
	for _, e := range list {
		txn, err := appservice.ParseTransaction(e.Body)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, raw := range txn.Events {
			var e struct {
				ID   string `json:"event_id"`
				Room string `json:"room_id"`
			}
			if err := json.Unmarshal(raw, &e); err != nil {
				w.t.Fatal(err)
			}
			rec.rooms[e.Room] = append(rec.rooms[e.Room], e.ID)
		}
		for _, raw := range txn.ToDevice {
			var m struct{ Content struct{ Body string } }
			if err := json.Unmarshal(raw, &m); err != nil {
				w.t.Fatal(err)
			}
			rec.numbers = append(rec.numbers, m.Content.Body)
		}
	}
	return rec
}

// live has somebody do things until done is closed, each until it is done.
func (w *world) live(done <-chan struct{}, act func(ctx context.Context, n int) error) (n int) {
	for ; ; n++ {
		select {
		case <-done:
			return n
		default:
		}
		if err := act(w.t.Context(), n); err != nil {
			w.t.Error(err)
			return n
		}
	}
}

// kill ends the homeserver, the service or both at random moments.
func (w *world) kill(random *rand.Rand, times int) {
	for range times {
		<-time.After(time.Duration(30+random.IntN(300)) * time.Millisecond)
		victim := random.IntN(3)
		if victim != 0 {
			w.service.kill()
		}
		if victim != 1 {
			w.trestle.Kill()
			w.trestle.Start()
		}
		if victim != 0 {
			w.service.start()
		}
	}
}

// untilAll waits until the service has what was said last.
func (w *world) untilAll(met func(record) bool) record {
	w.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(2 * time.Minute)
	for {
		rec := w.record()
		if met(rec) {
			return rec
		}
		// A ping that is answered ends the wait for the next attempt.
		_, _, _ = w.once(w.t.Context(), asToken, "POST", "/_matrix/client/v1/appservice/crash/ping", []byte(`{}`), "")
		select {
		case <-tick.C:
		case <-timeout:
			w.t.Fatalf("the service lacks something; it has %d transactions", rec.txns)
		}
	}
}

func TestTheRecordIsTheStreamWhoeverDies(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		w := newWorld(t, database)
		alice := w.must("", "POST", v3+"/register", map[string]any{"username": "alice", "password": "correct horse", "auth": map[string]string{"type": "m.login.dummy"}}, "access_token")
		rooms := []string{w.room(alice, "one"), w.room(alice, "two")}
		w.must(asToken, "PUT", v3+"/devices/"+device, map[string]any{}, "")
		say := func(ctx context.Context, token, room string, n int, who string) (string, error) {
			path := fmt.Sprintf("%s/rooms/%s/send/m.room.message/%s%d", v3, url.PathEscape(room), who, n)
			return w.do(ctx, token, "PUT", path, map[string]string{"msgtype": "m.text", "body": strings.Repeat("x", n%500)}, "event_id")
		}
		tell := func(ctx context.Context, n int) error {
			_, err := w.do(ctx, alice, "PUT", fmt.Sprintf("%s/sendToDevice/m.test/%d", v3, n), map[string]any{
				"messages": map[string]any{bot: map[string]any{device: map[string]string{"body": strconv.Itoa(n)}}}}, "")
			return err
		}
		done := make(chan struct{})
		var living sync.WaitGroup
		told := 0
		for i, room := range rooms {
			living.Go(func() {
				w.live(done, func(ctx context.Context, n int) error {
					id, err := say(ctx, alice, room, n, "a")
					if err != nil || n%5 > 0 {
						return err
					}
					_, err = w.do(ctx, alice, "POST", v3+"/rooms/"+url.PathEscape(room)+"/receipt/m.read/"+url.PathEscape(id), map[string]any{}, "")
					return err
				})
			})
			living.Go(func() {
				w.live(done, func(ctx context.Context, n int) error {
					_, err := say(ctx, asToken, room, n, fmt.Sprint("b", i))
					return err
				})
			})
		}
		living.Go(func() { told = w.live(done, tell) })
		begin, seed := time.Now(), rand.Uint64()
		w.kill(rand.New(rand.NewPCG(seed, 0)), deaths(t))
		close(done)
		living.Wait()

		want, events := map[string][]string{}, 0
		for _, room := range rooms {
			want[room] = w.stream(room)
			events += len(want[room])
		}
		rec := w.untilAll(func(rec record) bool {
			return len(rec.numbers) >= told && len(rec.rooms[rooms[0]]) >= len(want[rooms[0]]) && len(rec.rooms[rooms[1]]) >= len(want[rooms[1]])
		})
		for _, room := range rooms {
			if !slices.Equal(rec.rooms[room], want[room]) {
				t.Errorf("seed %d: the service has %d events of a room with %d: %s", seed, len(rec.rooms[room]), len(want[room]), difference(rec.rooms[room], want[room]))
			}
		}
		for n, number := range rec.numbers {
			if number != strconv.Itoa(n) {
				t.Fatalf("seed %d: after message %d to the device comes %s", seed, n-1, number)
			}
		}
		t.Logf("%d deaths in %v: %d events and %d messages to a device in %d transactions, %d of them repeated; none lost, doubled, altered or out of order",
			deaths(t), time.Since(begin).Round(time.Second), events, told, rec.txns, rec.repeats)
	})
}

func difference(got, want []string) string {
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			return fmt.Sprintf("number %d is %v, should be %v", i, got[min(i, len(got)):min(i+3, len(got))], want[i:min(i+3, len(want))])
		}
	}
	return "there are too many"
}
