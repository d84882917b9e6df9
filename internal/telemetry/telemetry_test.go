package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"trestle/internal/telemetry"
)

func TestLoggerAddsTheContext(t *testing.T) {
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, telemetry.LogOptions{Level: "info", Format: "json"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := telemetry.WithRequestID(context.Background(), "r1")
	outer := telemetry.WithAttrs(ctx, slog.String("user", "@a:b"))
	inner := telemetry.WithAttrs(outer, slog.Int("n", 1))
	telemetry.WithAttrs(outer, slog.Int("n", 2)) // a sibling, which must not show
	log.With("part", "x").InfoContext(inner, "hello", "k", "v", "took", 1500*time.Millisecond)
	log.DebugContext(inner, "not at this level")

	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out.String())
	}
	for key, want := range map[string]any{"msg": "hello", "k": "v", "part": "x", "request_id": "r1", "user": "@a:b", "n": 1.0, "took": "1.5s"} {
		if line[key] != want {
			t.Errorf("%s is %v, not %v", key, line[key], want)
		}
	}
	if telemetry.RequestID(inner) != "r1" || telemetry.RequestID(context.Background()) != "" {
		t.Error("the request's ID does not come back")
	}
}

func TestNewLoggerRefusesNonsense(t *testing.T) {
	for _, opts := range []telemetry.LogOptions{{Level: "loud", Format: "text"}, {Level: "info", Format: "xml"}, {}} {
		if _, err := telemetry.NewLogger(&bytes.Buffer{}, opts); err == nil {
			t.Errorf("%+v was taken", opts)
		}
	}
}

func TestHealth(t *testing.T) {
	var health telemetry.Health
	ask := func() (int, string) {
		answer := httptest.NewRecorder()
		health.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/health", nil))
		return answer.Code, answer.Body.String()
	}
	expect := func(status int, text string) {
		t.Helper()
		if code, body := ask(); code != status || !strings.Contains(body, text) {
			t.Errorf("%d %s, not %d with %s", code, body, status, text)
		}
	}
	var broken error
	health.Add("database", func(context.Context) error { return broken })
	health.Add("disk", func(context.Context) error { return nil })
	expect(503, `"starting"`)
	health.SetReady(true)
	expect(200, `"ok"`)
	broken = errors.New("the password is hunter2")
	expect(503, `"failing":["database"]`)
	if _, body := ask(); strings.Contains(body, "hunter2") {
		t.Error("the answer tells the world why")
	}
	broken = nil
	health.SetRole("standby")
	expect(200, `"role":"standby"`)
	health.SetReady(false)
	expect(503, `"starting"`)
}

func TestMetrics(t *testing.T) {
	registry := telemetry.NewRegistry()
	handler := telemetry.DirectOnly(telemetry.MetricsHandler(registry))
	requests := telemetry.NewRequests(registry)
	requests.Request("GET", "/_matrix/client/v3/sync", 200, 2*time.Millisecond)
	requests.Request("BREW", "", 405, time.Millisecond)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{"trestle_build_info{", "go_goroutines ", "process_open_fds ",
		`trestle_http_request_seconds_bucket{method="GET",route="/_matrix/client/v3/sync",status="200",le="0.0025"} 1`,
		`trestle_http_request_seconds_count{method="",route="none",status="405"} 1`,
	} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("there is no %s", want)
		}
	}
	proxied := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	proxied.Header.Set("X-Forwarded-For", "192.0.2.1")
	answer = httptest.NewRecorder()
	handler.ServeHTTP(answer, proxied)
	if answer.Code != http.StatusNotFound {
		t.Errorf("a proxied request got %d", answer.Code)
	}
}

func TestBuild(t *testing.T) {
	if line := telemetry.Build().String(); !strings.HasPrefix(line, "trestle ") || !strings.Contains(line, "go1.") {
		t.Error(line)
	}
}
