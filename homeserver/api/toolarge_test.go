package api_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"

	"trestle/homeserver/api"
)

// What is too large is refused with a reason by every version of HTTP; the other requests
// on a connection of HTTP/2 do not suffer.
func TestTooLargeByBothVersions(t *testing.T) {
	type request struct {
		Text string `json:"text"`
	}
	handler := serve(t, api.Endpoint("POST", "/_matrix/client/v3/x", api.None, func(context.Context, api.Caller, *request) (*struct{}, error) {
		return nil, nil
	}, api.BodyLimit(100)))
	for version, want := range map[int]bool{1: false, 2: true} {
		server := httptest.NewUnstartedServer(handler)
		server.EnableHTTP2 = version == 2
		server.StartTLS()
		defer server.Close()
		kept := false
		post := func(text string) (int, string) {
			t.Helper()
			trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { kept = got.Reused }}
			r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), "POST", server.URL+"/_matrix/client/v3/x", strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			response, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || response.ProtoMajor != version {
				t.Fatal(response.Proto, err)
			}
			return response.StatusCode, string(body)
		}
		if status, body := post(`{"text":"` + strings.Repeat("x", 1000) + `"}`); status != 413 || !strings.Contains(body, "M_TOO_LARGE") {
			t.Errorf("by HTTP/%d: %d %s", version, status, body)
		}
		if status, body := post("{}"); status != 200 || kept != want {
			t.Errorf("by HTTP/%d the next: %d %s, on the same connection: %v", version, status, body, kept)
		}
	}
}
