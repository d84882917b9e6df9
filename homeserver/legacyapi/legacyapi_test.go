package legacyapi_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"trestle/homeserver"
	"trestle/internal/config"
	"trestle/internal/testkit"
)

const v1 = "/_matrix/client/api/v1"

// A client of 2014 gives its token in the query.
type client struct {
	t     *testing.T
	url   string
	user  string
	token string
}

type object = map[string]any

func newServer(t *testing.T, database string, tokens ...string) *client {
	t.Helper()
	cfg := config.Default()
	cfg.ServerName = "hs.example"
	cfg.Data = t.TempDir()
	cfg.Media.Path = filepath.Join(cfg.Data, "media")
	cfg.Database = config.Secret(database)
	cfg.SigningKey = filepath.Join(cfg.Data, "signing.key")
	cfg.AppServices = []string{filepath.Join(cfg.Data, "appservices")}
	cfg.NoRateLimits = true
	cfg.OpenRegistration = len(tokens) == 0
	for _, token := range tokens {
		cfg.Registration.Tokens = append(cfg.Registration.Tokens, config.Secret(token))
	}
	cfg.RegistrationSharedSecret = "shared"
	cfg.Passwords.Hash, cfg.Passwords.BcryptCost = "bcrypt", 4
	server, err := homeserver.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	listener := httptest.NewServer(server.Handler())
	t.Cleanup(listener.Close)
	return &client{t: t, url: listener.URL}
}

func (c *client) do(method, path string, body any) (int, json.RawMessage) {
	c.t.Helper()
	path = v1 + path
	if c.token != "" {
		separator := "?"
		if strings.Contains(path, "?") {
			separator = "&"
		}
		path += separator + "access_token=" + url.QueryEscape(c.token)
	}
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		content = bytes.NewReader(raw)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, content)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return response.StatusCode, text
}

func (c *client) must(method, path string, body any) object {
	c.t.Helper()
	status, text := c.do(method, path, body)
	var o object
	if err := json.Unmarshal(text, &o); err != nil || status != http.StatusOK {
		c.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return o
}

func (c *client) list(method, path string) []object {
	c.t.Helper()
	status, text := c.do(method, path, nil)
	var list []object
	if err := json.Unmarshal(text, &list); err != nil || status != http.StatusOK {
		c.t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	return list
}

func (c *client) refused(method, path string, body any, status int, code string) {
	c.t.Helper()
	got, text := c.do(method, path, body)
	var e struct{ Errcode, Error string }
	if err := json.Unmarshal(text, &e); err != nil || got != status || e.Errcode != code || e.Error == "" {
		c.t.Errorf("%s %s %v: %d %s, want %d %s", method, path, body, got, text, status, code)
	}
}

func (c *client) person(name string) *client {
	c.t.Helper()
	res := c.must("POST", "/register", object{"type": "m.login.password", "user": name, "password": "correct horse"})
	if res["user_id"] != "@"+name+":hs.example" || res["home_server"] != "hs.example" {
		c.t.Fatalf("registered as %v", res)
	}
	return &client{c.t, c.url, res["user_id"].(string), res["access_token"].(string)}
}

func objects(list any) []object {
	values, _ := list.([]any)
	found := make([]object, len(values))
	for i, v := range values {
		found[i], _ = v.(object)
	}
	return found
}

func field(o any, path ...string) any {
	for _, name := range path {
		members, _ := o.(object)
		o = members[name]
	}
	return o
}

// withBody is the first event with a text, or nil.
func withBody(events any, text string) object {
	for _, e := range objects(events) {
		if field(e, "content", "body") == text {
			return e
		}
	}
	return nil
}

func ofType(events any, kind string) object {
	for _, e := range objects(events) {
		if e["type"] == kind {
			return e
		}
	}
	return nil
}

func TestLogin(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newServer(t, database)
		flows := s.must("GET", "/register", nil)
		if flows["type"] != "m.login.password" || len(objects(flows["flows"])) != 1 {
			t.Errorf("flows: %v", flows)
		}
		alice := s.person("alice")
		alice.must("GET", "/initialSync", nil)
		if flows := s.must("GET", "/login", nil); flows["type"] != "m.login.password" || objects(flows["flows"])[0]["type"] != "m.login.password" {
			t.Errorf("flows: %v", flows)
		}
		for _, name := range []string{"alice", "@alice:hs.example"} {
			res := s.must("POST", "/login", object{"type": "m.login.password", "user": name, "password": "correct horse"})
			if res["user_id"] != "@alice:hs.example" || res["access_token"] == "" {
				t.Errorf("login as %s: %v", name, res)
			}
		}
		for _, c := range []struct {
			path   string
			body   object
			status int
			code   string
		}{
			{"/login", object{}, 400, "M_BAD_JSON"},
			{"/login", object{"type": "m.login.oauth2", "user": "alice"}, 400, "M_UNKNOWN"},
			{"/login", object{"type": "m.login.password", "user": "alice", "password": "wrong"}, 403, "M_FORBIDDEN"},
			{"/login", object{"type": "m.login.password", "user": 1}, 400, "M_BAD_JSON"},
			{"/register", object{"type": "m.login.password", "user": "alice", "password": "correct horse"}, 400, "M_USER_IN_USE"},
			{"/register", object{"type": "m.login.password", "user": "bob"}, 400, "M_BAD_JSON"},
			{"/register", object{"type": "m.login.email.identity"}, 403, "M_FORBIDDEN"},
			{"/register", object{}, 400, "M_BAD_JSON"},
		} {
			s.refused("POST", c.path, c.body, c.status, c.code)
		}
		s.refused("GET", "/initialSync", nil, 401, "M_MISSING_TOKEN")
		(&client{t: t, url: s.url, token: "wrong"}).refused("GET", "/events", nil, 401, "M_UNKNOWN_TOKEN")
	})
}

func TestRegisterInStages(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newServer(t, database, "sesame")
		flows := s.must("GET", "/register", nil)
		const token = "m.login.registration_token"
		if stages, _ := json.Marshal(objects(flows["flows"])[0]["stages"]); string(stages) != `["`+token+`","m.login.password"]` {
			t.Errorf("stages: %s", stages)
		}
		end := object{"type": "m.login.password", "user": "alice", "password": "correct horse"}
		s.refused("POST", "/register", end, 403, "M_FORBIDDEN")
		s.refused("POST", "/register", object{"type": token, "token": "wrong"}, 403, "M_UNAUTHORIZED")
		next := s.must("POST", "/register", object{"type": token, "token": "sesame"})
		if next["next"] != "m.login.password" || next["session"] == nil || next["access_token"] != nil {
			t.Fatalf("after the first stage: %v", next)
		}
		end["session"] = next["session"]
		if res := s.must("POST", "/register", end); res["user_id"] != "@alice:hs.example" || res["access_token"] == nil {
			t.Errorf("in the end: %v", res)
		}
		end["user"] = "bob"
		s.refused("POST", "/register", end, 403, "M_FORBIDDEN")
	})
}

// administer makes a request of an administrator, whose token is empty at first.
func (c *client) administer(method, path string, body object) object {
	c.t.Helper()
	admin := &client{t: c.t, url: c.url + "/_synapse/admin/v1"}
	send := func(method, path string, body object) (answer object) {
		c.t.Helper()
		raw, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(c.t.Context(), method, admin.url+path, bytes.NewReader(raw))
		if err != nil {
			c.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+admin.token)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			c.t.Fatal(err)
		}
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
			c.t.Fatalf("%s %s: %d %v %v", method, path, response.StatusCode, answer, err)
		}
		return answer
	}
	nonce := send("GET", "/register", nil)["nonce"].(string)
	name := "root" + nonce[16:24]
	mac := hmac.New(sha1.New, []byte("shared"))
	mac.Write([]byte(strings.Join([]string{nonce, name, "correct horse", "admin"}, "\x00")))
	admin.token = send("POST", "/register", object{
		"nonce": nonce, "username": name, "password": "correct horse", "admin": true, "mac": hex.EncodeToString(mac.Sum(nil)),
	})["access_token"].(string)
	return send(method, path, body)
}

// What stages have found out counts for the account, by this API as by others.
func TestStagesCount(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newServer(t, database, "sesame")
		s.administer("POST", "/registration_tokens/new", object{"token": "once", "uses_allowed": 1})
		const token = "m.login.registration_token"
		register := func(user string) object {
			session := s.must("POST", "/register", object{"type": token, "token": "once"})["session"]
			return object{"type": "m.login.password", "user": user, "password": "correct horse", "session": session}
		}
		alice, bob := register("alice"), register("bob")
		s.must("POST", "/register", alice)
		s.refused("POST", "/register", bob, 403, "M_FORBIDDEN")
		if found := s.administer("GET", "/registration_tokens/once", nil); found["completed"] != 1.0 {
			t.Errorf("the token: %v", found)
		}
	})
}

func TestFallback(t *testing.T) {
	s := newServer(t, filepath.Join(t.TempDir(), "test.db"))
	response, err := http.Get(s.url + v1 + "/login/fallback")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	header := response.Header
	if response.StatusCode != 200 || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || !strings.Contains(string(text), "m.login.password") ||
		strings.Contains(string(text), "SCRIPT") || !strings.Contains(header.Get("Content-Security-Policy"), "script-src 'sha256-") {
		t.Errorf("%v %s", header, text)
	}
}

func TestRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		made := alice.must("POST", "/createRoom", object{"visibility": "public", "room_alias_name": "thepub", "name": "The Grand Duke Pub", "topic": "All about happy hour"})
		if made["room_alias"] != "#thepub:hs.example" {
			t.Errorf("created %v", made)
		}
		room := "/rooms/" + made["room_id"].(string)
		once := alice.must("PUT", "/createRoom/7", object{"invite": []string{bob.user}})
		if again := alice.must("PUT", "/createRoom/7", object{"invite": []string{bob.user}}); again["room_id"] != once["room_id"] {
			t.Errorf("a repeat made %v, not %v", again, once)
		}
		if found := bob.must("GET", "/directory/room/%23thepub:hs.example", nil); found["room_id"] != made["room_id"] {
			t.Errorf("the alias leads to %v", found)
		}
		if list := objects(bob.must("GET", "/publicRooms", nil)["chunk"]); len(list) != 1 || list[0]["name"] != "The Grand Duke Pub" {
			t.Errorf("public rooms: %v", list)
		}
		if joined := bob.must("POST", "/join/%23thepub:hs.example", object{}); joined["room_id"] != made["room_id"] {
			t.Errorf("joined %v", joined)
		}
		if topic := bob.must("GET", room+"/state/m.room.topic", nil); topic["topic"] != "All about happy hour" {
			t.Errorf("topic: %v", topic)
		}
		alice.must("PUT", room+"/state/m.room.topic", object{"topic": "friends only"})
		for _, e := range bob.list("GET", room+"/state") {
			if e["type"] == "m.room.topic" && (e["user_id"] != alice.user || field(e, "content", "topic") != "friends only" || field(e, "prev_content", "topic") != "All about happy hour") {
				t.Errorf("the topic's event: %v", e)
			}
		}
		members := bob.must("GET", room+"/members", nil)
		if len(objects(members["chunk"])) != 2 || members["start"] != "START" || members["end"] != "END" {
			t.Errorf("members: %v", members)
		}
		bob.must("POST", room+"/leave", object{})
		bob.must("POST", room+"/join", object{})
		alice.must("POST", room+"/ban", object{"user_id": bob.user, "reason": "x"})
		bob.refused("POST", room+"/join", object{}, 403, "M_FORBIDDEN")
		bob.refused("POST", "/join/!nowhere:hs.example", object{}, 404, "M_NOT_FOUND")
	})
}

func TestMessages(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		id := alice.must("POST", "/createRoom", object{"visibility": "public"})["room_id"].(string)
		room := "/rooms/" + id
		bob.must("POST", room+"/join", object{})
		start := bob.must("GET", "/initialSync?limit=1", nil)
		said := alice.must("POST", room+"/send/m.room.message", object{"msgtype": "m.text", "body": "one"})["event_id"].(string)
		first := alice.must("PUT", room+"/send/m.room.message/11", object{"msgtype": "m.text", "body": "two"})
		if again := alice.must("PUT", room+"/send/m.room.message/11", object{"msgtype": "m.text", "body": "two"}); again["event_id"] != first["event_id"] {
			t.Errorf("a repeat made %v", again)
		}
		news := bob.must("GET", "/events?timeout=60000&from="+start["end"].(string), nil)
		if e := withBody(news["chunk"], "one"); e == nil || e["user_id"] != alice.user || e["room_id"] != id || e["age"] == nil {
			t.Errorf("the stream: %v", news)
		}
		if got := bob.must("GET", "/events/"+said, nil); got["user_id"] != alice.user {
			t.Errorf("one event: %v", got)
		}
		// From the newest, backwards, and on from there.
		page := bob.must("GET", room+"/messages?from=END&to=START&limit=1", nil)
		if withBody(page["chunk"], "two") == nil || len(objects(page["chunk"])) != 1 {
			t.Errorf("the newest: %v", page)
		}
		page = bob.must("GET", room+"/messages?dir=b&limit=1&from="+page["end"].(string), nil)
		if withBody(page["chunk"], "one") == nil {
			t.Errorf("the one before: %v", page)
		}
		if page = bob.must("GET", room+"/messages?from=START&limit=1", nil); ofType(page["chunk"], "m.room.create") == nil {
			t.Errorf("the oldest: %v", page)
		}
		if page = bob.must("GET", room+"/messages?from=END&dir=f", nil); len(objects(page["chunk"])) != 0 {
			t.Errorf("after the end: %v", page)
		}
		// Everything, from the start of time.
		if all := bob.must("GET", "/events?from=START&timeout=0", nil); ofType(all["chunk"], "m.room.create") == nil || withBody(all["chunk"], "two") == nil {
			t.Errorf("from START: %v", all)
		}
		alice.must("POST", room+"/redact/"+said, object{"reason": "rude"})
		if e := bob.must("GET", "/events/"+said, nil); field(e, "content", "body") != nil || field(e, "redacted_because", "user_id") != alice.user {
			t.Errorf("redacted: %v", e)
		}
		for _, path := range []string{"/events?from=x", "/events?to=START", "/events?timeout=-1", room + "/messages?from=x", room + "/messages?dir=x", "/initialSync?limit=-1"} {
			bob.refused("GET", path, nil, 400, "M_BAD_PAGINATION")
		}
		bob.refused("POST", room+"/send/m.room.message/11", object{}, 405, "M_UNRECOGNIZED")
	})
}

func TestInitialSync(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		id := alice.must("POST", "/createRoom", object{"visibility": "public"})["room_id"].(string)
		bob.must("POST", "/rooms/"+id+"/join", object{})
		alice.must("POST", "/rooms/"+id+"/send/m.room.message", object{"msgtype": "m.text", "body": "hello"})
		invited := alice.must("POST", "/createRoom", object{"invite": []string{bob.user}})["room_id"]
		alice.must("PUT", "/presence/"+alice.user+"/status", object{"presence": "free_for_chat", "status_msg": "about"})
		now := bob.must("GET", "/initialSync?limit=1", nil)
		rooms := objects(now["rooms"])
		if len(rooms) != 2 || rooms[0]["membership"] != "join" || rooms[0]["visibility"] != "public" || withBody(field(rooms[0], "messages", "chunk"), "hello") == nil ||
			ofType(rooms[0]["state"], "m.room.create")["user_id"] != alice.user {
			t.Errorf("the room: %v", rooms)
		}
		if rooms[1]["room_id"] != invited || rooms[1]["membership"] != "invite" || rooms[1]["inviter"] != alice.user {
			t.Errorf("the invite: %v", rooms[1])
		}
		if e := ofType(now["presence"], "m.presence"); field(e, "content", "user_id") == nil {
			t.Errorf("presence: %v", now["presence"])
		}
		one := bob.must("GET", "/rooms/"+id+"/initialSync?limit=1", nil)
		if one["room_id"] != id || one["membership"] != "join" || ofType(one["presence"], "m.presence") == nil || ofType(one["state"], "m.room.create") == nil {
			t.Errorf("one room: %v", one)
		}
		// The stream goes on with what is not kept as well.
		alice.must("PUT", "/rooms/"+id+"/typing/"+alice.user, object{"typing": true, "timeout": 30000})
		if e := ofType(bob.must("GET", "/events?timeout=60000&from="+now["end"].(string), nil)["chunk"], "m.typing"); e == nil || e["room_id"] != id {
			t.Errorf("typing: %v", e)
		}
	})
}

func TestProfile(t *testing.T) {
	s := newServer(t, filepath.Join(t.TempDir(), "test.db"))
	alice, bob := s.person("alice"), s.person("bob")
	alice.must("PUT", "/profile/"+alice.user+"/displayname", object{"displayname": "Alice"})
	alice.must("PUT", "/profile/"+alice.user+"/avatar_url", object{"avatar_url": "http://example.org/alice.png"})
	if got := bob.must("GET", "/profile/"+alice.user+"/displayname", nil); got["displayname"] != "Alice" {
		t.Errorf("name: %v", got)
	}
	if got := bob.must("GET", "/profile/"+alice.user, nil); got["avatar_url"] != "http://example.org/alice.png" {
		t.Errorf("profile: %v", got)
	}
	bob.refused("PUT", "/profile/"+alice.user+"/displayname", object{"displayname": "x"}, 403, "M_FORBIDDEN")
}

func TestPresenceList(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		alice.must("PUT", "/presence/"+alice.user+"/status", object{"presence": "free_for_chat", "status_msg": "come in"})
		bob.refused("GET", "/presence/"+alice.user+"/status", nil, 403, "M_FORBIDDEN")
		bob.must("POST", "/presence/list", object{"invite": []string{alice.user}})
		if list := bob.list("GET", "/presence/list"); len(list) != 1 || list[0]["user_id"] != alice.user || list[0]["accepted"] != false || list[0]["presence"] != nil {
			t.Errorf("while alice has not answered: %v", list)
		}
		alice.must("POST", "/presence/list", object{"accept": []string{bob.user}})
		if list := bob.list("GET", "/presence/list"); len(list) != 1 || list[0]["accepted"] != true || list[0]["presence"] != "online" || list[0]["status_msg"] != "come in" || list[0]["last_active_ago"] == nil {
			t.Errorf("the list: %v", list)
		}
		bob.must("GET", "/presence/"+alice.user+"/status", nil)
		// Whoever has the other on their list agrees with being on the other's.
		alice.must("POST", "/presence/list/"+alice.user, object{"invite": []string{bob.user}})
		if list := alice.list("GET", "/presence/list/"+alice.user); len(list) != 1 || list[0]["accepted"] != true {
			t.Errorf("the other list: %v", list)
		}
		alice.must("POST", "/presence/list", object{"deny": []string{bob.user}})
		bob.refused("GET", "/presence/"+alice.user+"/status", nil, 403, "M_FORBIDDEN")
		bob.must("POST", "/presence/list", object{"drop": []string{alice.user}})
		if list := bob.list("GET", "/presence/list"); len(list) != 0 {
			t.Errorf("a list with nobody: %v", list)
		}
		// An own list is nobody's permission, whatever a client writes there.
		bob.must("POST", "/presence/list", object{"accept": []string{alice.user}})
		bob.refused("GET", "/presence/"+alice.user+"/status", nil, 403, "M_FORBIDDEN")
		bob.refused("POST", "/presence/list", object{"invite": []string{"@nobody:hs.example"}}, 404, "M_NOT_FOUND")
		bob.refused("POST", "/presence/list", object{"invite": "x"}, 400, "M_BAD_JSON")
		bob.refused("GET", "/presence/list/"+alice.user, nil, 403, "M_FORBIDDEN")
		bob.refused("PUT", "/presence/"+alice.user+"/status", object{"presence": "online"}, 403, "M_FORBIDDEN")
		bob.must("PUT", "/presence/"+bob.user+"/status", object{"presence": "hidden"})
	})
}
