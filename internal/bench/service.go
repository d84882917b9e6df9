package bench

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"trestle/registration"
)

// service is an application service that is interested in all rooms of the
// measurement and answers at once.
type service struct {
	listener net.Listener
	server   *http.Server
	asToken  string
	away     atomic.Bool // it refuses everything

	mu     sync.Mutex
	events int
	marks  map[string]time.Time // when the message with that body came
}

func newService(folder string) (*service, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &service{listener: listener, marks: map[string]time.Time{}}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	reg := registration.Generate("bench", "http://"+listener.Addr().String(), "benchbot")
	s.asToken = reg.ASToken
	for expression, spaces := range map[string]*[]registration.Namespace{
		"#bench_.*:bench": &reg.Namespaces.Aliases, "@ghost_.*:bench": &reg.Namespaces.Users,
	} {
		space, err := registration.NewNamespace(expression, false)
		if err != nil {
			return nil, err
		}
		*spaces = []registration.Namespace{space}
	}
	if err := reg.Write(filepath.Join(folder, "bench.yaml")); err != nil {
		return nil, err
	}
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

func (s *service) close() { _ = s.server.Close() }

// ServeHTTP takes every transaction.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.away.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	var body struct {
		Events []struct {
			Content struct {
				Body string `json:"body"`
			} `json:"content"`
		} `json:"events"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil && r.Method == http.MethodPut {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	now := time.Now()
	s.mu.Lock()
	s.events += len(body.Events)
	for _, e := range body.Events {
		if txn, _, found := strings.Cut(e.Content.Body, ":"); found && strings.HasPrefix(txn, "mark") {
			s.marks[txn] = now
		}
	}
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("{}"))
}

func (s *service) seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

func (s *service) marked(txn string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.marks[txn]
	return ok
}
