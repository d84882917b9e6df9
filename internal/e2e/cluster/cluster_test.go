package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"trestle/internal/testkit"
	"trestle/registration"
)

const (
	asToken = "as_token_of_the_service"
	hsToken = "hs_token_of_the_service"
	v3      = "/_matrix/client/v3"
	// patience is how long anything may take on a busy machine.
	patience = 2 * time.Minute
)

// A process is one of the servers.
type process struct {
	*testkit.Trestle
	number int
	// deaths counts its deaths and its returns: odd while it may not answer.
	deaths atomic.Int64
}

// A world is three servers on one database, and a service to which the one that
// leads delivers.
type world struct {
	t         *testing.T
	data      string
	database  string
	processes []*process
	service   *testkit.FakeAS
	inService atomic.Int64 // transactions that it works on
	refuses   atomic.Bool  // it takes none
	client    http.Client
}

func newWorld(t *testing.T, count int) *world {
	t.Helper()
	w := &world{t: t, database: testkit.Postgres(t), data: filepath.Join(t.TempDir(), "data"), service: testkit.NewFakeAS(t, hsToken)}
	w.service.Body = func([]byte) {
		if n := w.inService.Add(1); n > 1 {
			t.Errorf("%d transactions are delivered at the same time", n)
		}
	}
	w.service.Answer = func(testkit.Attempt) int {
		<-time.After(2 * time.Millisecond) // it has something to do
		w.inService.Add(-1)
		if w.refuses.Load() {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	}
	if err := os.MkdirAll(filepath.Join(w.data, "appservices"), 0o700); err != nil {
		t.Fatal(err)
	}
	settings := "server_name: localhost\nopen_registration: true\nshutdown_timeout: 2m\n"
	if err := os.WriteFile(filepath.Join(w.data, "trestle.yaml"), []byte(settings), 0o600); err != nil {
		t.Fatal(err)
	}
	reg := registration.Generate("crash", w.service.URL, "crash_bot")
	reg.ASToken, reg.HSToken = asToken, hsToken
	if err := reg.Write(filepath.Join(w.data, "appservices", "crash.yaml")); err != nil {
		t.Fatal(err)
	}
	for i := range count {
		server := testkit.StartTrestle(t, testkit.TrestleOptions{Data: w.data, Database: w.database, Args: []string{"--cluster", "127.0.0.1:0"}})
		w.processes = append(w.processes, &process{Trestle: server, number: i})
	}
	return w
}

// health is what a process says of itself.
func (w *world) health(p *process) (status int, role string) {
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.BaseURL+"/health", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := w.client.Do(r)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	var body struct{ Role string }
	_ = json.NewDecoder(response.Body).Decode(&body)
	return response.StatusCode, body.Role
}

// leader waits until one of the processes leads that is not the old one.
func (w *world) leader(old *process) *process {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, p := range w.processes {
			if p == old {
				continue
			}
			if status, role := w.health(p); status == http.StatusOK && role == "leader" {
				return p
			}
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatal("nobody leads")
		}
	}
}

// once makes a request of one process.
func (w *world) once(ctx context.Context, p *process, token, method, path string, body any, into any) (status int, err error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	r, err := http.NewRequestWithContext(ctx, method, p.BaseURL+path, bytes.NewReader(raw))
	if err != nil {
		return 0, err
	}
	if method == http.MethodGet {
		r.Body, r.ContentLength = nil, 0
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Content-Type", "application/json")
	response, err := w.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	if response.StatusCode != http.StatusOK {
		return response.StatusCode, fmt.Errorf("%s %s by process %d: %d %s", method, path, p.number, response.StatusCode, text)
	}
	return response.StatusCode, json.Unmarshal(text, into)
}

// must makes a request of any of the processes until one has done it. It is the
// same each time.
func (w *world) must(ctx context.Context, first int, token, method, path string, body any, into any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := first; ; i++ {
		p := w.processes[i%len(w.processes)]
		one, end := context.WithTimeout(ctx, 15*time.Second)
		status, err := w.once(one, p, token, method, path, body, into)
		end()
		if err == nil || status >= 300 && status < 500 {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (w *world) do(method, path, token string, body any) map[string]any {
	w.t.Helper()
	var into map[string]any
	if err := w.must(w.t.Context(), 0, token, method, path, body, &into); err != nil {
		w.t.Fatal(err)
	}
	return into
}

// person registers somebody and returns a token.
func (w *world) person(name string) string {
	w.t.Helper()
	account := w.do("POST", v3+"/register", "", map[string]any{
		"username": name, "password": "correct horse", "auth": map[string]string{"type": "m.login.dummy"}})
	return account["access_token"].(string)
}

// A message is an event as everybody sees it.
type message struct {
	ID      string `json:"event_id"`
	Type    string `json:"type"`
	Content struct {
		Body string `json:"body"`
	} `json:"content"`
}

// history is all messages of a room, from its first.
func (w *world) history(token, room string) (ids, bodies []string) {
	w.t.Helper()
	from := ""
	for {
		var page struct {
			Chunk []message
			End   string
		}
		path := v3 + "/rooms/" + url.PathEscape(room) + "/messages?dir=f&limit=500&from=" + url.QueryEscape(from)
		if err := w.must(w.t.Context(), 0, token, "GET", path, nil, &page); err != nil {
			w.t.Fatal(err)
		}
		for _, e := range page.Chunk {
			ids = append(ids, e.ID)
			if e.Type == "m.room.message" {
				bodies = append(bodies, e.Content.Body)
			}
		}
		if page.End == "" || len(page.Chunk) == 0 {
			return ids, bodies
		}
		from = page.End
	}
}
