package sender_test

import (
	"bufio"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
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

// never is a handler that nobody should come to.
func never(t *testing.T, who string) http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("%s was sent something", who) })
}

// Whoever is not the service by its certificate is told nothing, and nobody else waits.
func TestServicesAreKnownByTheirCertificates(t *testing.T) {
	quiet := func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
		t.Cleanup(s.Close)
		return s
	}
	taken := make(chan struct{}, 10)
	good := quiet(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		taken <- struct{}{}
	}))
	plain, stranger := quiet(never(t, "one that speaks no TLS")), quiet(never(t, "a stranger"))
	mute, err := net.Listen("tcp", "127.0.0.1:0") // of which nobody takes a connection
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mute.Close() })
	good.StartTLS()
	plain.Start()
	stranger.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	stranger.StartTLS()
	trusted := good.Client().Transport.(*http.Transport).TLSClientConfig
	port := func(s *httptest.Server) string { return s.URL[strings.LastIndex(s.URL, ":"):] }
	w, regs := newWorld(), []*registration.Registration{service(t, "irc", good.URL)}
	for id, url := range map[string]string{
		"plain": "https://127.0.0.1" + port(plain), "stranger": stranger.URL, "mute": "https://" + mute.Addr().String(),
		"other_name": "https://localhost" + port(good),
	} {
		r := service(t, id, url)
		r.Namespaces.Users = append(r.Namespaces.Users, namespace(t, "@irc_.*", false))
		regs = append(regs, r)
	}
	s := start(t, w, sender.Options{
		Registry: registry(t, regs...), TLS: &tls.Config{RootCAs: trusted.RootCAs}, Timeout: 500 * time.Millisecond,
	})
	w.say(room, "@irc_x:"+server)
	<-taken
	for i := range regs[1:] {
		untilOne(t, s, i+1, "it fails", func(st sender.Status) bool { return st.Failures >= 2 })
	}
	for _, st := range s.Status()[1:] {
		if st.Transactions > 0 {
			t.Errorf("%s has taken a transaction: %+v", st.ID, st)
		}
	}
}

// selfSigned is a certificate for 127.0.0.1 by nobody whom anybody knows.
func selfSigned(t *testing.T) tls.Certificate {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
}

// A service that answers without having read all that it is sent has answered.
func TestServicesThatDoNotReadToTheEnd(t *testing.T) {
	for name, handler := range map[string]http.HandlerFunc{
		"by Go": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") },
		"and closes": raw(func(conn net.Conn) {
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
		}),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			as := httptest.NewServer(handler)
			t.Cleanup(as.Close)
			s := start(t, w, sender.Options{Registry: registry(t, service(t, "irc", as.URL))})
			filler := strings.Repeat("x", 60_000)
			for i := range 100 {
				w.add(sender.Change{Room: room, Sender: "@irc_x:" + server, Body: text(fmt.Sprintf(`{"event_id":"$%d","body":%q}`, i+1, filler))})
			}
			until(t, s, "all is taken", func(st sender.Status) bool { return st.Events == 100 })
			if st := s.Status()[0]; st.Failures > 0 {
				t.Logf("%d attempts failed, the last: %s", st.Failures, st.LastError)
			}
		})
	}
}
