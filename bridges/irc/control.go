package irc

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"trestle/internal/matrix"
)

const (
	controlWait = 30 * time.Second // for a command
	maxCommand  = 64 << 10         // bytes of a command
	maxReply    = 64 << 20
)

// ControlFile is where, in the data folder, a bridge that runs says how it is reached.
const ControlFile = "irc.control"

// ErrNotRunning means that no bridge works with this data folder.
var ErrNotRunning = errors.New("the bridge does not run with this data folder, or cannot be reached from this machine")

// A door is where operators' commands come in: a port that only this machine reaches, and a token
// that is made anew each time. Whoever can read the file may command the bridge.
type door struct {
	URL   string `json:"url"`
	Token string `json:"token"`
}

// openDoor listens for commands, and returns how to end that. The bridge works without.
func (s *Service) openDoor() (shut func(), err error) {
	shut = func() {}
	if s.config.Control == "" {
		return shut, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return shut, err
	}
	d := door{"http://" + listener.Addr().String(), rand.Text()}
	if err := writePrivate(s.config.Control, d); err != nil {
		listener.Close()
		return shut, err
	}
	server := &http.Server{Handler: d.guard(s.controls()), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 8 << 10}
	var served sync.WaitGroup
	served.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("operators' commands are no longer heard", "err", err)
		}
	})
	return func() {
		os.Remove(s.config.Control)
		shutdown(server)
		served.Wait()
	}, nil
}

// writePrivate writes a file whole and at once, for its owner alone.
func writePrivate(path string, content any) error {
	raw, err := json.Marshal(content)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(temporary.Name())
	_, err = temporary.Write(raw)
	if err = errors.Join(err, temporary.Close()); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), path)
}

// guard lets in who knows the token: pages in browsers and other users of the machine do not.
func (d door) guard(next http.Handler) http.Handler {
	want := []byte("Bearer " + d.Token)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), want) != 1 {
			reply(w, nil, matrix.UnknownToken(false))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// A CommandBody is what an operator's command is about.
type CommandBody struct {
	Network string        `json:"network,omitempty"` // empty: all
	User    matrix.UserID `json:"user,omitempty"`
	Reason  string        `json:"reason,omitempty"`
}

func (s *Service) controls() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, run func(ctx context.Context, c CommandBody) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), controlWait)
			defer cancel()
			var c CommandBody
			var result any
			raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCommand))
			if err == nil && len(raw) > 0 {
				err = json.Unmarshal(raw, &c)
			}
			if err != nil {
				err = matrix.BadJSON("The command is not JSON.")
			} else {
				result, err = run(ctx, c)
			}
			reply(w, result, err)
		})
	}
	handle("GET /status", func(ctx context.Context, _ CommandBody) (any, error) { return s.StatusWithLag(ctx), nil })
	handle("GET /rooms", func(ctx context.Context, _ CommandBody) (any, error) { return s.rooms(ctx), nil })
	handle("POST /rehash", func(ctx context.Context, _ CommandBody) (any, error) { return s.Rehash(context.WithoutCancel(ctx)) })
	handle("POST /reconnect", s.controlReconnect)
	handle("POST /kick", s.controlKick)
	return mux
}

// reply is a result, or why there is none.
func reply(w http.ResponseWriter, result any, err error) {
	status := http.StatusOK
	if err != nil {
		status = http.StatusConflict
		refusal, ok := errors.AsType[*matrix.Error](err)
		if ok {
			status = refusal.Status
		}
		result = map[string]string{"error": err.Error()}
		if ok {
			result = map[string]string{"error": refusal.Message}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(result) // whoever asked may be gone
}

// An Operator commands a bridge that runs.
type Operator struct{ door door }

// Command finds the bridge that has written a file. ErrNotRunning if there is none.
func Command(file string) (*Operator, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotRunning
	}
	o := &Operator{}
	if err == nil {
		err = json.Unmarshal(raw, &o.door)
	}
	if err != nil {
		return nil, fmt.Errorf("how to reach the bridge: %w", err)
	}
	return o, nil
}

// Do gives a command and decodes its result.
func (o *Operator) Do(ctx context.Context, method, path string, body CommandBody, into any) error {
	ctx, cancel := context.WithTimeout(ctx, controlWait+5*time.Second)
	defer cancel()
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, o.door.URL+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+o.door.Token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy
	response, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrNotRunning, err)
	}
	defer response.Body.Close()
	raw, err = io.ReadAll(io.LimitReader(response.Body, maxReply))
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusUnauthorized {
		return ErrNotRunning // the file is left from a bridge that was killed, and the port is another's
	}
	if response.StatusCode != http.StatusOK {
		var refusal struct {
			Message string `json:"error"`
		}
		if json.Unmarshal(raw, &refusal) != nil || refusal.Message == "" {
			return ErrNotRunning
		}
		return errors.New(refusal.Message)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(raw, into)
}
