package listeners_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/internal/listeners"
)

// A waitingRoom parks every request for its path until it is called.
type waitingRoom struct {
	mu    sync.Mutex
	wakes map[string]func()
	left  map[string]int
	until time.Duration
}

func (h *waitingRoom) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, waited := listeners.TakeResumed(r.Context()); waited || r.URL.Path == "/now" {
		fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, r.Header.Get("X-Test"))
		return
	}
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nX-Test: %s\r\n\r\n", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Test"))
	more, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	name := r.URL.Path
	listeners.LotOf(r.Context()).Park(conn, append([]byte(request), more...), time.Now().Add(h.until), func(wake func()) func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.wakes[name] = wake
		return func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			delete(h.wakes, name)
			h.left[name]++
		}
	})
}

func (h *waitingRoom) waiting() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.wakes)
}

func (h *waitingRoom) await(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); h.waiting() != n; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d", h.waiting(), n)
		}
	}
}

func (h *waitingRoom) call(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if wake := h.wakes[name]; wake != nil {
		wake()
	}
}

func serveWaiting(t *testing.T, until time.Duration) (h *waitingRoom, address string, stop func() error) {
	t.Helper()
	group, err := listeners.Open([]string{"127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	h = &waitingRoom{wakes: map[string]func(){}, left: map[string]int{}, until: until}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- group.Serve(ctx, h, listeners.Options{Logger: slog.New(slog.DiscardHandler), Grace: time.Minute})
	}()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return h, group.Addresses()[0], stop
}

func ask(t *testing.T, address, path string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: test\r\nX-Test: mine\r\n\r\n", path); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

func body(t *testing.T, in *bufio.Reader) string {
	t.Helper()
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAParkedRequestIsAnsweredWhenItIsWoken(t *testing.T) {
	h, address, _ := serveWaiting(t, time.Minute)
	conn, in := ask(t, address, "/a?b=c%20d")
	h.await(t, 1)
	h.call("/a")
	if got := body(t, in); got != "GET /a?b=c%20d mine" {
		t.Errorf("answered %q", got)
	}
	// The connection is good for more, and parks again.
	for range 3 {
		fmt.Fprint(conn, "GET /now HTTP/1.1\r\nHost: test\r\n\r\n")
		if got := body(t, in); got != "GET /now " {
			t.Errorf("answered %q", got)
		}
		fmt.Fprint(conn, "GET /again HTTP/1.1\r\nHost: test\r\n\r\n")
		h.await(t, 1)
		h.call("/again")
		if got := body(t, in); got != "GET /again " {
			t.Errorf("answered %q", got)
		}
	}
	if h.left["/a"] != 1 || h.left["/again"] != 3 {
		t.Errorf("left %v", h.left)
	}
}

func TestAParkedRequestIsAnsweredInTime(t *testing.T) {
	_, address, _ := serveWaiting(t, 30*time.Millisecond)
	_, in := ask(t, address, "/a")
	if got := body(t, in); got != "GET /a mine" {
		t.Errorf("answered %q", got)
	}
}

// Whoever sends the next request early gets the first answer first.
func TestAParkedRequestAndTheNextOne(t *testing.T) {
	h, address, _ := serveWaiting(t, time.Minute)
	conn, in := ask(t, address, "/a")
	h.await(t, 1)
	fmt.Fprint(conn, "GET /now HTTP/1.1\r\nHost: test\r\n\r\n")
	if got := body(t, in); got != "GET /a mine" {
		t.Errorf("answered %q", got)
	}
	if got := body(t, in); got != "GET /now " {
		t.Errorf("answered %q", got)
	}
}

func TestAClientThatGoesAwayIsForgotten(t *testing.T) {
	h, address, _ := serveWaiting(t, time.Minute)
	conn, _ := ask(t, address, "/a")
	h.await(t, 1)
	h.mu.Lock()
	wake := h.wakes["/a"]
	h.mu.Unlock()
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	h.await(t, 0)
	wake() // late, and harmless
}

func TestAServerThatStopsAnswersThoseWhoWait(t *testing.T) {
	h, address, stop := serveWaiting(t, time.Minute)
	var ins []*bufio.Reader
	for i := range 50 {
		_, in := ask(t, address, fmt.Sprint("/", i))
		ins = append(ins, in)
	}
	h.await(t, len(ins))
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for i, in := range ins {
		if got := body(t, in); !strings.HasPrefix(got, fmt.Sprintf("GET /%d ", i)) {
			t.Errorf("answered %q", got)
		}
	}
}

// The point of it all.
func TestAParkedRequestCostsOneGoroutine(t *testing.T) {
	h, address, _ := serveWaiting(t, time.Minute)
	before := runtime.NumGoroutine()
	const clients = 200
	for i := range clients {
		ask(t, address, fmt.Sprint("/", i))
	}
	h.await(t, clients)
	for deadline := time.Now().Add(2 * time.Minute); runtime.NumGoroutine() > before+clients+clients/10; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines for %d clients", runtime.NumGoroutine()-before, clients)
		}
	}
}

// Woken, left and stopped at random, every client that stays is answered once.
func TestParkingUnderLoad(t *testing.T) {
	h, address, stop := serveWaiting(t, 40*time.Millisecond)
	var clients sync.WaitGroup
	for i := range 40 {
		clients.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			for n := range 20 {
				path := fmt.Sprintf("/%d/%d", i, n)
				if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: test\r\n\r\n", path); err != nil {
					t.Error(err)
					return
				}
				if n == 19 && i%4 == 0 {
					return
				}
				if i%2 == 0 {
					h.call(path)
				}
				if got := body(t, in); got != "GET "+path+" " {
					t.Errorf("%s answered %q", path, got)
					return
				}
			}
		})
	}
	clients.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
}
