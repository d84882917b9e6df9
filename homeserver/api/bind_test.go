package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// everything has a field of each kind that can be bound.
type everything struct {
	page
	User    matrix.UserID      `path:"userId" json:"-"`
	Name    string             `json:"name" required:"true"`
	Nick    *string            `json:"nick"`
	Count   int64              `json:"count"`
	Most    *int64             `json:"most"`
	Flag    bool               `json:"flag"`
	Maybe   *bool              `json:"maybe"`
	Words   []string           `json:"words"`
	Any     json.RawMessage    `json:"any"`
	Room    matrix.RoomID      `json:"room_id"`
	Invited []matrix.UserID    `json:"invite"`
	Nested  map[string]section `json:"nested"`
}

type section struct {
	Title string `json:"title"`
}

type page struct {
	From  string              `query:"from"`
	Limit *int64              `query:"limit"`
	Full  bool                `query:"full"`
	Via   []matrix.ServerName `query:"via"`
	Event matrix.EventID      `query:"event"`
	Agent string              `header:"User-Agent"`
}

func (e *everything) Validate() error {
	if e.Name == "forbidden" {
		return matrix.Forbidden("Not that name.")
	}
	return nil
}

func bindServer(t testing.TB) http.Handler {
	s := api.NewServer(api.Options{Authenticator: people, BodyLimit: 4096})
	s.Handle([]api.Route{api.Endpoint("POST", "/bind/{userId}", api.None,
		func(_ context.Context, _ api.Caller, req *everything) (*map[string]any, error) {
			return &map[string]any{"user": req.User, "name": req.Name, "nick": req.Nick, "count": req.Count, "most": req.Most,
				"flag": req.Flag, "maybe": req.Maybe, "words": req.Words, "any": req.Any, "room": req.Room, "invite": req.Invited,
				"nested": req.Nested, "from": req.From, "limit": req.Limit, "full": req.Full, "via": req.Via}, nil
		})})
	return s.Handler()
}

func TestBinding(t *testing.T) {
	h := bindServer(t)
	for _, tt := range []struct {
		query, body string
		want        string // a part of the answer
	}{
		{"", `{"name":"a"}`, `"name":"a"`},
		{"", ` {"name" : "\u0061\"\\" , "name2":1} `, `"name":"a\"\\"`},
		{"", `{"name":"a","Count":5,"COUNT":6,"count":7}`, `"count":7`},
		{"", `{"name":"a","User":"@mallory:hs","userId":"@mallory:hs"}`, `"user":"@bob:hs"`},
		{"", `{"name":"a","nick":null,"most":null,"words":null}`, `"nick":null`},
		{"", `{"name":"a","nick":"n","most":-9,"maybe":false,"flag":true,"words":["x","y"]}`, `"words":["x","y"]`},
		{"", `{"name":"a","any":{"x": [1.5]}}`, `"any":{"x":[1.5]}`},
		{"", `{"name":"a","any":null}`, `"any":null`},
		{"", `{"name":"a","room_id":"!x:hs","invite":["@a:hs","@b:hs"]}`, `"invite":["@a:hs","@b:hs"]`},
		{"", `{"name":"a","nested":{"k":{"title":"t"}}}`, `"nested":{"k":{"title":"t"}}`},
		{"?from=a%2Bb+c&limit=20&full=true&via=a&via=b", `{"name":"a"}`, `"from":"a+b c","full":true,"invite":null,"limit":20`},
		{"?from=1&from=2&&=&x", `{"name":"a"}`, `"from":"1"`},
		{"?via=a&via=b", `{"name":"a"}`, `"via":["a","b"]`},
	} {
		status, body := call(h, "POST", "/bind/@bob:hs"+tt.query, "", tt.body)
		if status != 200 || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: %d %s, want %s", tt.query, tt.body, status, body, tt.want)
		}
	}
}

func TestBindingRefuses(t *testing.T) {
	h := bindServer(t)
	for _, tt := range []struct {
		target, body string
		status       int
		code         string
		about        string // a part of the message
	}{
		{"/bind/@bob:hs", ``, 400, "M_NOT_JSON", "no body"},
		{"/bind/@bob:hs", `{"name":"a"`, 400, "M_NOT_JSON", ""},
		{"/bind/@bob:hs", `{"name":"a"}}`, 400, "M_NOT_JSON", ""},
		{"/bind/@bob:hs", `{"name":NaN}`, 400, "M_NOT_JSON", ""},
		{"/bind/@bob:hs", `{"name":"a",}`, 400, "M_NOT_JSON", ""},
		{"/bind/@bob:hs", "{\"name\":\"\x81\"}", 400, "M_NOT_JSON", ""},
		{"/bind/@bob:hs", "{\"name\":\"a\nb\"}", 400, "M_NOT_JSON", ""},
		{"/bind/@bob:hs", `[]`, 400, "M_BAD_JSON", "object"},
		{"/bind/@bob:hs", `"x"`, 400, "M_BAD_JSON", "object"},
		{"/bind/@bob:hs", `null`, 400, "M_BAD_JSON", "object"},
		{"/bind/@bob:hs", `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`, 400, "M_BAD_JSON", "100"},
		{"/bind/@bob:hs", `{}`, 400, "M_MISSING_PARAM", "name"},
		{"/bind/@bob:hs", `{"name":null}`, 400, "M_MISSING_PARAM", "name"},
		{"/bind/@bob:hs", `{"Name":"a"}`, 400, "M_MISSING_PARAM", "name"},
		{"/bind/@bob:hs", `{"name":5}`, 400, "M_BAD_JSON", "name must be a string, not number"},
		{"/bind/@bob:hs", `{"name":"a\u0000"}`, 400, "M_BAD_JSON", "name"},
		{"/bind/@bob:hs", `{"name":"a","nick":[]}`, 400, "M_BAD_JSON", "nick must be a string, not array"},
		{"/bind/@bob:hs", `{"name":"a","count":"1"}`, 400, "M_BAD_JSON", "count must be an integer, not string"},
		{"/bind/@bob:hs", `{"name":"a","count":1.5}`, 400, "M_BAD_JSON", "count must be an integer"},
		{"/bind/@bob:hs", `{"name":"a","count":99999999999999999999}`, 400, "M_BAD_JSON", "count"},
		{"/bind/@bob:hs", `{"name":"a","flag":"true"}`, 400, "M_BAD_JSON", "flag must be true or false"},
		{"/bind/@bob:hs", `{"name":"a","words":"x"}`, 400, "M_BAD_JSON", "words must be an array"},
		{"/bind/@bob:hs", `{"name":"a","words":[1]}`, 400, "M_BAD_JSON", "words must be a string"},
		{"/bind/@bob:hs", `{"name":"a","words":["\u0000"]}`, 400, "M_BAD_JSON", "words"},
		{"/bind/@bob:hs", `{"name":"a","nested":{"k":{"title":1}}}`, 400, "M_BAD_JSON", "nested"},
		{"/bind/@bob:hs", `{"name":"a","room_id":"x"}`, 400, "M_INVALID_PARAM", "room ID"},
		{"/bind/@bob:hs", `{"name":"a","invite":["@a:hs","b"]}`, 400, "M_INVALID_PARAM", "user ID"},
		{"/bind/@bob:hs", `{"name":"forbidden"}`, 403, "M_FORBIDDEN", "name"},
		{"/bind/@bob:hs", `{"name":"` + strings.Repeat("a", 5000) + `"}`, 413, "M_TOO_LARGE", "4096"},
		{"/bind/bob", `{"name":"a"}`, 400, "M_INVALID_PARAM", "userId"},
		{"/bind/@bob%00:hs", `{"name":"a"}`, 400, "M_INVALID_PARAM", "userId"},
		{"/bind/@bob%ff:hs", `{"name":"a"}`, 400, "M_INVALID_PARAM", "userId"},
		{"/bind/@bob:hs?limit=x", `{"name":"a"}`, 400, "M_INVALID_PARAM", "limit"},
		{"/bind/@bob:hs?limit=1.0", `{"name":"a"}`, 400, "M_INVALID_PARAM", "limit"},
		{"/bind/@bob:hs?full=yes", `{"name":"a"}`, 400, "M_INVALID_PARAM", "full"},
		{"/bind/@bob:hs?event=x", `{"name":"a"}`, 400, "M_INVALID_PARAM", "event"},
		{"/bind/@bob:hs?via=a&via=%20", `{"name":"a"}`, 400, "M_INVALID_PARAM", "via"},
		{"/bind/@bob:hs?from=%00", `{"name":"a"}`, 400, "M_INVALID_PARAM", "from"},
	} {
		status, body := call(h, "POST", tt.target, "", tt.body)
		if status != tt.status || matrixCode(body) != tt.code || !strings.Contains(body, tt.about) {
			t.Errorf("%s %.60s: %d %s, want %d %s about %q", tt.target, tt.body, status, body, tt.status, tt.code, tt.about)
		}
	}
}

// A chunked body has no length; the limit holds for it as well.
func TestBodyWithoutLength(t *testing.T) {
	h := bindServer(t)
	for length, want := range map[int]int{1000: 200, 4086: 413, 1 << 20: 413} {
		r := httptest.NewRequest("POST", "/bind/@bob:hs", strings.NewReader(`{"name":"`+strings.Repeat("a", length)+`"}`))
		r.ContentLength = -1
		if status, body := serveRequest(h, r); status != want {
			t.Errorf("%d bytes: %d %.100s, want %d", length, status, body, want)
		}
	}
}

func TestRouteHasItsOwnBodyLimit(t *testing.T) {
	type request struct {
		Body json.RawMessage `body:"raw"`
	}
	s := api.NewServer(api.Options{BodyLimit: 10})
	s.Handle([]api.Route{
		api.Endpoint("POST", "/usual", api.None, nothing[request]),
		api.Endpoint("POST", "/large", api.None, nothing[request], api.BodyLimit(20)),
	})
	for target, want := range map[string]int{"/usual": 413, "/large": 200} {
		if status, body := call(s.Handler(), "POST", target, "", `{"a":"bcdefgh"}`); status != want {
			t.Errorf("%s: %d %s, want %d", target, status, body, want)
		}
	}
}

func TestMistakesInRequestTypesPanic(t *testing.T) {
	type badPath struct {
		X string `path:"nowhere"`
	}
	type noTag struct{ X string }
	type badKind struct {
		X float64 `query:"x"`
	}
	type twoBodies struct {
		X json.RawMessage `body:"raw"`
		Y string          `json:"y"`
	}
	for name, declare := range map[string]func(){
		"unknown parameter":    func() { api.Endpoint("GET", "/x/{y}", api.None, nothing[badPath]) },
		"field without a tag":  func() { api.Endpoint("GET", "/x", api.None, nothing[noTag]) },
		"kind that can't bind": func() { api.Endpoint("GET", "/x", api.None, nothing[badKind]) },
		"two bodies":           func() { api.Endpoint("GET", "/x", api.None, nothing[twoBodies]) },
		"alias that differs":   func() { api.Endpoint("GET", "/x", api.None, nothing[struct{}], api.Aliases("/{y}")) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			declare()
		}()
	}
}

func nothing[Req any](context.Context, api.Caller, *Req) (*struct{}, error) { return nil, nil }

func serveRequest(h http.Handler, r *http.Request) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func matrixCode(body string) string {
	var e struct{ Errcode string }
	_ = json.Unmarshal([]byte(body), &e)
	return e.Errcode
}

// FuzzBody holds the body scanner against encoding/json: whatever is bound is
// what encoding/json reads, and what is refused as no JSON is none.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{`{}`, `{"raw":{"a":[1,2,{"b":null}]}}`, `{"a":"\ud83d\u00e9","A":1e-5}`, `[1]`, ` { "a" : -0.5E+7 } `, `{"a\u0062":"\n"}`, `{"a":01}`, `{"x":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	var got map[string]json.RawMessage
	s := api.NewServer(api.Options{})
	type request struct {
		Whole json.RawMessage `body:"raw"`
	}
	type members struct {
		A  json.RawMessage `json:"a"`
		B  json.RawMessage `json:"ab"`
		S  string          `json:"s"`
		N  *int64          `json:"n"`
		Ss []string        `json:"ss"`
	}
	s.Handle([]api.Route{
		api.Endpoint("POST", "/raw", api.None, func(_ context.Context, _ api.Caller, req *request) (*struct{}, error) {
			got = map[string]json.RawMessage{"raw": req.Whole}
			return nil, nil
		}),
		api.Endpoint("POST", "/members", api.None, func(_ context.Context, _ api.Caller, req *members) (*struct{}, error) {
			got = map[string]json.RawMessage{"a": req.A, "ab": req.B}
			return nil, nil
		}),
	})
	h := s.Handler()
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) == 0 {
			return
		}
		got = nil
		status, answer := serveRequest(h, httptest.NewRequest("POST", "/raw", bytes.NewReader(body)))
		if err := checkRaw(body, status, answer, got); err != nil {
			t.Error(err)
		}
		got = nil
		if status, _ := serveRequest(h, httptest.NewRequest("POST", "/members", bytes.NewReader(body))); status == 200 {
			want := map[string]json.RawMessage{}
			if err := json.Unmarshal(body, &want); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"a", "ab"} {
				if !bytes.Equal(got[name], want[name]) {
					t.Errorf("%q: member %s is %q, want %q", body, name, got[name], want[name])
				}
			}
		} else if status >= 500 {
			t.Errorf("%q: status %d", body, status)
		}
	})
}

func checkRaw(body []byte, status int, answer string, got map[string]json.RawMessage) error {
	code := matrixCode(answer)
	switch {
	case status == 200 && !json.Valid(body):
		return fmt.Errorf("%q was accepted", body)
	case status == 200 && !bytes.Equal(got["raw"], body):
		return fmt.Errorf("%q arrived as %q", body, got["raw"])
	case code == "M_NOT_JSON" && json.Valid(body) && bytes.Equal(bytes.ToValidUTF8(body, nil), body):
		return fmt.Errorf("%q was refused", body)
	case status >= 500:
		return errors.New(answer)
	}
	return nil
}

// FuzzPath sends arbitrary paths: never a 500, and what arrives is what
// net/url unescapes.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"/rooms/!a:b/state/x/y", "/rooms/%21a/state/x/", "/rooms/a%2Fb/state/%2e", "/rooms/a+b/state/+", "//", "/rooms/%zz/state/a"} {
		f.Add(seed)
	}
	var got []string
	s := api.NewServer(api.Options{})
	type request struct {
		Room string `path:"roomId"`
		Type string `path:"eventType"`
		Key  string `path:"stateKey"`
	}
	s.Handle([]api.Route{api.Endpoint("GET", "/rooms/{roomId}/state/{eventType}/{stateKey}", api.None,
		func(_ context.Context, _ api.Caller, req *request) (*struct{}, error) {
			got = []string{req.Room, req.Type, req.Key}
			return nil, nil
		})})
	h := s.Handler()
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || !strings.HasPrefix(target, "/") {
			return
		}
		got = nil
		status, answer := serveRequest(h, &http.Request{Method: "GET", URL: u, Header: http.Header{}})
		if status >= 500 {
			t.Fatalf("%q: %d %s", target, status, answer)
		}
		if status != 200 {
			return
		}
		segments := strings.Split(u.EscapedPath(), "/")
		for i, at := range []int{2, 4, 5} {
			want := ""
			if at < len(segments) {
				want, _ = url.PathUnescape(segments[at])
			}
			if got[i] != want {
				t.Errorf("%q: parameter %d is %q, want %q", target, i, got[i], want)
			}
		}
	})
}
