package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

type statusResponse struct{ code int }

func (s *statusResponse) StatusCode() int { return s.code }

func (s *statusResponse) AppendJSON(dst []byte) ([]byte, error) {
	if s.code == 0 {
		return nil, errors.New("nothing to say")
	}
	return append(dst, strings.Repeat(" ", 1<<16)+`{"own":true}`...), nil
}

type challenge struct{}

func (challenge) Error() string { return "more stages" }
func (challenge) Answer() (int, any) {
	return http.StatusUnauthorized, map[string]any{"flows": []string{"<&>"}}
}

func TestAnswers(t *testing.T) {
	var logged bytes.Buffer
	counted := &requestCounter{}
	s := api.NewServer(api.Options{Authenticator: people, Metrics: counted, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
	fail := func(path string, err error) api.Route {
		return api.Endpoint("GET", path, api.None, func(context.Context, api.Caller, *struct{}) (*struct{}, error) { return nil, err })
	}
	s.Handle([]api.Route{
		fail("/nil", nil),
		fail("/matrix", fmt.Errorf("outer: %w", matrix.LimitExceeded(1500*time.Millisecond))),
		fail("/other", errors.New("disk on fire")),
		fail("/late", fmt.Errorf("query: %w", context.DeadlineExceeded)),
		fail("/challenge", fmt.Errorf("uia: %w", challenge{})),
		api.Endpoint("GET", "/panic", api.None, func(context.Context, api.Caller, *struct{}) (*struct{}, error) { panic("oh") }),
		api.Endpoint("GET", "/own", api.None, func(context.Context, api.Caller, *struct{}) (*statusResponse, error) {
			return &statusResponse{201}, nil
		}),
		api.Endpoint("GET", "/ownfail", api.None, func(context.Context, api.Caller, *struct{}) (*statusResponse, error) { return &statusResponse{}, nil }),
		api.Endpoint("GET", "/raw", api.None, func(context.Context, api.Caller, *struct{}) (*json.RawMessage, error) {
			raw := json.RawMessage(`{"a": "<b>"}`)
			return &raw, nil
		}),
		api.Endpoint("GET", "/unencodable", api.None, func(context.Context, api.Caller, *struct{}) (*chan int, error) { return new(chan int), nil }),
		api.Endpoint("GET", "/slow", api.None, func(ctx context.Context, _ api.Caller, _ *struct{}) (*struct{}, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, api.Timeout(time.Millisecond)),
		api.Stream("GET", "/stream/{id}", api.None, func(w http.ResponseWriter, r *http.Request, _ api.Caller, req *struct {
			ID string `path:"id"`
		}) error {
			return api.WriteJSON(w, 202, []byte(`{"id":"`+req.ID+`"}`))
		}),
		api.Raw("GET", "/raw/{a}/{b}", api.None, func(w http.ResponseWriter, r *http.Request, _ api.Caller, p api.Params) error {
			if p.Path("b") == "x" {
				return matrix.NotFound("No x.")
			}
			_, err := io.WriteString(w, p.Path("a")+" "+p.Path("b")+" "+p.Query("q"))
			return err
		}),
	})
	h := s.Handler()
	for _, tt := range []struct {
		method, target string
		status         int
		want           string
	}{
		{"GET", "/nil", 200, `{}`},
		{"GET", "/matrix", 429, `{"errcode":"M_LIMIT_EXCEEDED","error":"Too many requests; slow down, please.","retry_after_ms":1500}`},
		{"GET", "/other", 500, `M_UNKNOWN`},
		{"GET", "/late", 504, `M_UNKNOWN`},
		{"GET", "/slow", 504, `M_UNKNOWN`},
		{"GET", "/challenge", 401, `{"flows":["<&>"]}`},
		{"GET", "/panic", 500, `M_UNKNOWN`},
		{"GET", "/own", 201, `{"own":true}`},
		{"GET", "/ownfail", 500, `M_UNKNOWN`},
		{"GET", "/raw", 200, `{"a": "<b>"}`},
		{"GET", "/unencodable", 500, `M_UNKNOWN`},
		{"GET", "/stream/%2F", 202, `{"id":"/"}`},
		{"GET", "/raw/a%2B/b+?q=%20c", 200, `a+ b+  c`},
		{"GET", "/raw/a/x", 404, `M_NOT_FOUND`},
		{"GET", "/nowhere", 404, `M_UNRECOGNIZED`},
		{"GET", "/nil/", 404, `M_UNRECOGNIZED`},
		{"PUT", "/nil", 405, `M_UNRECOGNIZED`},
		{"PATCH", "/nil", 405, `M_UNRECOGNIZED`},
		{"OPTIONS", "/anything", 204, ``},
		{"HEAD", "/nil", 200, ``},
	} {
		r := httptest.NewRequest(tt.method, tt.target, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s %s: %d %.300s, want %d %s", tt.method, tt.target, w.Code, w.Body, tt.status, tt.want)
		}
		if strings.Contains(w.Body.String(), "disk on fire") {
			t.Errorf("%s: the cause of a failure reached the caller", tt.target)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: no CORS headers", tt.target)
		}
		if w.Code == 429 && (w.Header().Get("Retry-After") != "2" || w.Header().Get("Access-Control-Expose-Headers") != "Retry-After") {
			t.Errorf("Retry-After is %q, for scripts %q", w.Header().Get("Retry-After"), w.Header().Get("Access-Control-Expose-Headers"))
		}
	}
	if n := strings.Count(logged.String(), "disk on fire"); n != 1 {
		t.Errorf("the failure was logged %d times:\n%s", n, &logged)
	}
	if counted.routes["GET /raw/{a}/{b} 404"] != 1 || counted.routes["GET  404"] != 2 {
		t.Errorf("requests were counted as %v", counted.routes)
	}
}

type requestCounter struct{ routes map[string]int }

func (c *requestCounter) Request(method, pattern string, status int, _ time.Duration) {
	if c.routes == nil {
		c.routes = map[string]int{}
	}
	c.routes[fmt.Sprintf("%s %s %d", method, pattern, status)]++
}
