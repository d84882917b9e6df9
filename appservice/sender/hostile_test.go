package sender_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"trestle/appservice/sender"
	"trestle/registration"
)

// raw makes a handler of what is written on the connection itself.
func raw(write func(net.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		write(conn)
	}
}

// flood writes a text for as long as somebody reads.
func flood(first, more string) http.HandlerFunc {
	return raw(func(conn net.Conn) {
		out := bufio.NewWriter(conn)
		_, err := out.WriteString(first)
		for err == nil {
			_, err = out.WriteString(more)
		}
	})
}

// hostile are services that answer transactions so as to do harm.
func hostile(t *testing.T) map[string]http.HandlerFunc {
	trap := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Error("a transaction went where a redirect led")
	}))
	t.Cleanup(trap.Close)
	kilobyte := strings.Repeat("x", 1024)
	handlers := map[string]http.HandlerFunc{
		"headers": flood("HTTP/1.1 200 OK\r\n", "X-More: "+kilobyte+"\r\n"),
		"header":  flood("HTTP/1.1 200 OK\r\nX-Long: ", kilobyte),
		"status":  flood("HTTP/1.1 ", kilobyte),
		"interim": flood("", "HTTP/1.1 100 Continue\r\n\r\n"),
		"refusal": flood("HTTP/1.1 500 No\r\n\r\n", kilobyte),
		"chunks":  flood("HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
		"trailer": flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-More: x\r\n"),
		"lies":    raw(func(conn net.Conn) { fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}") }),
		"upgrade": raw(func(conn net.Conn) {
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tea\r\n\r\n")
			_, _ = io.Copy(io.Discard, conn) // until the other end has enough
		}),
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, trap.URL, http.StatusPermanentRedirect)
		},
		"drip": func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for r.Context().Err() == nil {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				<-tick.C
			}
		},
	}
	return handlers
}

// However services answer, nobody else waits, little is read, and none of it
// counts as taken.
func TestHostileServices(t *testing.T) {
	w := newWorld()
	as, reg := fake(t, "irc")
	regs := []*registration.Registration{reg}
	for id, handler := range hostile(t) {
		evil := httptest.NewServer(handler)
		t.Cleanup(evil.Close)
		r := service(t, id, evil.URL)
		r.Namespaces.Users = append(r.Namespaces.Users, namespace(t, "@irc_.*", false))
		regs = append(regs, r)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := start(t, w, sender.Options{Registry: registry(t, regs...), Timeout: 200 * time.Millisecond, BackoffMin: 10 * time.Millisecond, BackoffMax: time.Second})
	begin := time.Now()
	for range 1000 {
		w.say(room, "@irc_x:"+server)
	}
	as.Until(t, 1000)
	if took := time.Since(begin); took > 30*time.Second { // hardly any, where nothing else runs
		t.Errorf("the good one waited for %v", took)
	}
	for i, r := range regs[1:] {
		untilOne(t, s, i+1, r.ID+" fails twice", func(st sender.Status) bool { return st.Failures >= 2 })
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 64<<20 {
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
	for _, st := range s.Status()[1:] {
		if st.Transactions > 0 || st.LastError == "" || len(st.LastError) > 1000 {
			t.Errorf("%s: %+v", st.ID, st)
		}
	}
}
