package listeners_test

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/listeners"
)

// bothSlow serves a handler that gives peers little time, with TLS and without, and
// hands out a way to connect to each.
func bothSlow(t *testing.T, stall time.Duration, handler http.Handler, test func(t *testing.T, dial func() net.Conn)) {
	t.Helper()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	writeCertificate(t, certFile, keyFile, "slow")
	secure, err := listeners.TLS(certFile, keyFile, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	group, err := listeners.Open([]string{"127.0.0.1:0", "tls:127.0.0.1:0"}, secure)
	if err != nil {
		t.Fatal(err)
	}
	stop := serve(t, group, handler, listeners.Options{Grace: time.Minute, Stall: stall})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	for i, kind := range []string{"plain", "tls"} {
		t.Run(kind, func(t *testing.T) {
			test(t, func() net.Conn {
				t.Helper()
				conn, err := net.Dial("tcp", group.Addresses()[i])
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				if kind == "tls" {
					conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
				}
				if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
					t.Fatal(err)
				}
				return conn
			})
		})
	}
}

// Who promises a body and does not send it holds nothing for long, and neither
// does who sends it a byte at a time.
func TestBodiesThatDoNotCome(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%d late=%v", len(body), errors.Is(err, os.ErrDeadlineExceeded))
	})
	bothSlow(t, 100*time.Millisecond, handler, func(t *testing.T, dial func() net.Conn) {
		t.Helper()
		answer := func(conn net.Conn) string {
			t.Helper()
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		stalled := dial()
		fmt.Fprint(stalled, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")
		if got := answer(stalled); got != "3 late=true" {
			t.Errorf("a body that stalls: %s", got)
		}
		trickling := dial()
		fmt.Fprint(trickling, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
		stop := make(chan struct{})
		go func() {
			for ticker := time.NewTicker(5 * time.Millisecond); ; {
				select {
				case <-ticker.C:
					if _, err := fmt.Fprint(trickling, "1\r\na\r\n"); err != nil {
						return
					}
				case <-stop:
					return
				}
			}
		}()
		if got := answer(trickling); !strings.HasSuffix(got, "late=true") {
			t.Errorf("a body that trickles: %s", got)
		}
		close(stop)
	})
}

// Who has sent a whole body may be answered late, on a connection that lives on.
func TestTimeForABodyIsNotTimeForAnAnswer(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		select {
		case <-time.After(300 * time.Millisecond): // three times what it had for the body
			fmt.Fprintf(w, "%s", body)
		case <-r.Context().Done():
		}
	})
	bothSlow(t, 100*time.Millisecond, handler, func(t *testing.T, dial func() net.Conn) {
		t.Helper()
		conn := dial()
		reader := bufio.NewReader(conn)
		for _, text := range []string{"one", "two"} {
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n%s", text)
			response, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(response.Body)
			if err != nil || string(got) != text {
				t.Errorf("%q, %v", got, err)
			}
			response.Body.Close()
		}
	})
}

// Who asks for much and takes nothing holds nothing for long; a reader that is slow gets
// all of it.
func TestAnswersThatAreNotTaken(t *testing.T) {
	t.Parallel()
	const much = 32 << 20
	ended := make(chan error, 2)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := w.Write(make([]byte, much))
		if r.URL.Path == "/stall" {
			ended <- err
		}
	})
	bothSlow(t, 100*time.Millisecond, handler, func(t *testing.T, dial func() net.Conn) {
		t.Helper()
		fmt.Fprint(dial(), "GET /stall HTTP/1.1\r\nHost: x\r\n\r\n")
		select {
		case err := <-ended:
			if err == nil {
				t.Error("all of it went to somebody who takes nothing")
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("somebody who takes nothing holds the server up")
		}
	})
	// Long enough for a reader on a machine that does much else.
	bothSlow(t, time.Minute, handler, func(t *testing.T, dial func() net.Conn) {
		t.Helper()
		conn := dial()
		fmt.Fprint(conn, "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if n, err := io.Copy(io.Discard, response.Body); n != much || err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}
