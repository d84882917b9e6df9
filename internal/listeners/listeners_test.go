package listeners_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/listeners"
)

var answer = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "hello") })

// serve serves in the background; stop ends it and returns its error.
func serve(t *testing.T, group *listeners.Group, handler http.Handler, opts listeners.Options) (stop func() error) {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- group.Serve(ctx, handler, opts) }()
	return func() error {
		cancel()
		return <-done
	}
}

func get(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestServe(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	group, err := listeners.Open([]string{"127.0.0.1:0", "unix:" + socket}, nil)
	if err != nil {
		t.Fatal(err)
	}
	addresses := group.Addresses()
	if len(addresses) != 2 || strings.HasSuffix(addresses[0], ":0") || addresses[1] != "unix:"+socket {
		t.Fatal(addresses)
	}
	stop := serve(t, group, answer, listeners.Options{Grace: time.Minute})
	if body, err := get(&http.Client{}, "http://"+addresses[0]); err != nil || body != "hello" {
		t.Error(body, err)
	}
	local := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	if body, err := get(local, "http://x"); err != nil || body != "hello" {
		t.Error(body, err)
	}
	if _, err := listeners.Open([]string{"unix:" + socket}, nil); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a socket was taken from its owner: %v", err)
	}
	if _, err := listeners.Open([]string{addresses[0]}, nil); err == nil || !strings.Contains(err.Error(), "listen on "+addresses[0]) {
		t.Errorf("a port was taken twice: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := get(&http.Client{}, "http://"+addresses[0]); err == nil {
		t.Error("it still answers")
	}
}

// A killed process leaves its socket behind.
func TestStaleSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	group, err := listeners.Open([]string{"unix:" + socket}, nil)
	if err != nil {
		t.Fatal(err)
	}
	group.Close()
}

// What was asked is answered; long polls are told to end.
func TestStopLetsRequestsFinish(t *testing.T) {
	group, err := listeners.Open([]string{"127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	arrived, drain := make(chan bool), make(chan bool)
	stop := serve(t, group, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived <- true
		<-drain
		_, _ = io.WriteString(w, "finished")
	}), listeners.Options{Grace: time.Minute, Drain: func() { close(drain) }})
	got := make(chan string, 1)
	go func() {
		body, err := get(&http.Client{}, "http://"+group.Addresses()[0])
		if err != nil {
			body = err.Error()
		}
		got <- body
	}()
	<-arrived
	if err := stop(); err != nil {
		t.Error(err)
	}
	if body := <-got; body != "finished" {
		t.Error(body)
	}
}

func TestStopCutsOff(t *testing.T) {
	group, err := listeners.Open([]string{"127.0.0.1:0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan bool)
	stop := serve(t, group, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}), listeners.Options{Grace: time.Millisecond})
	done := make(chan error, 1)
	go func() {
		_, err := get(&http.Client{}, "http://"+group.Addresses()[0])
		done <- err
	}()
	<-arrived
	if err := stop(); err == nil {
		t.Error("a request was cut off without a word")
	}
	if err := <-done; err == nil {
		t.Error("the request was answered")
	}
}

func TestTLSReadsANewCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	now := time.Now()
	writeCertificate(t, certFile, keyFile, "one")
	secure, err := listeners.TLS(certFile, keyFile, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	group, err := listeners.Open([]string{"tls:127.0.0.1:0"}, secure)
	if err != nil {
		t.Fatal(err)
	}
	defer serve(t, group, answer, listeners.Options{Grace: time.Minute})()
	name := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", group.Addresses()[0], &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	expect := func(want string) {
		t.Helper()
		if got := name(); got != want {
			t.Errorf("the certificate is %s, not %s", got, want)
		}
	}
	expect("one")
	writeCertificate(t, certFile, keyFile, "two")
	if err := os.Chtimes(certFile, now, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	expect("one")
	now = now.Add(2 * time.Minute)
	expect("two")
	if err := os.WriteFile(certFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	expect("two")
	if _, err := listeners.TLS(certFile, keyFile, time.Now); err == nil {
		t.Error("nonsense is a certificate")
	}
}

func writeCertificate(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
