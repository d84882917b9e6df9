package irc_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"trestle/bridges/irc"
	"trestle/internal/testkit"
	"trestle/internal/testkit/fakehomeserver"
	"trestle/internal/testkit/ircv3"
)

const provisioningSecret = "a secret of sixteen"

// A caller asks the provisioning API.
type caller struct {
	t     *testing.T
	url   string
	token string
}

func (c caller) call(method, path string, body any) (status int, answer map[string]any, list []map[string]any) {
	c.t.Helper()
	var encoded []byte
	switch body := body.(type) {
	case nil:
	case string:
		encoded = []byte(body)
	default:
		encoded, _ = json.Marshal(body)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+irc.PublicPath+"v1/"+path, bytes.NewReader(encoded))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		c.t.Errorf("%s %s has no CORS headers", method, path)
	}
	var raw json.RawMessage
	if err := json.NewDecoder(resp.Body).Decode(&raw); err != nil && resp.StatusCode != http.StatusNoContent {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	_ = json.Unmarshal(raw, &answer)
	_ = json.Unmarshal(raw, &list)
	return resp.StatusCode, answer, list
}

// refused makes sure that a request is.
func (c caller) refused(method, path string, body any, status int, code string) {
	c.t.Helper()
	got, answer, _ := c.call(method, path, body)
	if got != status || answer["errcode"] != code || answer["error"] == "" {
		c.t.Errorf("%s %s %v: %d %v, not %d %s", method, path, body, got, answer, status, code)
	}
}

// session is that of somebody whom the homeserver knows.
func (c caller) session(h *fakehomeserver.Homeserver, user string) caller {
	c.t.Helper()
	status, answer, _ := c.call("POST", "exchange_openid", map[string]string{"openIdToken": h.OpenID(user), "matrixServer": "localhost"})
	if status != 200 || answer["userId"] != user {
		c.t.Fatalf("the token of %s: %d %v", user, status, answer)
	}
	c.token = answer["token"].(string)
	return c
}

func provisioned(t *testing.T, change ...func(*irc.Config)) (h *fakehomeserver.Homeserver, room string, bob *testkit.IRCClient, api caller) {
	t.Helper()
	h, server := fakehomeserver.New(t), ircv3.Start(t, ircv3.Options{})
	bob = testkit.DialIRC(t, server.Addr, "bob")
	bob.Join("#trestle")
	c := config(h, server.Addr, t.TempDir())
	c.Provisioning = provisioningSecret
	for _, change := range change {
		change(&c)
	}
	service, _ := start(t, h, c)
	site := httptest.NewServer(service.Public())
	t.Cleanup(site.Close)
	bob.Expect(":trestle!", "JOIN")
	return h, garden(h), bob, caller{t: t, url: site.URL}
}

func TestProvisioningAPI(t *testing.T) {
	t.Parallel()
	h, room, bob, api := provisioned(t)
	alices, carols := api.session(h, alice), api.session(h, carol)
	_, networks, _ := alices.call("GET", "querynetworks", nil)
	if got := fmt.Sprint(networks["servers"]); !strings.Contains(got, "network_id:local") || !strings.Contains(got, "bot_user_id:"+bot) {
		t.Errorf("the networks are %s", got)
	}
	link := map[string]string{"matrix_room_id": room, "remote_room_server": "local", "remote_room_channel": "#trestle", "op_nick": "bob"}
	_, operators, _ := alices.call("POST", "querylink", link)
	if fmt.Sprint(operators["operators"]) != "[bob]" {
		t.Errorf("the operators are %v", operators)
	}
	carols.refused("POST", "link", link, 403, "IRC_NOT_ENOUGH_POWER")
	status, asked, _ := alices.call("POST", "link", link)
	if status != 200 || asked["state"] != "asked" {
		t.Fatalf("asking: %d %v", status, asked)
	}
	alices.refused("POST", "link", link, 409, "IRC_EXISTING_REQUEST")
	id := "link/" + asked["request_id"].(string)
	carols.refused("GET", id, nil, 404, "M_NOT_FOUND")
	code, _ := questionTo(t, bob)
	bob.Say("trestle", "yes "+code)
	bob.Expect("NOTICE bob", "is linked")
	if _, now, _ := alices.call("GET", id, nil); now["state"] != "linked" || now["consent_by"] != "bob" {
		t.Errorf("the request is %v", now)
	}
	alices.refused("POST", "link", link, 409, "IRC_DOUBLE_BRIDGE")
	if _, _, list := carols.call("GET", "listlinks/"+room, nil); len(list) != 1 || list[0]["remote_room_channel"] != "#trestle" {
		t.Errorf("the links are %v", list)
	}
	api.session(h, "@erin:localhost").refused("GET", "listlinks/"+room, nil, 403, "M_FORBIDDEN")
	carols.refused("POST", "unlink", link, 403, "IRC_NOT_ENOUGH_POWER")
	// A program that acts for anybody, and one that acts for nobody in particular.
	program := api
	program.token = provisioningSecret
	link["user_id"] = carol
	program.refused("POST", "unlink", link, 403, "IRC_NOT_ENOUGH_POWER")
	delete(link, "user_id")
	program.refused("POST", "link", link, 400, "M_MISSING_PARAM")
	if status, answer, _ := program.call("POST", "unlink", link); status != 200 {
		t.Errorf("unlinking: %d %v", status, answer)
	}
	bob.Say("#trestle", "a secret")
	h.WaitMembership(room, bot, "leave")
	unheard(t, h, room, bob, "a secret")
	alices.refused("POST", "unlink", link, 404, "M_NOT_FOUND")
	if status, _, _ := alices.call("DELETE", "session", nil); status != 200 {
		t.Errorf("ending the session: %d", status)
	}
	alices.refused("GET", "querynetworks", nil, 401, "M_UNKNOWN_TOKEN")
}

func TestProvisioningTakesNothingOdd(t *testing.T) {
	t.Parallel()
	h, room, _, api := provisioned(t)
	alices := api.session(h, alice)
	api.refused("GET", "querynetworks", nil, 401, "M_MISSING_TOKEN")
	api.refused("POST", "exchange_openid", map[string]string{"openIdToken": "x", "matrixServer": "localhost"}, 403, "M_FORBIDDEN")
	api.refused("POST", "exchange_openid", map[string]string{"openIdToken": h.OpenID(alice), "matrixServer": "elsewhere.example"}, 403, "M_FORBIDDEN")
	api.refused("POST", "exchange_openid", map[string]string{"openIdToken": h.OpenID("@alice:elsewhere.example"), "matrixServer": "localhost"}, 403, "M_FORBIDDEN")
	api.refused("POST", "exchange_openid", map[string]string{"openIdToken": h.OpenID(ghost("bob")), "matrixServer": "localhost"}, 403, "M_FORBIDDEN")
	api.refused("POST", "exchange_openid", map[string]string{"matrixServer": "localhost"}, 400, "M_MISSING_PARAM")
	stranger := api
	stranger.token = "made up"
	stranger.refused("GET", "querynetworks", nil, 401, "M_UNKNOWN_TOKEN")
	alices.refused("GET", "nothing", nil, 404, "M_UNRECOGNIZED")
	alices.refused("GET", "listlinks/garden", nil, 400, "M_INVALID_PARAM")
	alices.refused("POST", "link", `{"matrix_room_id":`, 400, "M_NOT_JSON")
	alices.refused("POST", "link", `[]`, 400, "M_BAD_JSON")
	alices.refused("POST", "link", `"`+strings.Repeat("x", 20000)+`"`, 413, "M_TOO_LARGE")
	link := func(change string, to string) map[string]string {
		q := map[string]string{"matrix_room_id": room, "remote_room_server": "local", "remote_room_channel": "#trestle", "op_nick": "bob"}
		q[change] = to
		return q
	}
	alices.refused("POST", "link", link("remote_room_server", "other"), 404, "IRC_UNKNOWN_NETWORK")
	alices.refused("POST", "link", link("remote_room_channel", "#a,#b"), 400, "M_INVALID_PARAM")
	alices.refused("POST", "link", link("remote_room_channel", "#a\r\nQUIT"), 400, "M_INVALID_PARAM")
	alices.refused("POST", "link", link("key", "a\nb"), 400, "M_INVALID_PARAM")
	alices.refused("POST", "link", link("matrix_room_id", "garden"), 400, "M_INVALID_PARAM")
	alices.refused("POST", "link", link("op_nick", "bob\r\nQUIT"), 400, "IRC_BAD_OPERATOR_TARGET")
	alices.refused("POST", "link", link("op_nick", "nobody"), 400, "IRC_BAD_OPERATOR_TARGET")
	alices.refused("POST", "querylink", link("remote_room_channel", "trestle"), 404, "IRC_UNKNOWN_CHANNEL")
	if status, _, _ := alices.call("OPTIONS", "link", nil); status != 204 {
		t.Errorf("OPTIONS is %d", status)
	}
}

func TestWidget(t *testing.T) {
	t.Parallel()
	h, room, _, api := provisioned(t)
	h.Say(room, carol, "!irc widget")
	told(h, room, "for moderators")
	h.Say(room, alice, "!irc widget")
	e := h.Wait(room, "the widget", func(e fakehomeserver.Event) bool { return e.Type == "im.vector.modular.widgets" })
	if !strings.Contains(unescape(string(e.Content)), irc.PublicPath+"widget?roomId=$matrix_room_id") {
		t.Errorf("the widget is %s", e.Content)
	}
	waitState(h, room, "m.widget", irc.PublicPath)
	for path, kind := range map[string]string{"widget": "text/html", "widget.js": "text/javascript", "widget.css": "text/css"} {
		resp, err := http.Get(api.url + irc.PublicPath + path + "?roomId=x")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		policy := resp.Header.Get("Content-Security-Policy")
		if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != kind+"; charset=utf-8" || !strings.Contains(policy, "default-src 'none'; script-src 'self'") || !strings.Contains(policy, "frame-ancestors *") {
			t.Errorf("%s is %d %v", path, resp.StatusCode, resp.Header)
		}
	}
}
