package clientapi_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/homeserver/api"
	"trestle/homeserver/clientapi"
	"trestle/homeserver/encryption"
	"trestle/homeserver/ephemeral"
	"trestle/homeserver/media"
	"trestle/homeserver/rooms"
	"trestle/homeserver/sso"
	"trestle/homeserver/syncer"
	"trestle/internal/testkit"
)

// Whatever is in paths, queries and bodies, the server answers with an error of
// the client's or does what was asked, and never fails.
func TestNonsenseEverywhere(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice := s.person("alice")
		// Requests that break the specification are the point here.
		alice.wholeServer = &wholeServer{t: s.t, url: s.url, http: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		stranger := &device{wholeServer: s}
		wrong := &device{wholeServer: s, token: "wrong"}
		room := alice.must("POST", v3+"/createRoom", `{"room_alias_name":"hall","visibility":"public"}`).field("room_id")
		event := alice.must("PUT", v3+"/rooms/"+room+"/send/m.room.message/1", `{"body":"x"}`).field("event_id")
		valid := strings.NewReplacer("{roomId}", room, "{roomIdOrAlias}", room, "{eventId}", event, "{roomAlias}", "%23hall:hs.example", "{userId}", alice.user,
			"{eventType}", "x.type", "{stateKey}", "k", "{txnId}", "t", "{receiptType}", "m.read", "{networkId}", "n")
		routes := clientapi.Routes(clientapi.Services{
			Accounts: new(accounts.Service), Rooms: new(rooms.Service), Keys: new(encryption.Service),
			Ephemeral: new(ephemeral.Service), Media: new(media.Service), Sync: new(syncer.Service), SSO: new(sso.Service),
		})
		if len(routes) < 80 {
			t.Fatalf("%d routes", len(routes))
		}
		for _, route := range routes {
			path := valid.Replace(route.Path)
			if strings.Contains(path, "/logout") || strings.Contains(path, "deactivate") || strings.Contains(path, "password") {
				continue
			}
			if route.Auth != api.None && route.Auth != api.Optional {
				stranger.refused(route.Method, path, nil, 401, "M_MISSING_TOKEN")
				wrong.refused(route.Method, path, nil, 401, "M_UNKNOWN_TOKEN")
			}
			for _, part := range []string{"%00", "%F0%28", "!%00:hs.example", "$%00", "@%00:hs.example", "%23%00:hs.example", "!nowhere:hs.example",
				"$nothing", "%23nothing:hs.example", "@nobody:hs.example", "..", "%2F", strings.Repeat("x", 300), "%E2%80%AE"} {
				alice.nonsense(route.Method, replaceParams(route.Path, part), `{}`)
			}
			alice.nonsense(route.Method, path+"?"+oddQuery.Encode(), `{}`)
			if route.Method == "GET" {
				continue
			}
			for _, body := range []string{"", "{", "null", "[]", `"x"`, "1", "{\"a\":\"\x81\"}", oddBody("1"), oddBody(`"\u0000"`), oddBody("[]"), oddBody("{}"),
				oddBody("null"), oddBody(`[null]`), oddBody(`[{}]`), oddBody("1e400"), oddBody("-1"), `{"a":1.5}`, `{"a":9007199254740993}`, `{"a":1,"a":2}`} {
				alice.nonsense(route.Method, path, body)
			}
		}
	})
}

// replaceParams puts one text in the place of every parameter of a path.
func replaceParams(path, with string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "{") {
			parts[i] = with
		}
	}
	return strings.Join(parts, "/")
}

var oddQuery = func() url.Values {
	q := url.Values{}
	for _, name := range []string{"from", "to", "since", "limit", "filter", "timeout", "at", "ts", "dir", "format", "membership", "server", "set_presence", "full_state"} {
		q.Set(name, "\x00")
	}
	return q
}()

// oddBody gives a value to all members that requests know.
func oddBody(value string) string {
	var b strings.Builder
	for i, name := range strings.Fields(`preset visibility name topic room_alias_name room_version creation_content initial_state
		power_level_content_override invite invite_3pid is_direct reason user_id membership body redacts room_id limit since filter
		generic_search_term include_all_networks third_party_instance_id search_term transaction_id timeout typing thread_id messages
		device_keys one_time_keys m.fully_read m.read auth_data algorithm version sessions alias alt_aliases presence status_msg`) {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%q:%s", name, value)
	}
	return "{" + b.String() + "}"
}

func (d *device) nonsense(method, path, body string) {
	d.t.Helper()
	r := d.do(method, path, body)
	explained := strings.HasPrefix(r.field("errcode"), "M_") || strings.HasPrefix(r.body, "<!DOCTYPE html>") // for people
	if r.status >= 500 || r.status >= 300 && r.status != 401 && !explained {
		d.t.Errorf("%s %.300s %.300q: %d %s", method, path, body, r.status, r.body)
	}
}

// What is wrong is told by the code that the specification has for it.
func TestWrongRequestsAboutRooms(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		private := alice.must("POST", v3+"/createRoom", `{}`).field("room_id")
		public := alice.must("POST", v3+"/createRoom", `{"preset":"public_chat","room_alias_name":"hall"}`).field("room_id")
		bob.must("POST", v3+"/join/"+public, `{}`)
		secret := alice.must("PUT", v3+"/rooms/"+private+"/send/m.room.message/1", `{"body":"x"}`).field("event_id")
		in, out := v3+"/rooms/"+public, v3+"/rooms/"+private
		nowhere := v3 + "/rooms/!nowhere:hs.example"
		for _, c := range []struct {
			method, path, body string
			status             int
			code               string
		}{
			{"POST", v3 + "/createRoom", `{"room_version":"99"}`, 400, "M_UNSUPPORTED_ROOM_VERSION"},
			{"POST", v3 + "/createRoom", `{"room_version":1}`, 400, "M_BAD_JSON"},
			{"POST", v3 + "/createRoom", `{"preset":"nice"}`, 400, "M_INVALID_PARAM"},
			{"POST", v3 + "/createRoom", `{"visibility":"nice"}`, 400, "M_INVALID_PARAM"},
			{"POST", v3 + "/createRoom", `{"room_alias_name":"hall"}`, 400, "M_ROOM_IN_USE"},
			{"POST", v3 + "/createRoom", `{"room_alias_name":"a:b"}`, 400, "M_INVALID_PARAM"},
			{"POST", v3 + "/createRoom", `{"invite":["bob"]}`, 400, "M_INVALID_PARAM"},
			{"POST", v3 + "/createRoom", `{"initial_state":[{"content":{}}]}`, 400, "M_BAD_JSON"},
			{"POST", v3 + "/createRoom", `{"initial_state":[{"type":"m.room.power_levels","content":{"users":{"nobody":1}}}]}`, 400, "M_INVALID_ROOM_STATE"},
			{"POST", v3 + "/createRoom", `{"power_level_content_override":{"ban":"fifty"}}`, 400, "M_INVALID_ROOM_STATE"},
			{"POST", v3 + "/createRoom", `{"creation_content":{"additional_creators":["x"]}}`, 400, "M_INVALID_ROOM_STATE"},
			{"POST", v3 + "/join/" + private, `{}`, 403, "M_FORBIDDEN"},
			{"POST", v3 + "/join/!nowhere:hs.example", `{}`, 404, "M_NOT_FOUND"},
			{"POST", v3 + "/join/%23nowhere:hs.example", `{}`, 404, "M_NOT_FOUND"},
			{"POST", v3 + "/join/hall", `{}`, 400, "M_INVALID_PARAM"},
			{"POST", v3 + "/knock/" + private, `{}`, 403, "M_FORBIDDEN"},
			{"POST", nowhere + "/leave", `{}`, 403, "M_FORBIDDEN"},
			{"POST", in + "/forget", `{}`, 400, "M_UNKNOWN"},
			{"POST", in + "/invite", `{}`, 400, "M_MISSING_PARAM"},
			{"POST", in + "/invite", `{"user_id":"bob"}`, 400, "M_INVALID_PARAM"},
			{"POST", in + "/invite", `{"user_id":"` + alice.user + `"}`, 403, "M_FORBIDDEN"},
			{"POST", out + "/invite", `{"user_id":"` + alice.user + `"}`, 403, "M_FORBIDDEN"},
			{"POST", in + "/kick", `{}`, 400, "M_MISSING_PARAM"},
			{"POST", in + "/kick", `{"user_id":"` + alice.user + `"}`, 403, "M_FORBIDDEN"},
			{"POST", in + "/ban", `{"user_id":1}`, 400, "M_BAD_JSON"},
			{"POST", in + "/unban", `{"user_id":"@carol:hs.example"}`, 403, "M_BAD_STATE"},
			{"PUT", in + "/send/m.room.message/1", `[]`, 400, "M_BAD_JSON"},
			{"PUT", in + "/send/m.room.message/1", `{`, 400, "M_NOT_JSON"},
			{"PUT", in + "/send/m.room.message/1", `{"n":1.5}`, 400, "M_BAD_JSON"},
			{"PUT", in + "/send/m.room.message/1", `{"n":9007199254740993}`, 400, "M_BAD_JSON"},
			{"PUT", in + "/send/m.room.message/1", `{"body":"` + strings.Repeat("x", 66_000) + `"}`, 413, "M_TOO_LARGE"},
			{"PUT", in + "/send/" + strings.Repeat("x", 256) + "/1", `{}`, 413, "M_TOO_LARGE"},
			{"PUT", out + "/send/m.room.message/1", `{}`, 403, "M_FORBIDDEN"},
			{"PUT", nowhere + "/send/m.room.message/1", `{}`, 403, "M_FORBIDDEN"},
			{"PUT", in + "/send/m.room.member/1", `{"membership":"join"}`, 403, "M_FORBIDDEN"},
			{"PUT", in + "/send/m.room.create/1", `{}`, 403, "M_FORBIDDEN"},
			{"PUT", in + "/state/m.room.name/", `{"name":"bob's"}`, 403, "M_FORBIDDEN"},
			{"PUT", in + "/state/m.room.member/" + bob.user, `{"membership":"happy"}`, 400, "M_BAD_JSON"},
			{"PUT", in + "/state/m.room.member/" + alice.user, `{"membership":"leave"}`, 403, "M_FORBIDDEN"},
			{"PUT", in + "/state/m.room.create/", `{}`, 403, "M_FORBIDDEN"},
			{"PUT", in + "/redact/$nothing/1", `{}`, 404, "M_NOT_FOUND"},
			{"PUT", in + "/redact/nothing/1", `{}`, 400, "M_INVALID_PARAM"},
			{"GET", in + "/event/$nothing", "", 404, "M_NOT_FOUND"},
			{"GET", in + "/event/" + secret, "", 404, "M_NOT_FOUND"},
			{"GET", out + "/event/" + secret, "", 404, "M_NOT_FOUND"},
			{"GET", out + "/context/" + secret, "", 404, "M_NOT_FOUND"},
			{"GET", in + "/context/" + secret, "", 404, "M_NOT_FOUND"},
			{"GET", in + "/state/m.room.name", "", 404, "M_NOT_FOUND"},
			{"GET", in + "/state/m.room.create?format=xml", "", 400, "M_INVALID_PARAM"},
			{"GET", out + "/state", "", 403, "M_FORBIDDEN"},
			{"GET", nowhere + "/state", "", 403, "M_FORBIDDEN"},
			{"GET", out + "/state/m.room.create", "", 403, "M_FORBIDDEN"},
			{"GET", out + "/members", "", 403, "M_FORBIDDEN"},
			{"GET", in + "/members?at=yesterday", "", 400, "M_INVALID_PARAM"},
			{"GET", out + "/joined_members", "", 403, "M_FORBIDDEN"},
			{"GET", out + "/messages?dir=b", "", 403, "M_FORBIDDEN"},
			{"GET", nowhere + "/messages?dir=b", "", 403, "M_FORBIDDEN"},
			{"GET", in + "/messages", "", 400, "M_MISSING_PARAM"},
			{"GET", in + "/messages?dir=up", "", 400, "M_INVALID_PARAM"},
			{"GET", in + "/messages?dir=b&limit=-1", "", 400, "M_INVALID_PARAM"},
			{"GET", in + "/messages?dir=b&limit=many", "", 400, "M_INVALID_PARAM"},
			{"GET", in + "/messages?dir=b&from=x", "", 400, "M_INVALID_PARAM"},
			{"GET", in + "/messages?dir=b&filter=%7B", "", 400, "M_NOT_JSON"},
			{"GET", v3 + "/sync?since=x", "", 400, "M_INVALID_PARAM"},
			{"GET", v3 + "/sync?timeout=-1", "", 400, "M_INVALID_PARAM"},
			{"GET", v3 + "/sync?filter=%7B%22room%22%3A1%7D", "", 400, "M_BAD_JSON"},
			{"GET", v3 + "/sync?set_presence=sleepy", "", 400, "M_INVALID_PARAM"},
			{"GET", v3 + "/directory/room/%23nowhere:hs.example", "", 404, "M_NOT_FOUND"},
			{"GET", v3 + "/directory/room/nowhere", "", 400, "M_INVALID_PARAM"},
			{"PUT", v3 + "/directory/room/%23new:elsewhere", `{"room_id":"` + public + `"}`, 400, "M_INVALID_PARAM"},
			{"PUT", v3 + "/directory/room/%23new:hs.example", `{}`, 400, "M_MISSING_PARAM"},
			{"PUT", v3 + "/directory/room/%23hall:hs.example", `{"room_id":"` + public + `"}`, 409, "M_UNKNOWN"},
			{"PUT", v3 + "/directory/room/%23new:hs.example", `{"room_id":"` + strings.TrimPrefix(out, v3+"/rooms/") + `"}`, 403, "M_FORBIDDEN"},
			{"DELETE", v3 + "/directory/room/%23hall:hs.example", "", 403, "M_FORBIDDEN"},
			{"DELETE", v3 + "/directory/room/%23none:hs.example", "", 404, "M_NOT_FOUND"},
			{"GET", out + "/aliases", "", 403, "M_FORBIDDEN"},
			{"GET", v3 + "/directory/list/room/!nowhere:hs.example", "", 404, "M_NOT_FOUND"},
			{"PUT", v3 + "/directory/list/room/" + public, `{"visibility":"private"}`, 403, "M_FORBIDDEN"},
			{"PUT", v3 + "/directory/list/room/" + public, `{"visibility":"nice"}`, 400, "M_INVALID_PARAM"},
			{"GET", v3 + "/publicRooms?since=x", "", 400, "M_INVALID_PARAM"},
			{"POST", v3 + "/publicRooms", `{"filter":1}`, 400, "M_BAD_JSON"},
			{"POST", v3 + "/user_directory/search", `{}`, 400, "M_MISSING_PARAM"},
			{"PUT", v3 + "/directory/list/appservice/n/" + public, `{"visibility":"public"}`, 403, "M_FORBIDDEN"},
			{"POST", "/_matrix/client/v1/appservice/x/ping", `{}`, 403, "M_FORBIDDEN"},
		} {
			bob.refused(c.method, c.path, c.body, c.status, c.code)
		}
		// The owner of a room is bound by its rules too.
		for _, c := range []struct{ path, body, code string }{
			{"/state/m.room.canonical_alias/", `{"alias":"#none:hs.example"}`, "M_BAD_ALIAS"},
			{"/state/m.room.canonical_alias/", `{"alias":"none"}`, "M_INVALID_PARAM"},
			{"/state/m.room.canonical_alias/", `{"alt_aliases":"none"}`, "M_BAD_JSON"},
			{"/state/m.room.member/carol", `{"membership":"invite"}`, "M_INVALID_PARAM"},
		} {
			alice.refused("PUT", in+c.path, c.body, 400, c.code)
		}
	})
}

// Names that look like paths, as the state keys of widgets do, are names.
func TestNamesWithSlashesAndDots(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		alice := newWholeServer(t, database).person("alice")
		room := v3 + "/rooms/" + alice.must("POST", v3+"/createRoom", `{}`).field("room_id")
		for i, name := range []string{"https://widgets.example//a/../b?c#d", "..", ".", "//", "a+b c%2F", "/health"} {
			content := fmt.Sprintf(`{"n":%d}`, i)
			alice.must("PUT", room+"/state/x.widget/"+url.PathEscape(name), content)
			if r := alice.must("GET", room+"/state/x.widget/"+url.PathEscape(name), nil); r.body != content {
				t.Errorf("%q: %s", name, r.body)
			}
			alice.must("PUT", room+"/send/x.type/"+url.PathEscape(name), content)
		}
		for _, alias := range []string{"#irc_local_#a//b:hs.example", "#..:hs.example"} {
			alice.must("PUT", v3+"/directory/room/"+url.PathEscape(alias), map[string]string{"room_id": strings.TrimPrefix(room, v3+"/rooms/")})
			alice.must("GET", v3+"/directory/room/"+url.PathEscape(alias), nil)
		}
		alice.must("GET", "/metrics", nil)
		alice.refused("GET", "/_matrix/client/v3/../../health", nil, 404, "M_UNRECOGNIZED")
	})
}
