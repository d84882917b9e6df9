package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// servers believes requests of servers that are shown to it as they came.
type servers struct{ seen []api.SignedRequest }

func (s *servers) AuthenticateServer(_ context.Context, r api.SignedRequest) (matrix.ServerName, error) {
	s.seen = append(s.seen, r)
	if len(r.Authorizations) == 0 || r.Authorizations[0] != "X-Matrix good" {
		return "", matrix.Unauthorized("Who are you?")
	}
	return "other.example", nil
}

type asked struct {
	Who string `json:"who"`
}

func TestOtherServersAreAuthenticated(t *testing.T) {
	known := &servers{}
	limited := map[string]int{}
	server := api.NewServer(api.Options{Servers: known, Limiter: bucket(func(bucket string, who api.Caller) error {
		limited[bucket+" "+string(who.Server)]++
		return nil
	})})
	server.Handle([]api.Route{
		api.Endpoint("POST", "/ask/{name}", api.OtherServer, func(_ context.Context, who api.Caller, req *struct {
			Name string `path:"name"`
			X    string `json:"x"`
		}) (*asked, error) {
			return &asked{fmt.Sprintf("%s %s %s", who.Server, req.Name, req.X)}, nil
		}, api.Limit("federation"), api.BodyLimit(40)),
		api.Endpoint("GET", "/ask", api.OtherServer, func(_ context.Context, who api.Caller, _ *struct{}) (*asked, error) {
			return &asked{string(who.Server)}, nil
		}),
	})
	ask := func(method, target, body, header string) (int, string) {
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if status, body := ask("POST", "/ask/a%2Fb~%7E?q=%20+&&", `{"x": "y"}`, "X-Matrix good"); status != 200 || body != `{"who":"other.example a/b~~ y"}` {
		t.Errorf("%d %s", status, body)
	}
	if r := known.seen[0]; r.Method != "POST" || r.URI != "/ask/a%2Fb~%7E?q=%20+&&" || string(r.Content) != `{"x": "y"}` || r.RemoteAddr != "192.0.2.1" {
		t.Errorf("the request is shown as %+v", r)
	}
	if status, body := ask("GET", "/ask?", "", "X-Matrix good"); status != 200 || body != `{"who":"other.example"}` || known.seen[1].Content != nil || known.seen[1].URI != "/ask?" {
		t.Errorf("%d %s %+v", status, body, known.seen[1])
	}
	if limited["federation other.example"] != 1 {
		t.Errorf("counted are %v", limited)
	}
	for what, c := range map[string]struct {
		body, header string
		status       int
		code         string
		shown        int
	}{
		"nobody":       {strings.Repeat(" ", 41), "", http.StatusUnauthorized, "M_UNAUTHORIZED", 1},
		"a user":       {`{}`, "Bearer alice", http.StatusUnauthorized, "M_UNAUTHORIZED", 1},
		"a large body": {strings.Repeat(" ", 41), "X-Matrix good", http.StatusRequestEntityTooLarge, "M_TOO_LARGE", 0},
	} {
		before := len(known.seen)
		if status, body := ask("POST", "/ask/x", c.body, c.header); status != c.status || !strings.Contains(body, `"errcode":"`+c.code+`"`) || len(known.seen)-before != c.shown {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
}

type bucket func(string, api.Caller) error

func (b bucket) Allow(name string, who api.Caller) error { return b(name, who) }
