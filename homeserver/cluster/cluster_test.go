package cluster_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"trestle/homeserver/cluster"
)

// A leader is a process that leads, or has led.
type leader struct {
	*httptest.Server
	gate   cluster.Gate
	unsure atomic.Bool
}

func newLeader(t *testing.T, handler http.Handler) *leader {
	t.Helper()
	l := &leader{}
	l.gate.Leads = func(context.Context) bool { return !l.unsure.Load() }
	l.Server = httptest.NewServer(&l.gate)
	t.Cleanup(func() { l.CloseClientConnections(); l.Close() })
	l.gate.Open("secret of "+l.address(), map[cluster.Entrance]http.Handler{cluster.Clients: handler})
	return l
}

func (l *leader) address() string { return l.Listener.Addr().String() }

func (l *leader) leads(epoch int64) cluster.Leader {
	return cluster.Leader{Epoch: epoch, Address: l.address(), Secret: "secret of " + l.address()}
}

// says is a handler that answers with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, text)
	}
}

// standby starts a process that forwards.
func standby(t *testing.T, patience time.Duration) (*cluster.Forwarder, *httptest.Server) {
	t.Helper()
	f := cluster.NewForwarder(cluster.Options{Patience: patience})
	server := httptest.NewServer(f.Through(cluster.Clients))
	t.Cleanup(func() { f.Close(); server.CloseClientConnections(); server.Close() })
	return f, server
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func ask(ctx context.Context, method, url, body string, header ...string) answer {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(text), err}
}

// failure holds an error to what clients understand.
func failure(t *testing.T, a answer, status int) {
	t.Helper()
	var body struct{ ErrCode, Error string }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.status != status || body.ErrCode != "M_UNKNOWN" || body.Error == "" ||
		a.header.Get("Retry-After") == "" || a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %s %v, %v; not %d with an error", a.status, a.body, a.header, a.err, status)
	}
}

// The leader sees a request as it came to the other process, and from whom.
func TestARequestIsPassedOnAsItCame(t *testing.T) {
	seen := make(chan *http.Request, 1)
	l := newLeader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		copied := r.Clone(context.Background())
		copied.Body = io.NopCloser(strings.NewReader(string(body)))
		seen <- copied
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
	}))
	f, server := standby(t, time.Minute)
	f.Follow(l.leads(1))
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const uri = "/_matrix/client/v3/rooms/%21a%2Fb%3Ax//../send/a+b?q=;&x=%zz"
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\nX-Forwarded-For: 203.0.113.7, 10.0.0.1\r\n"+
		"X-Forwarded-Proto: https\r\nTrestle-Cluster-Peer: 1.2.3.4:5\r\nTrestle-Cluster-Scheme: https\r\nAuthorization: Bearer x\r\n\r\nhello", uri)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusTeapot || response.Header.Get("X-Answer") != "yes" {
		t.Errorf("the answer is %s %v", response.Status, response.Header)
	}
	for name := range response.Header {
		if strings.HasPrefix(name, "Trestle-") {
			t.Errorf("a client sees %s", name)
		}
	}
	r := <-seen
	body, _ := io.ReadAll(r.Body)
	if r.Method != "PUT" || r.RequestURI != uri || r.Host != "example.org" || string(body) != "hello" || r.TLS != nil ||
		r.RemoteAddr != conn.LocalAddr().String() || r.Header.Get("Authorization") != "Bearer x" ||
		r.Header.Get("X-Forwarded-For") != "203.0.113.7, 10.0.0.1" || r.Header.Get("X-Forwarded-Proto") != "https" {
		t.Errorf("the leader sees %s %s from %s for %s, %q, %v", r.Method, r.RequestURI, r.RemoteAddr, r.Host, body, r.Header)
	}
}

func TestOnlyTheOtherProcessesComeIn(t *testing.T) {
	l := newLeader(t, says("inside"))
	for name, header := range map[string][]string{
		"no secret":       {"Trestle-Cluster-Entrance", "clients"},
		"a wrong secret":  {"Trestle-Cluster-Entrance", "clients", "Trestle-Cluster-Secret", "x"},
		"no such handler": {"Trestle-Cluster-Secret", "secret of " + l.address()},
	} {
		if a := ask(t.Context(), "GET", l.URL, "", header...); a.status != http.StatusMisdirectedRequest || a.body != "" {
			t.Errorf("%s: %d %s %v", name, a.status, a.body, a.err)
		}
	}
}

// Who comes while nobody leads is answered by who leads next, whatever it wants.
func TestRequestsWaitForALeader(t *testing.T) {
	gone := newLeader(t, says("gone"))
	gone.Close()
	not := newLeader(t, says("not the leader"))
	not.gate.Close()
	unsure := newLeader(t, says("what was true before another one led"))
	unsure.unsure.Store(true)
	next := newLeader(t, says("next"))
	for name, first := range map[string]cluster.Leader{
		"none": {}, "gone": gone.leads(1), "stands by again": not.leads(1), "may have been replaced": unsure.leads(1),
	} {
		t.Run(name, func(t *testing.T) {
			f, server := standby(t, time.Minute)
			f.Follow(first)
			answers := make(chan answer, 3)
			for _, method := range []string{"GET", "PUT", "POST"} {
				go func() { answers <- ask(t.Context(), method, server.URL, "body") }()
			}
			go func() {
				r, _ := http.NewRequestWithContext(t.Context(), "POST", server.URL, io.LimitReader(zeros{}, 1<<20))
				response, err := http.DefaultClient.Do(r)
				if err != nil {
					answers <- answer{err: err}
					return
				}
				defer response.Body.Close()
				text, err := io.ReadAll(response.Body)
				if response.StatusCode == http.StatusBadGateway && name != "none" && name != "gone" {
					text = []byte("next") // its body was on the way already
				}
				answers <- answer{body: string(text), err: err}
			}()
			f.Follow(next.leads(2))
			for range 4 {
				if a := <-answers; a.err != nil || a.body != "next" {
					t.Errorf("%d %s %v", a.status, a.body, a.err)
				}
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestNobodyWaitsForEver(t *testing.T) {
	f, server := standby(t, 50*time.Millisecond)
	failure(t, ask(t.Context(), "PUT", server.URL, "x"), http.StatusServiceUnavailable)
	if f.Check(t.Context()) == nil {
		t.Error("a process that cannot serve says that it can")
	}
	f.Follow(newLeader(t, says("here")).leads(1))
	if err := f.Check(t.Context()); err != nil {
		t.Errorf("there is a leader again, but: %v", err)
	}
}

// What was asked of a leader that goes away is asked again if that is harmless,
// and fails otherwise: whether the leader breaks its connections or stands still.
func TestTheLeaderGoesAway(t *testing.T) {
	for name, breaks := range map[string]bool{"dead": true, "standing still": false} {
		t.Run(name, func(t *testing.T) {
			var arrived sync.WaitGroup
			var writes atomic.Int64
			arrived.Add(2)
			hang := make(chan struct{})
			old := newLeader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == "PUT" {
					writes.Add(1)
				}
				arrived.Done()
				<-hang
			}))
			t.Cleanup(func() { close(hang) })
			next := newLeader(t, says("next"))
			f, server := standby(t, time.Minute)
			f.Follow(old.leads(1))
			read, write := make(chan answer, 1), make(chan answer, 1)
			go func() { read <- ask(t.Context(), "GET", server.URL+"/sync", "") }()
			go func() { write <- ask(t.Context(), "PUT", server.URL+"/send", "x") }()
			arrived.Wait()
			if breaks {
				old.CloseClientConnections()
				old.Listener.Close()
			}
			f.Follow(next.leads(2))
			if a := <-read; a.err != nil || a.body != "next" {
				t.Errorf("reading: %d %s %v", a.status, a.body, a.err)
			}
			failure(t, <-write, http.StatusBadGateway)
			if n := writes.Load(); n != 1 {
				t.Errorf("the leader was asked %d times to write", n)
			}
		})
	}
}

// Some requests end the connection, whoever gets them.
func TestAReadIsNotRepeatedForEver(t *testing.T) {
	var asked atomic.Int64
	l := newLeader(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		panic(http.ErrAbortHandler)
	}))
	f, server := standby(t, time.Minute)
	f.Follow(l.leads(1))
	failure(t, ask(t.Context(), "GET", server.URL, ""), http.StatusBadGateway)
	if n := asked.Load(); n > 20 {
		t.Errorf("the leader was asked %d times", n)
	}
}

// Streams come through as they are written, and the leader learns when nobody
// listens any more.
func TestStreams(t *testing.T) {
	left := make(chan struct{})
	l := newLeader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: one\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(left)
	}))
	f, server := standby(t, time.Minute)
	f.Follow(l.leads(1))
	ctx, leave := context.WithCancel(t.Context())
	r, _ := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if line, err := bufio.NewReader(response.Body).ReadString('\n'); err != nil || line != "data: one\n" {
		t.Errorf("%q, %v", line, err)
	}
	leave()
	select {
	case <-left:
	case <-time.After(2 * time.Minute):
		t.Error("the leader has not noticed that the client has gone")
	}
}

// A process that stops does not wait for long polls.
func TestDrain(t *testing.T) {
	arrived := make(chan string, 2)
	finish := make(chan struct{})
	l := newLeader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.Method
		select {
		case <-finish:
			fmt.Fprint(w, "done")
		case <-r.Context().Done():
		}
	}))
	f, server := standby(t, time.Minute)
	f.Follow(l.leads(1))
	read, write := make(chan answer, 1), make(chan answer, 1)
	go func() { read <- ask(t.Context(), "GET", server.URL, "") }()
	go func() { write <- ask(t.Context(), "PUT", server.URL, "x") }()
	<-arrived
	<-arrived
	f.Drain()
	failure(t, <-read, http.StatusServiceUnavailable)
	close(finish)
	if a := <-write; a.body != "done" {
		t.Errorf("%d %s %v", a.status, a.body, a.err)
	}
}

// Other homeservers sign paths and queries as they are: nothing of them changes on the way.
func TestPathsArePassedOnAsTheyCame(t *testing.T) {
	l := newLeader(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) }))
	f, server := standby(t, time.Minute)
	f.Follow(l.leads(1))
	for _, uri := range []string{
		"/a%2Fb%7Ec~/%40x:y?q=%20+&&z;a=b", "/x?", "/%E2%82%AC/..%2F", "//a//b", "/a'b(c)*!,;=:@$", "/x?a=%zz&b", "/a%2f?%",
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", uri)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		if err != nil || string(got) != uri {
			t.Errorf("%s arrives as %s, %v", uri, got, err)
		}
		_ = response.Body.Close()
		_ = conn.Close()
	}
}
