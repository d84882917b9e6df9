package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

func BenchmarkEndpoint(b *testing.B) {
	type response struct {
		EventID string `json:"event_id"`
	}
	s := api.NewServer(api.Options{Authenticator: people, Logger: slog.New(slog.DiscardHandler)})
	s.Handle([]api.Route{api.Endpoint("PUT", "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}", api.Guest,
		func(_ context.Context, _ api.Caller, req *struct {
			RoomID matrix.RoomID   `path:"roomId"`
			Type   string          `path:"eventType"`
			Txn    string          `path:"txnId"`
			Body   json.RawMessage `body:"raw"`
		}) (*response, error) {
			return &response{"$event"}, nil
		})})
	h := s.Handler()
	body := []byte(`{"msgtype":"m.text","body":"hello there, this is a message of ordinary length"}`)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("PUT", "/_matrix/client/v3/rooms/!abcdefgh:example.org/send/m.room.message/m123456", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer alice")
		h.ServeHTTP(&nullWriter{header: http.Header{}}, r)
	}
}

func BenchmarkNothing(b *testing.B) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	body := []byte(`{"msgtype":"m.text","body":"hello there, this is a message of ordinary length"}`)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest("PUT", "/_matrix/client/v3/rooms/!abcdefgh:example.org/send/m.room.message/m123456", bytes.NewReader(body))
		r.Header.Set("Authorization", "Bearer alice")
		h.ServeHTTP(&nullWriter{header: http.Header{}}, r)
	}
}

type nullWriter struct{ header http.Header }

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) Write(p []byte) (int, error) { return len(p), nil }
func (w *nullWriter) WriteHeader(int)             {}
