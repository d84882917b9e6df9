// Package dev is an application service for people who write one: it shows and
// keeps what the homeserver sends, makes the users and rooms that it is asked for,
// and sends what it has kept to a program of theirs.
package dev

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"unicode"

	"trestle/appservice"
	"trestle/internal/matrix"
	"trestle/registration"
)

// maxTransaction bounds a transaction's body.
const maxTransaction = 64 << 20

// maxShown is how much of an event's content is shown.
const maxShown = 300

// Options are what a [Service] works with.
type Options struct {
	Registration *registration.Registration
	ServerName   matrix.ServerName
	Store        *Store
	Homeserver   *Homeserver // makes what is asked for; nil: nothing is
	Out          io.Writer
}

// A Service is what the homeserver talks to.
type Service struct {
	options Options
	set     *registration.Set

	mu sync.Mutex // one writes to Out at a time
}

// New prepares a service.
func New(options Options) (*Service, error) {
	set, err := registration.NewSet(options.ServerName, options.Registration)
	if err != nil {
		return nil, err
	}
	return &Service{options: options, set: set}, nil
}

// Handler serves the Application Service API, under today's paths and those from
// before there were versions.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, prefix := range []string{"/_matrix/app/v1", ""} {
		mux.Handle("PUT "+prefix+"/transactions/{txn}", s.endpoint(s.transaction))
		mux.Handle("GET "+prefix+"/users/{user}", s.endpoint(s.user))
		mux.Handle("GET "+prefix+"/rooms/{alias}", s.endpoint(s.alias))
	}
	mux.Handle("POST /_matrix/app/v1/ping", s.endpoint(func(*http.Request) error {
		s.printf("ping")
		return nil
	}))
	mux.Handle("/", s.endpoint(func(r *http.Request) error {
		s.printf("%s %s: not answered", r.Method, r.URL.Path)
		return matrix.Unrecognized("There is nothing at %s %s.", r.Method, r.URL.Path)
	}))
	return mux
}

func (s *Service) endpoint(answer func(*http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := s.authenticate(r)
		if err != nil {
			s.printf("%s %s: refused, for the token is not our hs_token", r.Method, r.URL.Path)
		} else {
			r.Body = http.MaxBytesReader(w, r.Body, maxTransaction)
			err = answer(r)
		}
		status, body := http.StatusOK, any(struct{}{})
		if err != nil {
			known, ok := errors.AsType[*matrix.Error](err)
			if !ok {
				s.printf("%s %s: %s", r.Method, r.URL.Path, err)
				known = matrix.Unknown()
			}
			status, body = known.Status, known
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	})
}

func (s *Service) authenticate(r *http.Request) error {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		token = r.URL.Query().Get("access_token")
	}
	if token == "" {
		return matrix.MissingToken()
	}
	given, want := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(s.options.Registration.HSToken))
	if subtle.ConstantTimeCompare(given[:], want[:]) != 1 {
		return matrix.Forbidden("This is not the homeserver's token.")
	}
	return nil
}

// transaction is kept before it is acknowledged, and shown once.
func (s *Service) transaction(r *http.Request) error {
	raw, err := io.ReadAll(r.Body)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return matrix.TooLarge("A transaction may have %d bytes.", tooLarge.Limit)
	}
	if err != nil {
		return err
	}
	txn, err := appservice.ParseTransaction(raw)
	if err != nil {
		return err
	}
	file, fresh, err := s.options.Store.Keep(r.PathValue("txn"), raw)
	if err != nil {
		return err
	}
	if !fresh {
		s.printf("transaction %s again, as in %s", r.PathValue("txn"), file)
		return nil
	}
	s.show(r.PathValue("txn"), file, txn)
	return nil
}

func (s *Service) show(id, file string, txn *appservice.Transaction) {
	s.printf("transaction %s, in %s", id, file)
	for _, kind := range []struct {
		name string
		list []json.RawMessage
	}{{"", txn.Events}, {"ephemeral ", txn.Ephemeral}, {"to-device ", txn.ToDevice}} {
		for _, raw := range kind.list {
			var e struct {
				Type    string          `json:"type"`
				Sender  string          `json:"sender"`
				Room    string          `json:"room_id"`
				Content json.RawMessage `json:"content"`
			}
			if json.Unmarshal(raw, &e) != nil {
				s.printf("  %s%s", kind.name, raw)
				continue
			}
			s.printf("  %s%s %s %s %s", kind.name, e.Type, e.Sender, e.Room, e.Content)
		}
	}
}

func (s *Service) user(r *http.Request) error {
	user, err := matrix.ParseUserID(r.PathValue("user"))
	if err != nil {
		return matrix.InvalidParam("That is not a user ID.")
	}
	if s.options.Homeserver == nil || !s.set.Covers(s.options.Registration, user) {
		s.printf("is there %s? no", user)
		return matrix.NotFound("There is no such user.")
	}
	s.printf("is there %s? yes, now", user)
	return s.options.Homeserver.register(r.Context(), user.Localpart())
}

func (s *Service) alias(r *http.Request) error {
	alias, err := matrix.ParseRoomAlias(r.PathValue("alias"))
	if err != nil {
		return matrix.InvalidParam("That is not a room alias.")
	}
	if s.options.Homeserver == nil || s.set.CheckAlias(s.options.Registration, alias) != nil {
		s.printf("is there %s? no", alias)
		return matrix.NotFound("There is no such room.")
	}
	s.printf("is there %s? yes, now", alias)
	return s.options.Homeserver.createRoom(r.Context(), alias)
}

// printf writes a line without what would change a terminal: other people have
// written parts of it.
func (s *Service) printf(format string, args ...any) {
	line := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, fmt.Sprintf(format, args...)))
	if len(line) > maxShown {
		line = append(line[:maxShown], '…')
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.options.Out, string(line))
}

// A Homeserver is where users and rooms are made.
type Homeserver struct {
	URL     string
	ASToken string
	HTTP    *http.Client
}

func (h *Homeserver) register(ctx context.Context, localpart string) error {
	err := h.post(ctx, "/_matrix/client/v3/register", map[string]any{
		"type": "m.login.application_service", "username": localpart, "inhibit_login": true,
	})
	if matrix.Code(err) == "M_USER_IN_USE" {
		return nil
	}
	return err
}

func (h *Homeserver) createRoom(ctx context.Context, alias matrix.RoomAlias) error {
	name, _, _ := strings.Cut(strings.TrimPrefix(string(alias), "#"), ":")
	err := h.post(ctx, "/_matrix/client/v3/createRoom", map[string]any{"preset": "public_chat", "room_alias_name": name, "name": name})
	if matrix.Code(err) == "M_ROOM_IN_USE" {
		return nil
	}
	return err
}

func (h *Homeserver) post(ctx context.Context, path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL+path, strings.NewReader(string(raw)))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+h.ASToken)
	r.Header.Set("Content-Type", "application/json")
	response, err := h.HTTP.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 == 2 {
		return nil
	}
	var refusal struct {
		Code    string `json:"errcode"`
		Message string `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 64<<10)).Decode(&refusal); err != nil {
		return fmt.Errorf("the homeserver answered %s to %s", response.Status, path)
	}
	return matrix.NewError(response.StatusCode, refusal.Code, "%s", refusal.Message)
}
