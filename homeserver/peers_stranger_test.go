package homeserver_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix"

	"trestle/internal/config"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

// A stranger is another server that says its keys, and signs what it likes.
type stranger struct {
	t    *testing.T
	name string
	key  matrix.SigningKey
	http *http.Client
}

func newStranger(t *testing.T, authority *testkit.Authority) *stranger {
	t.Helper()
	key, err := matrix.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	s := &stranger{t: t, key: key}
	listener := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_matrix/key/v2/server" {
			http.NotFound(w, r)
			return
		}
		keys, err := matrix.SignJSON(fmt.Appendf(nil, `{"server_name":%q,"valid_until_ts":%d,"verify_keys":{%q:{"key":%q}},"old_verify_keys":{}}`,
			s.name, time.Now().Add(time.Hour).UnixMilli(), key.ID, matrix.Base64(key.Public())), matrix.ServerName(s.name), key)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(keys)
	}))
	listener.TLS = &tls.Config{Certificates: []tls.Certificate{authority.Certificate("127.0.0.1")}}
	s.name = listener.Listener.Addr().String()
	listener.StartTLS()
	t.Cleanup(listener.Close)
	s.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority.Pool()}}}
	t.Cleanup(s.http.CloseIdleConnections)
	return s
}

// A demand is a request of a stranger, in parts that can be wrong.
type demand struct {
	method, uri, content string
	signed               string // content that is signed, if it is another
	origin, destination  string
	header               func(string) string
	lenient              bool // the specification does not have such requests, and is not asked about them
}

func (s *stranger) call(to *federated, c demand) (int, string, http.Header) {
	s.t.Helper()
	if c.method == "" {
		c.method = http.MethodGet
	}
	if c.origin == "" {
		c.origin = s.name
	}
	if c.destination == "" {
		c.destination = to.name
	}
	if c.signed == "" {
		c.signed = c.content
	}
	content := ""
	if c.signed != "" {
		content = `,"content":` + c.signed
	}
	object := fmt.Sprintf(`{"method":%q,"uri":%q,"origin":%q,"destination":%q%s}`, c.method, c.uri, c.origin, c.destination, content)
	raw, err := matrix.SignJSON([]byte(object), matrix.ServerName(c.origin), s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	var signed struct {
		Signatures map[string]map[matrix.KeyID]string `json:"signatures"`
	}
	if err := json.Unmarshal(raw, &signed); err != nil {
		s.t.Fatal(err)
	}
	header := fmt.Sprintf(`X-Matrix origin="%s",destination="%s",key="%s",sig="%s"`, c.origin, c.destination, s.key.ID, signed.Signatures[c.origin][s.key.ID])
	if c.header != nil {
		header = c.header(header)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), c.method, "https://"+to.name+c.uri, strings.NewReader(c.content))
	if err != nil {
		s.t.Fatal(err)
	}
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	if c.content != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.lenient {
		asked, answer := httptest.NewRequest(c.method, c.uri, strings.NewReader(c.content)), httptest.NewRecorder()
		asked.Header = r.Header
		to.server.FederationHandler().ServeHTTP(answer, asked)
		return answer.Code, answer.Body.String(), answer.Header()
	}
	response, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(text), response.Header
}

const (
	fed          = "/_matrix/federation/v1"
	unsigned     = ""
	unauthorized = "M_UNAUTHORIZED"
)

// Requests are answered to those who have signed them as they are, for this server.
func TestRequestsOfStrangers(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		authority := testkit.NewAuthority(t)
		there, s := federate(t, authority, database, nil), newStranger(t, authority)
		bob := login(t, there.clients, "bob")
		profile := fed + "/query/profile?user_id=" + url.QueryEscape(bob.UserID.String())
		other, err := matrix.NewSigningKey()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			what   string
			call   demand
			status int
			code   string
		}{
			{"a good request", demand{uri: profile}, 200, ""},
			{"an older server", demand{uri: profile, header: func(h string) string { return strings.Replace(h, `destination="`+there.name+`",`, "", 1) }}, 200, ""},
			{"a search", demand{method: "POST", uri: fed + "/publicRooms", content: `{"limit":1}`}, 200, ""},
			{"no signature", demand{uri: profile, header: func(string) string { return unsigned }}, 401, unauthorized},
			{"a token", demand{uri: profile, header: func(string) string { return "Bearer " + bob.AccessToken }}, 401, unauthorized},
			{"nonsense", demand{uri: profile, header: func(string) string { return "X-Matrix origin=" }}, 401, unauthorized},
			{"for another server", demand{uri: profile, destination: "elsewhere.example"}, 401, unauthorized},
			{"for another server, which it does not say", demand{uri: profile, destination: "elsewhere.example", header: func(h string) string {
				return strings.Replace(h, `destination="elsewhere.example",`, "", 1)
			}}, 401, unauthorized},
			{"in the name of this server", demand{uri: profile, origin: there.name}, 401, unauthorized},
			{"in the name of a server that is not there", demand{uri: profile, origin: "127.0.0.1:1"}, 401, unauthorized},
			{"in the name of a server that has other keys", demand{uri: profile, header: func(h string) string {
				return strings.Replace(h, string(s.key.ID), string(other.ID), 1)
			}}, 401, unauthorized},
			{"another body", demand{method: "POST", uri: fed + "/publicRooms", content: `{"limit":2}`, signed: `{"limit":1}`}, 401, unauthorized},
			{"no JSON", demand{method: "POST", uri: fed + "/publicRooms", content: `{"limit":`, signed: `{}`}, 400, "M_NOT_JSON"},
			{"a huge body", demand{method: "POST", uri: fed + "/publicRooms", content: `{"x":"` + strings.Repeat("x", 1<<20) + `"}`}, 413, "M_TOO_LARGE"},
			{"a user of another server", demand{uri: fed + "/query/profile?user_id=@bob:elsewhere.example"}, 400, "M_INVALID_PARAM"},
			{"a user who is none", demand{uri: fed + "/query/profile?user_id=bob"}, 400, "M_INVALID_PARAM"},
			{"nobody", demand{uri: fed + "/query/profile"}, 400, "M_MISSING_PARAM"},
			{"an alias of another server", demand{uri: fed + "/query/directory?room_alias=%23a:elsewhere.example"}, 404, "M_NOT_FOUND"},
			{"another query", demand{uri: fed + "/query/nothing"}, 404, "M_UNRECOGNIZED"},
			{"another method", demand{method: "DELETE", uri: profile}, 405, "M_UNRECOGNIZED"},
			{"what is for clients", demand{uri: v3 + "/profile/" + bob.UserID.String()}, 404, "M_UNRECOGNIZED"},
		} {
			status, text, _ := s.call(there, c.call)
			if status != c.status || c.code != "" && !strings.Contains(text, `"errcode":"`+c.code+`"`) {
				t.Errorf("%s: %d %s, want %d %s", c.what, status, text, c.status, c.code)
			}
		}
		if status, _, _ := there.get(nil, profile); status != 404 {
			t.Errorf("clients reach what is for servers: %d", status)
		}
	})
}

// The media of this server are told to others, and none that it only keeps for its users.
func TestMediaForStrangers(t *testing.T) {
	authority := testkit.NewAuthority(t)
	here, there := federate(t, authority, testkit.SQLite(t), nil), federate(t, authority, testkit.SQLite(t), nil)
	s := newStranger(t, authority)
	alice, bob := login(t, here.clients, "alice"), login(t, there.clients, "bob")
	content := picture(t)
	uploaded, err := bob.UploadMedia(t.Context(), mautrix.ReqUploadMedia{ContentBytes: content, ContentType: "image/png", FileName: `a"b.png`})
	if err != nil {
		t.Fatal(err)
	}
	file := uploaded.ContentURI.FileID
	parts := func(uri string) (kinds, texts []string, disposition string) {
		t.Helper()
		status, text, header := s.call(there, demand{uri: uri})
		kind, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
		if status != 200 || err != nil || kind != "multipart/mixed" {
			t.Fatalf("%s: %d %v %s", uri, status, header, text)
		}
		for reader := multipart.NewReader(strings.NewReader(text), parameters["boundary"]); ; {
			part, err := reader.NextRawPart()
			if err == io.EOF {
				return kinds, texts, disposition
			}
			if err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(part)
			if err != nil {
				t.Fatal(err)
			}
			kinds, texts, disposition = append(kinds, part.Header.Get("Content-Type")), append(texts, string(raw)), part.Header.Get("Content-Disposition")
		}
	}
	kinds, texts, disposition := parts(fed + "/media/download/" + file)
	if fmt.Sprint(kinds) != "[application/json image/png]" || texts[0] != "{}" || texts[1] != string(content) || !strings.HasPrefix(disposition, `inline; filename="a_b.png"`) {
		t.Errorf("%v %q %s", kinds, texts[0], disposition)
	}
	kinds, texts, _ = parts(fed + "/media/thumbnail/" + file + "?width=96&height=96&method=crop")
	if len(kinds) != 2 || !strings.HasPrefix(kinds[1], "image/") || texts[1] == string(content) {
		t.Errorf("%v", kinds)
	}
	created, err := bob.CreateMXC(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for uri, want := range map[string]string{
		fed + "/media/download/" + created.ContentURI.FileID + "?timeout_ms=0": "504 M_NOT_YET_UPLOADED",
		fed + "/media/download/nothing":                                        "404 M_NOT_FOUND",
		fed + "/media/download/a%2Fb":                                          "400 M_INVALID_PARAM",
		fed + "/media/thumbnail/" + file:                                       "400 M_MISSING_PARAM",
		fed + "/media/thumbnail/" + file + "?width=0&height=1":                 "400 M_INVALID_PARAM",
	} {
		var e struct {
			Code string `json:"errcode"`
		}
		status, text, _ := s.call(there, demand{uri: uri})
		if err := json.Unmarshal([]byte(text), &e); err != nil || fmt.Sprint(status, " ", e.Code) != want {
			t.Errorf("%s: %d %s, want %s", uri, status, text, want)
		}
	}
	// What a server has fetched from another one it does not pass on.
	if status, _, _ := here.get(alice, v1+"/media/download/"+there.name+"/"+file); status != 200 {
		t.Fatalf("it does not come here: %d", status)
	}
	if status, text, _ := s.call(here, demand{uri: fed + "/media/download/" + file}); status != 404 || !strings.Contains(text, "M_NOT_FOUND") {
		t.Errorf("media of others: %d %s", status, text)
	}
	if status, _, _ := s.call(there, demand{uri: fed + "/media/download/" + file, header: func(string) string { return unsigned }}); status != 401 {
		t.Errorf("without a signature: %d", status)
	}
}

// Keys are said to everybody, those of others with the signature of this server.
func TestKeysForStrangers(t *testing.T) {
	authority := testkit.NewAuthority(t)
	there, s := federate(t, authority, testkit.SQLite(t), nil), newStranger(t, authority)
	ask := func(method, uri, body string) (answer struct {
		Name   matrix.ServerName                             `json:"server_name"`
		Verify map[matrix.KeyID]struct{ Key string }         `json:"verify_keys"`
		Keys   []json.RawMessage                             `json:"server_keys"`
		Server struct{ Name, Version string }                `json:"server"`
		Code   string                                        `json:"errcode"`
		Signed map[matrix.ServerName]map[matrix.KeyID]string `json:"signatures"`
	}, raw string) {
		t.Helper()
		_, raw, _ = s.call(there, demand{method: method, uri: uri, content: body, signed: "{}", header: func(string) string { return unsigned }})
		if err := json.Unmarshal([]byte(raw), &answer); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		return answer, raw
	}
	own, raw := ask("GET", "/_matrix/key/v2/server", "")
	verified := func(raw string) {
		t.Helper()
		for id, key := range own.Verify {
			public, err := matrix.DecodeBase64(key.Key)
			if err == nil {
				err = matrix.VerifyJSON([]byte(raw), matrix.ServerName(there.name), id, public)
			}
			if err != nil {
				t.Errorf("%v: %s", err, raw)
			}
		}
	}
	if own.Name != matrix.ServerName(there.name) || len(own.Verify) != 1 {
		t.Fatalf("its keys are %s", raw)
	}
	verified(raw)
	if version, raw := ask("GET", fed+"/version", ""); version.Server.Name != "Trestle" || version.Server.Version == "" {
		t.Errorf("its version is %s", raw)
	}
	for _, c := range []struct {
		method, uri, body string
		want              int
	}{
		{"GET", "/_matrix/key/v2/query/" + s.name, "", 1},
		{"GET", "/_matrix/key/v2/query/127.0.0.1:1", "", 0},
		{"POST", "/_matrix/key/v2/query", fmt.Sprintf(`{"server_keys":{%q:{},%q:{"ed25519:x":{"minimum_valid_until_ts":1}},"127.0.0.1:1":{}}}`, s.name, there.name), 2},
		{"POST", "/_matrix/key/v2/query", `{"server_keys":{}}`, 0},
	} {
		answer, raw := ask(c.method, c.uri, c.body)
		if len(answer.Keys) != c.want || answer.Keys == nil {
			t.Errorf("%s %s: %s", c.uri, c.body, raw)
		}
		for _, keys := range answer.Keys {
			verified(string(keys))
		}
	}
	many := map[string]any{}
	for i := range 101 {
		many[fmt.Sprintf("s%d.example", i)] = map[string]any{}
	}
	body, err := json.Marshal(map[string]any{"server_keys": many})
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{string(body), `{}`, `{"server_keys":[]}`} {
		if answer, raw := ask("POST", "/_matrix/key/v2/query", wrong); !strings.HasPrefix(answer.Code, "M_") || answer.Keys != nil {
			t.Errorf("%.50s: %s", wrong, raw)
		}
	}
}

// A server that asks too often waits; others do not for it.
func TestServersAreLimited(t *testing.T) {
	authority := testkit.NewAuthority(t)
	there := federate(t, authority, testkit.SQLite(t), func(c *config.Config) {
		c.NoRateLimits = false
		c.RateLimits["federation"] = config.RateLimit{PerSecond: 0.001, Burst: 3}
	})
	busy, calm := newStranger(t, authority), newStranger(t, authority)
	uri := fed + "/query/directory?room_alias=" + url.QueryEscape("#a:"+there.name)
	var statuses []int
	for range 4 {
		status, _, _ := busy.call(there, demand{uri: uri})
		statuses = append(statuses, status)
	}
	status, _, _ := calm.call(there, demand{uri: uri})
	if got := fmt.Sprint(append(statuses, status)); got != "[404 404 404 429 404]" {
		t.Errorf("%s", got)
	}
}
