package console_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

// A follower reads a stream of events.
type follower struct {
	t     *testing.T
	lines *bufio.Scanner
}

func (b *browser) follow(id string) *follower {
	b.t.Helper()
	path := root + "/live"
	if id != "" {
		path += "?" + url.Values{"id": {id}}.Encode()
	}
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.base+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	response, err := b.http.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "text/event-stream" {
		b.t.Fatalf("the stream is %s %s", response.Status, kind)
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return &follower{b.t, lines}
}

// next is the next event, and the parts of the page that come with it.
func (f *follower) next() (name string, parts map[string]string) {
	f.t.Helper()
	for f.lines.Scan() {
		line := f.lines.Text()
		if event, ok := strings.CutPrefix(line, "event: "); ok {
			name = event
		} else if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := json.Unmarshal([]byte(data), &parts); err != nil {
				f.t.Fatal(err)
			}
			return name, parts
		}
	}
	f.t.Fatalf("the stream has ended: %v", f.lines.Err())
	return "", nil
}

// until reads on until a part says something.
func (f *follower) until(part, text string) {
	f.t.Helper()
	for {
		if _, parts := f.next(); strings.Contains(parts[part], text) {
			return
		}
	}
}

func TestLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "", func(testkit.Attempt) int { return http.StatusTeapot })
	b := w.operator()
	all, one := b.follow(""), b.follow(service)
	all.until("services", "Up to date")
	if name, parts := one.next(); name != "change" || !strings.Contains(parts["status"], "Up to date") || !strings.Contains(parts["plots"], "<svg") {
		t.Errorf("at first there is %s %v", name, parts)
	}
	w.talk("hello")
	all.until("services", "Failing")
	one.until("status", "status 418")
	b.open(root).send(root + "/logout")
	for _, f := range []*follower{all, one} {
		for name := ""; name != "over"; {
			name, _ = f.next()
		}
	}
}
