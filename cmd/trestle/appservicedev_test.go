package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// A screen is what a command prints while it runs.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) until(t *testing.T, text string) {
	t.Helper()
	for deadline := time.After(2 * time.Minute); !strings.Contains(s.String(), text); {
		select {
		case <-s.more:
		case <-deadline:
			t.Fatalf("no %q in\n%s", text, s)
		}
	}
}

// developing runs trestle appservice dev until stop.
func developing(t *testing.T, data string) (out *screen, stop func()) {
	t.Helper()
	out = &screen{more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() {
		args := []string{"bin/trestle", "appservice", "dev", "--id", "mybot", "--data", data}
		code <- run(ctx, args, nil, streams{strings.NewReader(""), out, out}, server{})
	}()
	out.until(t, "listens at")
	return out, func() {
		t.Helper()
		cancel()
		if c := <-code; c != 0 {
			t.Errorf("code %d\n%s", c, out)
		}
	}
}

// asAlice logs alice in, and returns what makes requests of hers.
func asAlice(t *testing.T, socket string) func(method, path, body, member string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	t.Cleanup(client.CloseIdleConnections)
	token := ""
	ask := func(method, path, body, member string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://trestle/_matrix/client/v3"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var answer map[string]any
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != 200 {
			t.Fatalf("%s %s: %s %v", method, path, response.Status, answer)
		}
		text, _ := answer[member].(string)
		return text
	}
	token = ask("POST", "/login", `{"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}, "password": "correct horse battery"}`, "access_token")
	return ask
}

func TestDevelopingAService(t *testing.T) {
	data, socket := prepare(t)
	stop := serving(t, data)
	people(t, socket)
	ask := asAlice(t, socket)
	out, end := developing(t, data)
	room := ask("POST", "/join/%23mybot_den:hs.example", "{}", "room_id") // made for her
	ask("POST", "/rooms/"+room+"/invite", `{"user_id": "@mybot_ghost:hs.example"}`, "")
	ask("PUT", "/rooms/"+room+"/send/m.room.message/1", `{"msgtype": "m.text", "body": "how are you?"}`, "event_id")
	out.until(t, "how are you?")
	out.until(t, "is there @mybot_ghost:hs.example? yes, now")
	out.until(t, "is there #mybot_den:hs.example? yes, now")
	end()
	out.until(t, "appservice remove mybot --reason done")

	// What happens meanwhile waits, and comes under the tokens from before.
	ask("PUT", "/rooms/"+room+"/send/m.room.message/2", `{"msgtype": "m.text", "body": "where are you?"}`, "event_id")
	out, end = developing(t, data)
	out.until(t, "where are you?")
	end()
	if strings.Contains(out.String(), "how are you?") {
		t.Errorf("what was there came again:\n%s", out)
	}
	if r := trestle(t, server{}, "", "appservice", "dev", "--data", data); r.code != 1 || !strings.Contains(r.err, "--id is missing") {
		t.Errorf("%+v", r)
	}
	stop()
	replay(t, data)
}

// replay sends what was kept to a service, which needs no server.
func replay(t *testing.T, data string) {
	t.Helper()
	var bodies []string
	local := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		bodies = append(bodies, string(raw))
	}))
	defer local.Close()
	r := trestle(t, server{}, "", "appservice", "dev", "--id", "mybot", "--data", data, "--replay-to", local.URL)
	all := strings.Join(bodies, "\n")
	if r.code != 0 || !strings.Contains(all, "how are you?") || strings.Index(all, "where are you?") < strings.Index(all, "how are you?") {
		t.Errorf("%+v\n%s", r, all)
	}
	kept, err := filepath.Glob(filepath.Join(data, "dev", "mybot", "*.json"))
	if err != nil || len(kept) != len(bodies) {
		t.Errorf("%d transactions of %d, %v", len(bodies), len(kept), err)
	}
}
