package testkit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"trestle/appservice"
)

// A FakeAS is an application service that records what it is sent, and behaves
// as badly as a test wants. Its fields are set before it gets requests.
type FakeAS struct {
	URL     string
	HSToken string

	// Answer decides the fate of an attempt to deliver a transaction: the
	// status to answer with, or [Drop]. The transaction is recorded in any case,
	// as by a service that fails after it has done its work. nil: always 200.
	Answer func(attempt Attempt) int
	// Body gets the body of each attempt; nil: nobody wants it.
	Body func(body []byte)
	// Query answers any other request; nil: 404.
	Query func(w http.ResponseWriter, r *http.Request)

	OldPaths bool // knows the routes without a version only
	OldToken bool // looks for the token in the query string only
	Forget   bool // keeps the last few transactions only

	server *httptest.Server

	mu       sync.Mutex
	changed  chan struct{} // closed, and replaced, with each attempt
	attempts []Attempt
	bodies   map[string][]byte // by transaction ID
	order    []string          // transaction IDs as they came first
	events   int
	faults   []string
}

// Drop makes the service break the connection instead of answering.
const Drop = -1

// An Attempt is one request to deliver a transaction.
type Attempt struct {
	TxnID  string
	Repeat bool // it came before
	Number int  // of attempts before this one
	Legacy bool // on the route without a version
}

// NewFakeAS starts a service that ends with the test.
func NewFakeAS(t testing.TB, hsToken string) *FakeAS {
	return newFakeAS(t, hsToken, func(f *FakeAS) http.Handler { return f })
}

// NewJudgedAS is one that a real homeserver sends to: the test fails at what the
// specification does not know, see [SpecService].
func NewJudgedAS(t testing.TB, hsToken string) *FakeAS {
	return newFakeAS(t, hsToken, func(f *FakeAS) http.Handler { return SpecService(t, f) })
}

func newFakeAS(t testing.TB, hsToken string, handler func(*FakeAS) http.Handler) *FakeAS {
	f := &FakeAS{HSToken: hsToken, changed: make(chan struct{}), bodies: map[string][]byte{}}
	f.server = httptest.NewServer(handler(f))
	f.URL = f.server.URL
	t.Cleanup(f.Close)
	return f
}

// Close ends the service; connections are refused from then on.
func (f *FakeAS) Close() {
	f.server.CloseClientConnections()
	f.server.Close()
}

// ServeHTTP implements http.Handler.
func (f *FakeAS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, versioned := strings.CutPrefix(r.URL.EscapedPath(), "/_matrix/app/v1")
	if f.OldPaths && versioned {
		http.NotFound(w, r)
		return
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if f.OldToken {
		token = r.URL.Query().Get("access_token")
	}
	if token != f.HSToken {
		reply(w, http.StatusForbidden, `{"errcode":"M_FORBIDDEN"}`)
		return
	}
	txnID, isTransaction := strings.CutPrefix(path, "/transactions/")
	switch {
	case isTransaction && r.Method == http.MethodPut:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // broken off by the other end
		}
		if f.Body != nil {
			f.Body(body)
		}
		f.transaction(w, Attempt{TxnID: txnID, Legacy: !versioned}, body)
	case f.Query != nil:
		w.Header().Set("Content-Type", "application/json")
		f.Query(w, r)
	default:
		reply(w, http.StatusNotFound, `{"errcode":"M_NOT_FOUND"}`)
	}
}

func (f *FakeAS) transaction(w http.ResponseWriter, a Attempt, body []byte) {
	f.mu.Lock()
	known, repeat := f.bodies[a.TxnID]
	a.Repeat, a.Number = repeat, len(f.attempts)
	f.attempts = append(f.attempts, a)
	txn, err := appservice.ParseTransaction(body)
	switch {
	case err != nil:
		f.faults = append(f.faults, fmt.Sprintf("transaction %s: %v", a.TxnID, err))
	case !repeat:
		f.bodies[a.TxnID] = body
		f.order = append(f.order, a.TxnID)
		f.events += len(txn.Events)
		if f.Forget && len(f.order) > 20 {
			delete(f.bodies, f.order[len(f.order)-20])
		}
	case !bytes.Equal(known, body):
		f.faults = append(f.faults, fmt.Sprintf("transaction %s was %s and came again as %s", a.TxnID, known, body))
	}
	close(f.changed)
	f.changed = make(chan struct{})
	f.mu.Unlock()
	status := http.StatusOK
	if f.Answer != nil {
		status = f.Answer(a)
	}
	if status == Drop {
		panic(http.ErrAbortHandler)
	}
	reply(w, status, "{}")
}

func reply(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// Attempts is every attempt so far.
func (f *FakeAS) Attempts() []Attempt {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Attempt(nil), f.attempts...)
}

// Transactions is each transaction once, in the order in which they came first.
func (f *FakeAS) Transactions() []*appservice.Transaction {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.transactions()
}

// transactions is called with the lock held.
func (f *FakeAS) transactions() []*appservice.Transaction {
	var list []*appservice.Transaction
	for _, id := range f.order {
		if txn, err := appservice.ParseTransaction(f.bodies[id]); err == nil {
			list = append(list, txn)
		}
	}
	return list
}

// Events is what came in transactions, each of those counted once.
func (f *FakeAS) Events() []json.RawMessage {
	var events []json.RawMessage
	for _, txn := range f.Transactions() {
		events = append(events, txn.Events...)
	}
	return events
}

// Until waits until the service has been sent that many events, each
// transaction counted once. It fails the test if that takes too long, or if a
// transaction came again with other bytes.
func (f *FakeAS) Until(t testing.TB, events int) {
	t.Helper()
	f.wait(t, fmt.Sprintf("%d events", events), func() bool { return f.events >= events })
}

// UntilAttempt waits until there have been that many attempts.
func (f *FakeAS) UntilAttempt(t testing.TB, attempts int) {
	t.Helper()
	f.wait(t, fmt.Sprintf("%d attempts", attempts), func() bool { return len(f.attempts) >= attempts })
}

// UntilSeen waits until what has come, each transaction once, is as it should be.
func (f *FakeAS) UntilSeen(t testing.TB, what string, seen func([]*appservice.Transaction) bool) {
	t.Helper()
	f.wait(t, what, func() bool { return seen(f.transactions()) })
}

func (f *FakeAS) wait(t testing.TB, what string, met func() bool) {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for {
		f.mu.Lock()
		done, faults, changed, events := met(), f.faults, f.changed, f.events
		f.mu.Unlock()
		if len(faults) > 0 {
			t.Fatalf("the application service found fault: %s", strings.Join(faults, "\n"))
		}
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("waited in vain for %s; %d events have come", what, events)
		}
	}
}
