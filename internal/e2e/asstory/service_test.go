package asstory_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/testkit"
)

// The variables that make this test's binary an application service.
const (
	envAddress = "TRESTLE_TEST_SERVICE_ADDRESS"
	envRecord  = "TRESTLE_TEST_SERVICE_RECORD"
	envToken   = "TRESTLE_TEST_SERVICE_HS_TOKEN"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(envAddress); address != "" {
		fmt.Fprintln(os.Stderr, serve(address, os.Getenv(envRecord), os.Getenv(envToken)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// An entry is an attempt to deliver a transaction, as it is in the record.
type entry struct {
	ID   string `json:"id"`
	Body []byte `json:"body"`
}

// serve is an application service that writes down what it is sent before it
// answers, and answers badly now and then.
func serve(address, path, token string) error {
	record, err := reopen(path)
	if err != nil {
		return err
	}
	written := make(chan struct{}, 1) // held by who writes
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, found := strings.CutPrefix(r.URL.Path, "/_matrix/app/v1/transactions/")
		switch {
		case r.Header.Get("Authorization") != "Bearer "+token:
			w.WriteHeader(http.StatusForbidden)
			return
		case r.URL.Path == "/_matrix/app/v1/ping":
			fmt.Fprint(w, `{}`)
			return
		case !found:
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errcode":"M_UNRECOGNIZED"}`)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the homeserver has died
		}
		line, err := json.Marshal(entry{id, body})
		if err == nil {
			written <- struct{}{}
			_, err = record.Write(append(line, '\n'))
			<-written
		}
		switch {
		case err != nil, rand.N(20) == 0:
			w.WriteHeader(http.StatusInternalServerError)
		case rand.N(20) == 0:
			panic(http.ErrAbortHandler)
		default:
			fmt.Fprint(w, `{}`)
		}
	})
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	return (&http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}).Serve(listener)
}

// reopen opens the record without a line that was not written to its end.
func reopen(path string) (*os.File, error) {
	record, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	whole, err := io.ReadAll(record)
	if err != nil {
		return nil, err
	}
	end := int64(bytes.LastIndexByte(whole, '\n') + 1)
	if err := record.Truncate(end); err != nil {
		return nil, err
	}
	_, err = record.Seek(end, io.SeekStart)
	return record, err
}

// A service is such a process.
type service struct {
	t       *testing.T
	address string
	record  string
	token   string // the homeserver's
	process *exec.Cmd
}

func newService(t *testing.T) *service {
	s := &service{t: t, address: testkit.FreeAddress(t), record: filepath.Join(t.TempDir(), "record"), token: "hs_token_of_the_service"}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *service) start() {
	s.t.Helper()
	s.process = exec.Command(os.Args[0])
	s.process.Env = append(os.Environ(), envAddress+"="+s.address, envRecord+"="+s.record, envToken+"="+s.token)
	s.process.Stderr = os.Stderr
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// kill ends it as kill -9 does.
func (s *service) kill() {
	s.t.Helper()
	if err := s.process.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Fatal(err)
	}
	_ = s.process.Wait()
}

// transactions is each transaction once, in the order in which they came first.
// A repeat with other bytes fails the test.
func (s *service) transactions() (list []entry, repeats int) {
	s.t.Helper()
	text, err := os.ReadFile(s.record)
	if err != nil {
		s.t.Fatal(err)
	}
	known := map[string][]byte{}
	lines := bufio.NewReader(bytes.NewReader(text))
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return list, repeats // what was not written to its end was not answered
		}
		var e entry
		if err := json.Unmarshal(line, &e); err != nil {
			s.t.Fatalf("the record holds %.200q: %v", line, err)
		}
		first, repeat := known[e.ID]
		switch {
		case !repeat:
			known[e.ID] = e.Body
			list = append(list, e)
		case !bytes.Equal(first, e.Body):
			s.t.Fatalf("transaction %s was %s and came again as %s", e.ID, first, e.Body)
		default:
			repeats++
		}
	}
}
