package testkit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

const (
	event  = `{"type":"m.room.name","content":{"name":"x"},"event_id":"$e","sender":"@a:b","origin_server_ts":1,"room_id":"!r:b","state_key":""}`
	typing = `{"next_batch":"s1","rooms":{"join":{"!r:b":{"ephemeral":{"events":[{"type":"m.typing","content":%s}]}}}}}`
)

func exchange(method, path string, status int, body string) testkit.Exchange {
	u, err := url.Parse("http://h" + path)
	if err != nil {
		panic(err)
	}
	return testkit.Exchange{
		Method: method, URL: u, Status: status,
		Header: http.Header{"Content-Type": {"application/json"}}, Response: []byte(body),
	}
}

func needSpecification(t *testing.T) {
	t.Helper()
	folder := os.Getenv("TRESTLE_SPEC")
	if folder == "" {
		folder = "../../../shared/spec"
	}
	if _, err := os.Stat(filepath.Join(folder, "api")); err != nil && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
}

func TestValidateExchange(t *testing.T) {
	needSpecification(t)
	good := []testkit.Exchange{
		exchange("GET", "/_matrix/client/versions", 200, `{"versions":["v1.1"]}`),
		exchange("GET", "/_matrix/client/v3/sync?timeout=1", 200, `{"next_batch":"s1"}`),
		exchange("GET", "/_matrix/client/r0/sync", 200, `{"next_batch":"s1"}`),
		exchange("GET", "/_matrix/client/v3/sync", 200, fmt.Sprintf(typing, `{"user_ids":["@a:b"]}`)),
		exchange("GET", "/_matrix/client/v3/sync", 401, `{"errcode":"M_UNKNOWN_TOKEN","error":"who?"}`),
		exchange("GET", "/_matrix/client/v3/nothing", 404, `{"errcode":"M_UNRECOGNIZED","error":"no"}`),
		exchange("POST", "/_matrix/client/v3/register", 401, `{"flows":[{"stages":["m.login.dummy"]}],"session":"x"}`),
		exchange("POST", "/_matrix/client/v3/join/%23a%2Fb:c", 200, `{"room_id":"!r"}`),
		exchange("GET", "/_matrix/client/v3/rooms/!r:b/state/m.room.name/", 200, `{"name":"x"}`),
		exchange("GET", "/_matrix/client/v3/rooms/!r:b/state/m.room.name", 200, `{"name":"x"}`),
		exchange("GET", "/_matrix/client/v3/rooms/!r:b/state/m.room.name/?format=event", 200, event),
		exchange("GET", "/_matrix/client/v3/rooms/!r:b/event/$e", 200, event),
		exchange("POST", "/_matrix/client/v3/rooms/!r:b/invite", 200, `{}`),
		exchange("POST", "/_matrix/client/v3/rooms/!r:b/join", 200, `{"room_id":"!r:b","org.example.more":1}`),
		exchange("GET", "/_matrix/client/unstable/org.example/x", 200, `nonsense`),
		exchange("POST", "/_synapse/admin/v1/register", 200, `nonsense`),
		exchange("OPTIONS", "/_matrix/client/v3/sync", 204, ``),
		exchange("PUT", "/_matrix/app/v1/transactions/1", 200, `{}`),
	}
	for _, x := range good {
		if err := testkit.ValidateExchange(x); err != nil {
			t.Errorf("%s %s → %d: %v", x.Method, x.URL, x.Status, err)
		}
	}
	bad := []struct {
		exchange testkit.Exchange
		want     string
	}{
		{exchange("GET", "/_matrix/client/v3/sync", 200, `{}`), "next_batch"},
		{exchange("GET", "/_matrix/client/r0/sync", 200, `{"next_batch":1}`), "/next_batch"},
		{exchange("GET", "/_matrix/client/v3/sync", 200, `{"next_batch":"s","rooms":{"join":{"#r:b":{}}}}`), "propertyName"},
		{exchange("GET", "/_matrix/client/v3/sync", 200, `{"next_batch":"s","next_bacth":"t"}`), "next_bacth"},
		{exchange("GET", "/_matrix/client/v3/sync", 200, fmt.Sprintf(typing, `{"users":[]}`)), "m.typing"},
		{exchange("GET", "/_matrix/client/v3/sync", 200, `{`), "not JSON"},
		{exchange("GET", "/_matrix/client/v3/sync", 201, `{"next_batch":"s1"}`), "no answer with status 201"},
		{exchange("GET", "/_matrix/client/v3/sync", 403, `{}`), "errcode"},
		{exchange("GET", "/_matrix/client/v3/sync", 500, `oops`), "not JSON"},
		{exchange("GET", "/_matrix/client/v3/sync", 403, `{"errcode":"FORBIDDEN","error":"x"}`), "neither M_"},
		{exchange("GET", "/_matrix/client/v3/sync", 403, `{"errcode":"M_FORBIDDEN"}`), "says nothing"},
		{exchange("GET", "/_matrix/client/v3/nothing", 200, `{}`), "no such operation"},
		{exchange("GET", "/_matrix/client/v3/nothing", 404, `{}`), "errcode"},
		{exchange("POST", "/_matrix/client/v3/rooms/!r:b/join", 429, `{"error":"slow"}`), "errcode"},
		{exchange("POST", "/_matrix/client/v3/rooms/!r:b/join", 200, `{"room_id":"r"}`), "room_id"},
		{exchange("GET", "/_matrix/client/v3/account/whoami", 200, `{"user_id":"@a"}`), "mx-user-id"},
		{exchange("GET", "/_matrix/client/v3/rooms/!r:b/event/$e", 200, strings.Replace(event, `"origin_server_ts":1,`, "", 1)), "origin_server_ts"},
		{exchange("GET", "/_matrix/client/v3/rooms/!r:b/event/$e", 200, strings.Replace(event, `"origin_server_ts":1`, `"origin_server_ts":1.5`, 1)), "origin_server_ts"},
		{exchange("GET", "/_matrix/client/v3/rooms/!r:b/event/$e", 200, strings.Replace(event, "@a:b", "a", 1)), "sender"},
	}
	for _, c := range bad {
		if err := testkit.ValidateExchange(c.exchange); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s → %d %s: got %v, want %s", c.exchange.Method, c.exchange.URL, c.exchange.Status, c.exchange.Response, err, c.want)
		}
	}
}

func TestValidateExchangeHeaders(t *testing.T) {
	needSpecification(t)
	x := exchange("GET", "/_matrix/client/v1/media/download/b/m", 200, "\x89PNG")
	x.Header = http.Header{"Content-Type": {"image/png"}, "Content-Disposition": {"inline"}}
	if err := testkit.ValidateExchange(x); err != nil {
		t.Error(err)
	}
	x.Header.Del("Content-Disposition")
	if err := testkit.ValidateExchange(x); err == nil || !strings.Contains(err.Error(), "no header Content-Disposition") {
		t.Errorf("a missing header: %v", err)
	}
	x = exchange("GET", "/_matrix/client/v1/media/thumbnail/b/m?width=1&height=1", 200, "<svg>")
	x.Header = http.Header{"Content-Type": {"image/svg+xml"}, "Content-Disposition": {"inline"}}
	if err := testkit.ValidateExchange(x); err == nil || !strings.Contains(err.Error(), "image/svg+xml") {
		t.Errorf("a content type that is not known: %v", err)
	}
	x = exchange("GET", "/_matrix/client/v3/sync", 200, `{"next_batch":"s1"}`)
	x.Header = http.Header{"Content-Type": {"text/plain"}}
	if err := testkit.ValidateExchange(x); err == nil || !strings.Contains(err.Error(), "text/plain") {
		t.Errorf("JSON as text: %v", err)
	}
}

func TestValidateExchangeRequests(t *testing.T) {
	needSpecification(t)
	x := exchange("POST", "/_matrix/client/v3/rooms/!r:b/invite", 200, `{}`)
	for body, valid := range map[string]bool{
		``:                     true,
		`{"user_id":"@a:b"}`:   true,
		`{"user_id":7}`:        false,
		`{"reason":"no user"}`: false,
		`{`:                    false,
		// The other form of the request, by third-party ID.
		`{"id_server":"b","id_access_token":"t","medium":"email","address":"a@b.example"}`: true,
	} {
		x.Request = []byte(body)
		if err := testkit.ValidateExchange(x); (err == nil) != valid {
			t.Errorf("%s: %v", body, err)
		}
	}
	x.Status, x.Request = 400, []byte(`{`)
	x.Response = []byte(`{"errcode":"M_NOT_JSON","error":"no"}`)
	if err := testkit.ValidateExchange(x); err != nil {
		t.Errorf("a refused request: %v", err)
	}
}

// A recorder is a test that may fail.
type recorder struct {
	testing.TB
	failures []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func TestSpecTransport(t *testing.T) {
	needSpecification(t)
	answer := `{"room_id":"!r:b"}`
	var received []byte
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received, _ = io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	defer server.Close()
	watched := &recorder{TB: t}
	client := &http.Client{Transport: testkit.SpecTransport(watched, http.DefaultTransport)}
	post := func(body string) string {
		t.Helper()
		response, err := client.Post(server.URL+"/_matrix/client/v3/join/%23a:b", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if string(received) != body {
			t.Errorf("the server got %s, not %s", received, body)
		}
		return string(text)
	}
	if got := post(`{"reason":"x"}`); got != answer || len(watched.failures) > 0 {
		t.Errorf("got %s, failures %q", got, watched.failures)
	}
	answer = `{"room":"!r:b"}`
	for range 3 {
		if got := post(`{}`); got != answer {
			t.Errorf("got %s", got)
		}
	}
	if len(watched.failures) != 1 || !strings.Contains(watched.failures[0], "room_id") || !strings.Contains(watched.failures[0], "POST /_matrix/client/v3/join/%23a:b → 200") {
		t.Errorf("failures %q", watched.failures)
	}
	answer = `{"room_id":"!r:b"}`
	if post(`{"reason":3}`); len(watched.failures) != 2 || !strings.Contains(watched.failures[1], "the request is not what") {
		t.Errorf("failures %q", watched.failures)
	}
}

func FuzzValidateExchange(f *testing.F) {
	f.Add("GET", "/_matrix/client/v3/sync", 200, []byte(`{"next_batch":"s1"}`))
	f.Add("PUT", "/_matrix/client/v3/rooms/%00/state/x/", 403, []byte(`[]`))
	f.Add("GET", "/_matrix/client/v3/rooms/!r:b/event/$e", 200, []byte(event))
	f.Fuzz(func(t *testing.T, method, path string, status int, body []byte) {
		u := &url.URL{Path: path}
		x := testkit.Exchange{Method: method, URL: u, Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Response: body}
		err := testkit.ValidateExchange(x)
		if err == nil && strings.HasPrefix(path, "/_matrix/client/v3/sync") && method == "GET" && status == 200 {
			var object map[string]any
			if json.NewDecoder(bytes.NewReader(body)).Decode(&object) != nil {
				t.Errorf("%s passes for /sync", body)
			}
		}
	})
}
