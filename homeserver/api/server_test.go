package api_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"trestle/homeserver/api"
	"trestle/internal/matrix"
)

// tokens is an authenticator that knows a few tokens.
type tokens map[string]api.Caller

func (t tokens) Authenticate(_ context.Context, presented api.Credentials) (api.Caller, error) {
	who, ok := t[presented.Token]
	if !ok {
		return who, matrix.UnknownToken(false)
	}
	if who.AppService != "" && presented.AssertedUser != "" {
		who.UserID, who.DeviceID = presented.AssertedUser, presented.AssertedDevice
	}
	return who, nil
}

var people = tokens{
	"alice": {UserID: "@alice:hs", DeviceID: "PHONE"},
	"guest": {UserID: "@1:hs", Guest: true},
	"admin": {UserID: "@root:hs", Admin: true},
	"irc":   {UserID: "@irc:hs", AppService: "irc", Unlimited: true},
}

func serve(t *testing.T, routes ...api.Route) http.Handler {
	t.Helper()
	s := api.NewServer(api.Options{Authenticator: people})
	s.Handle(routes)
	return s.Handler()
}

// call makes a request with a token, or none, and gives back the status and
// the body.
func call(h http.Handler, method, target, token, body string) (int, string) {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

type stateRequest struct {
	RoomID   matrix.RoomID   `path:"roomId"`
	Type     string          `path:"eventType"`
	StateKey string          `path:"stateKey"`
	Content  json.RawMessage `body:"raw"`
}

func TestPathsAreUnescapedOnce(t *testing.T) {
	h := serve(t, api.Endpoint("PUT", "/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", api.Guest,
		func(_ context.Context, who api.Caller, req *stateRequest) (*[]string, error) {
			return &[]string{string(who.UserID), string(req.RoomID), req.Type, req.StateKey, string(req.Content)}, nil
		}))
	for _, tt := range []struct{ target, want string }{
		{"/_matrix/client/v3/rooms/!a:hs/state/m.room.topic/", `["@alice:hs","!a:hs","m.room.topic","","{}"]`},
		{"/_matrix/client/v3/rooms/!a:hs/state/m.room.topic", `["@alice:hs","!a:hs","m.room.topic","","{}"]`},
		{"/_matrix/client/r0/rooms/%21a%3Ahs/state/m.room.topic", `["@alice:hs","!a:hs","m.room.topic","","{}"]`},
		{"/_matrix/client/v3/rooms/!a:hs/state/x/@a+b:hs", `["@alice:hs","!a:hs","x","@a+b:hs","{}"]`},
		{"/_matrix/client/v3/rooms/!a:hs/state/x%2Fy/%2Ba%252F%20%23", `["@alice:hs","!a:hs","x/y","+a%2F #","{}"]`},
	} {
		status, body := call(h, "PUT", tt.target, "alice", "{}")
		if status != 200 || body != tt.want {
			t.Errorf("PUT %s: %d %s, want %s", tt.target, status, body, tt.want)
		}
	}
}

func TestAuthentication(t *testing.T) {
	whoami := func(_ context.Context, who api.Caller, _ *struct{}) (*map[string]string, error) {
		return &map[string]string{"user": string(who.UserID), "device": string(who.DeviceID), "from": who.RemoteAddr}, nil
	}
	var routes []api.Route
	for name, auth := range map[string]api.Auth{
		"none": api.None, "optional": api.Optional, "guest": api.Guest, "user": api.User, "as": api.AppService, "admin": api.Admin,
	} {
		routes = append(routes, api.Endpoint("GET", "/"+name, auth, whoami))
	}
	h := serve(t, routes...)
	for _, tt := range []struct {
		target, token string
		status        int
		want          string
	}{
		{"/none", "", 200, `"user":""`},
		{"/none", "wrong", 200, `"user":""`},
		{"/optional", "", 200, `"user":""`},
		{"/optional", "alice", 200, `"user":"@alice:hs"`},
		{"/optional", "wrong", 401, "M_UNKNOWN_TOKEN"},
		{"/guest", "", 401, "M_MISSING_TOKEN"},
		{"/guest", "wrong", 401, "M_UNKNOWN_TOKEN"},
		{"/guest", "guest", 200, `"user":"@1:hs"`},
		{"/guest?access_token=alice", "", 200, `"device":"PHONE"`},
		{"/guest?access_token=wrong", "alice", 200, "@alice:hs"},
		{"/user", "guest", 403, "M_GUEST_ACCESS_FORBIDDEN"},
		{"/user", "alice", 200, `"from":"192.0.2.1"`},
		{"/user?user_id=@bob%2Bx:hs&device_id=D", "irc", 200, `"device":"D"`},
		{"/user?user_id=@bob%2Bx:hs&org.matrix.msc3202.device_id=E", "irc", 200, `"user":"@bob+x:hs"`},
		{"/user?user_id=@bob%00:hs", "irc", 400, "M_INVALID_PARAM"},
		{"/user?user_id=@bob%2Bx:hs&device_id=%ff", "irc", 400, "M_INVALID_PARAM"},
		{"/optional?user_id=%00", "", 200, `"user":""`},
		{"/as", "alice", 403, "M_FORBIDDEN"},
		{"/as", "irc", 200, "@irc:hs"},
		{"/admin", "alice", 403, "M_FORBIDDEN"},
		{"/admin", "admin", 200, "@root:hs"},
	} {
		status, body := call(h, "GET", tt.target, tt.token, "")
		if status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("GET %s as %s: %d %s, want %d %s", tt.target, tt.token, status, body, tt.status, tt.want)
		}
	}
}

func TestAliases(t *testing.T) {
	h := serve(t,
		api.Endpoint("GET", "/_matrix/client/v3/thing/{id}", api.None, nothing[struct{}], api.Aliases("/_matrix/client/unstable/org.example/thing/{id}")),
		api.Endpoint("GET", "/_matrix/media/v3/new", api.None, nothing[struct{}], api.OnlyV3()),
		api.Endpoint("GET", "/_matrix/client/v3/pushrules/", api.None, nothing[struct{}]),
	)
	for target, want := range map[string]int{
		"/_matrix/client/v3/thing/1":                   200,
		"/_matrix/client/r0/thing/1":                   200,
		"/_matrix/client/unstable/org.example/thing/1": 200,
		"/_matrix/client/v1/thing/1":                   404,
		"/_matrix/client/v3/thing/":                    404,
		"/_matrix/client/v3/thing/1/":                  404,
		"/_matrix/media/v3/new":                        200,
		"/_matrix/media/r0/new":                        404,
		"/_matrix/client/v3/pushrules/":                200,
		"/_matrix/client/v3/pushrules":                 200,
		"/_matrix/client/r0/pushrules":                 200,
	} {
		if status, body := call(h, "GET", target, "", ""); status != want {
			t.Errorf("GET %s: %d %s, want %d", target, status, body, want)
		}
	}
}

// Every path of the specification fits into one router: where two name a
// parameter differently at the same place, or have a fixed segment there,
// each still goes to its own route.
func TestWholeSpecificationRoutes(t *testing.T) {
	paths := []string{
		"/_matrix/client/v3/join/{roomIdOrAlias}", "/_matrix/client/v3/rooms/{roomId}/join", "/_matrix/client/v3/rooms/{roomId}/state",
		"/_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}", "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}",
		"/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}", "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}",
		"/_matrix/client/v3/profile/{userId}", "/_matrix/client/v3/profile/{userId}/{keyName}", "/_matrix/client/v3/profile/{userId}/displayname",
		"/_matrix/client/v3/pushrules/", "/_matrix/client/v3/pushrules/global/", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}",
		"/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions", "/_matrix/client/v3/user/{userId}/filter",
		"/_matrix/client/v3/user/{userId}/filter/{filterId}", "/_matrix/client/v3/user/{userId}/account_data/{type}",
		"/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags",
		"/_matrix/client/v1/media/download/{serverName}/{mediaId}", "/_matrix/client/v1/media/download/{serverName}/{mediaId}/{fileName}",
		"/_matrix/client/v3/directory/room/{roomAlias}", "/_matrix/client/v3/directory/list/room/{roomId}",
		"/_matrix/client/v3/directory/list/appservice/{networkId}/{roomId}", "/_matrix/client/v3/room_keys/keys", "/_matrix/client/v3/room_keys/version",
		"/_matrix/client/v3/room_keys/keys/{roomId}/{sessionId}", "/_matrix/client/v3/room_keys/version/{version}",
		"/_matrix/client/v3/login", "/_matrix/client/v3/login/sso/redirect", "/_matrix/client/v3/login/sso/redirect/{idpId}",
		"/_matrix/client/v3/devices/{deviceId}", "/_matrix/client/v3/devices",
	}
	var routes []api.Route
	for _, path := range paths {
		routes = append(routes, api.Raw("GET", path, api.None, func(w http.ResponseWriter, _ *http.Request, _ api.Caller, p api.Params) error {
			_, err := io.WriteString(w, path)
			return err
		}))
	}
	h := serve(t, routes...)
	for _, path := range paths {
		target := regexp.MustCompile(`\{\w+\}`).ReplaceAllString(path, "dis%2Fplay")
		if status, body := call(h, "GET", target, "", ""); status != 200 || body != path {
			t.Errorf("GET %s: %d %s, want %s", target, status, body, path)
		}
	}
}

func TestForwardedFor(t *testing.T) {
	s := api.NewServer(api.Options{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("10.0.0.0/8")}})
	s.Handle([]api.Route{api.Endpoint("GET", "/", api.None, func(_ context.Context, who api.Caller, _ *struct{}) (*[]string, error) {
		return &[]string{who.RemoteAddr}, nil
	})})
	for _, tt := range []struct{ peer, header, want string }{
		{"192.0.2.1:99", "", "192.0.2.1"},
		{"192.0.2.1:99", "198.51.100.7", "198.51.100.7"},
		{"192.0.2.1:99", "6.6.6.6, 198.51.100.7, 10.1.1.1", "198.51.100.7"},
		{"192.0.2.1:99", "nonsense", "192.0.2.1"},
		{"198.51.100.9:99", "6.6.6.6", "198.51.100.9"},
		{"[2001:db8::1]:99", "6.6.6.6", "2001:db8::1"},
		{"@", "", "@"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.peer
		if tt.header != "" {
			r.Header.Set("X-Forwarded-For", tt.header)
		}
		if _, body := serveRequest(s.Handler(), r); body != `["`+tt.want+`"]` {
			t.Errorf("%s for %q: %s, want %s", tt.peer, tt.header, body, tt.want)
		}
	}
}

func TestDraining(t *testing.T) {
	s := api.NewServer(api.Options{})
	waiting := make(chan struct{})
	s.Handle([]api.Route{api.Endpoint("GET", "/poll", api.None, func(ctx context.Context, _ api.Caller, _ *struct{}) (*struct{}, error) {
		close(waiting)
		<-api.Draining(ctx)
		return nil, nil
	})})
	go func() {
		<-waiting
		s.Drain()
		s.Drain()
	}()
	if status, _ := call(s.Handler(), "GET", "/poll", "", ""); status != 200 {
		t.Errorf("status %d", status)
	}
	if api.Draining(context.Background()) != nil || api.RequestNumber(context.Background()) != 0 {
		t.Error("a context outside any request says that it belongs to one")
	}
}
