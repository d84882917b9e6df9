package clientapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/internal/testkit"
)

const aliceID = "@alice:hs.example"

func TestProfile(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		token := s.register("alice")
		const path = v3 + "/profile/" + aliceID
		s.must("PUT", path+"/displayname", token, `{"displayname":"Alice \u2764 <b>","ignored":1}`)
		s.must("PUT", path+"/avatar_url", token, `{"avatar_url":"mxc://hs.example/abc"}`)
		s.must("PUT", path+"/m.tz", token, `{"m.tz":"Europe/London"}`)
		s.must("PUT", path+"/org.example.job", token, `{"org.example.job":{"title":["Cook",1.5,null]}}`)
		want := `{"avatar_url":"mxc://hs.example/abc","displayname":"Alice ❤ <b>","m.tz":"Europe/London","org.example.job":{"title":["Cook",1.5,null]}}`
		var got, expected map[string]any
		r := s.must("GET", path, "", "")
		_ = json.Unmarshal([]byte(r.body), &got)
		_ = json.Unmarshal([]byte(want), &expected)
		if fmt.Sprint(got) != fmt.Sprint(expected) {
			t.Errorf("profile %s, want %s", r.body, want)
		}
		if r := s.must("GET", "/_matrix/client/r0/profile/%40alice%3Ahs.example/m.tz", "", ""); r.body != `{"m.tz":"Europe/London"}` {
			t.Errorf("field: %s", r.body)
		}
		if name, avatar, err := s.accounts.Profile(t.Context(), aliceID); name != "Alice ❤ <b>" || avatar != "mxc://hs.example/abc" || err != nil {
			t.Errorf("for member events: %q %q %v", name, avatar, err)
		}
		s.must("DELETE", path+"/m.tz", token, "")
		s.must("DELETE", path+"/m.tz", token, "")
		s.must("PUT", path+"/displayname", token, `{"displayname":""}`)
		s.refused("GET", path+"/m.tz", "", "", 404, "M_NOT_FOUND")
		s.refused("GET", path+"/displayname", "", "", 404, "M_NOT_FOUND")
		told := []string{"displayname", "displayname", "avatar_url", "m.tz", "org.example.job", "m.tz", "displayname"}
		for i := range told {
			told[i] = aliceID + " " + told[i]
		}
		if !slices.Equal(s.changes.profiles, told) {
			t.Errorf("observers were told %q, want %q", s.changes.profiles, told)
		}
		if r := s.must("GET", v3+"/profile/@irc_asked:hs.example/displayname", "", ""); r.field("displayname") != "Made when asked" {
			t.Errorf("a user whom the application service made when asked: %s", r.body)
		}
	})
}

func TestProfileRefuses(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	token := s.register("alice")
	s.register("bob")
	const path = v3 + "/profile/" + aliceID
	for _, tt := range []struct {
		method, target, body string
		status               int
		code                 string
	}{
		{"GET", v3 + "/profile/@nobody:hs.example", "", 404, "M_NOT_FOUND"},
		{"GET", v3 + "/profile/@irc_nobody:hs.example", "", 404, "M_NOT_FOUND"},
		{"GET", v3 + "/profile/@alice:elsewhere", "", 404, "M_NOT_FOUND"},
		{"GET", v3 + "/profile/@alice:elsewhere/displayname", "", 404, "M_NOT_FOUND"},
		{"GET", v3 + "/profile/alice", "", 400, "M_INVALID_PARAM"},
		{"GET", path + "/Bad", "", 400, "M_INVALID_PARAM"},
		{"PUT", v3 + "/profile/@bob:hs.example/displayname", `{"displayname":"x"}`, 403, "M_FORBIDDEN"},
		{"DELETE", v3 + "/profile/@bob:hs.example/displayname", ``, 403, "M_FORBIDDEN"},
		{"PUT", path + "/displayname", `{"displayname":7}`, 400, "M_BAD_JSON"},
		{"PUT", path + "/displayname", `{"displayname":null}`, 400, "M_BAD_JSON"},
		{"PUT", path + "/displayname", `{"displayname":"a\u0000"}`, 400, "M_BAD_JSON"},
		{"PUT", path + "/displayname", `{"name":"x"}`, 400, "M_MISSING_PARAM"},
		{"PUT", path + "/displayname", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", path + "/displayname", `{`, 400, "M_NOT_JSON"},
		{"PUT", path + "/displayname", ``, 400, "M_NOT_JSON"},
		{"PUT", path + "/displayname", `[]`, 400, "M_BAD_JSON"},
		{"PUT", path + "/displayname", `{"displayname":"` + strings.Repeat("x", 1025) + `"}`, 400, "M_INVALID_PARAM"},
		{"PUT", path + "/avatar_url", `{"avatar_url":["mxc://hs.example/abc"]}`, 400, "M_BAD_JSON"},
		{"PUT", path + "/avatar_url", `{"avatar_url":"mxc://` + strings.Repeat("x", 1024) + `"}`, 400, "M_INVALID_PARAM"},
		{"PUT", path + "/m.tz", `{"m.tz":1}`, 400, "M_BAD_JSON"},
		{"PUT", path + "/nodot", `{"nodot":1}`, 400, "M_INVALID_PARAM"},
		{"PUT", path + "/org.Example", `{"org.Example":1}`, 400, "M_INVALID_PARAM"},
		{"PUT", path + "/org." + strings.Repeat("x", 252), `{}`, 400, "M_KEY_TOO_LARGE"},
		{"PUT", path + "/org." + strings.Repeat("x", 252), `{"org.` + strings.Repeat("x", 252) + `":1}`, 400, "M_KEY_TOO_LARGE"},
		{"DELETE", path + "/nodot", ``, 400, "M_INVALID_PARAM"},
		{"PUT", path + "/org.example.big", `{"org.example.big":"` + strings.Repeat("x", 64<<10) + `"}`, 400, "M_PROFILE_TOO_LARGE"},
	} {
		s.refused(tt.method, tt.target, token, tt.body, tt.status, tt.code)
	}
	for i, status := range []int{200, 200, 400} {
		name := fmt.Sprintf("org.example.part%d", i)
		if r := s.do("PUT", path+"/"+name, token, `{"`+name+`":"`+strings.Repeat("x", 30<<10)+`"}`); r.status != status {
			t.Errorf("part %d of a large profile: %d %s", i, r.status, r.body)
		}
	}
}

func TestAccountData(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		token := s.register("alice")
		const user, room = v3 + "/user/" + aliceID, v3 + "/user/" + aliceID + "/rooms/!r:hs.example"
		s.must("PUT", user+"/account_data/org.example", token, `{"value": 1.5}`)
		first := s.changes.positions[aliceID]
		s.must("PUT", user+"/account_data/org.example", token, `{"value":"second"}`)
		s.must("PUT", room+"/account_data/org.example", token, `{"value":"room"}`)
		if r := s.must("GET", user+"/account_data/org.example", token, ""); r.body != `{"value":"second"}` {
			t.Errorf("global: %s", r.body)
		}
		if r := s.must("GET", room+"/account_data/org.example", token, ""); r.body != `{"value":"room"}` {
			t.Errorf("room: %s", r.body)
		}
		last := s.changes.positions[aliceID]
		if first == 0 || last != first+2 {
			t.Errorf("positions %d, %d", first, last)
		}
		since := func(since int64) string {
			events, err := s.accounts.AccountDataSince(t.Context(), aliceID, since, last)
			if err != nil {
				t.Fatal(err)
			}
			rooms, err := s.accounts.RoomAccountDataSince(t.Context(), aliceID, since, last)
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%s %s", events, rooms)
		}
		if got := since(first); got != `[{"content":{"value":"second"},"type":"org.example"}] map[!r:hs.example:[{"content":{"value":"room"},"type":"org.example"}]]` {
			t.Errorf("since %d: %s", first, got)
		}
		if got := since(last); got != "[] map[]" {
			t.Errorf("since the last change: %s", got)
		}
		if got := since(0); !strings.Contains(got, `"type":"m.push_rules"`) || !strings.Contains(got, ".m.rule.master") {
			t.Errorf("from the beginning: %s", got)
		}
	})
}

func TestAccountDataRefuses(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	token := s.register("alice")
	const user, room = v3 + "/user/" + aliceID, v3 + "/user/" + aliceID + "/rooms/!r:hs.example"
	for _, tt := range []struct {
		method, target, body string
		status               int
		code                 string
	}{
		{"GET", user + "/account_data/x", "", 404, "M_NOT_FOUND"},
		{"GET", room + "/account_data/x", "", 404, "M_NOT_FOUND"},
		{"GET", room + "/account_data/m.push_rules", "", 404, "M_NOT_FOUND"},
		{"PUT", user + "/account_data/m.push_rules", "{}", 405, "M_BAD_JSON"},
		{"PUT", user + "/account_data/m.fully_read", "{}", 405, "M_BAD_JSON"},
		{"PUT", room + "/account_data/m.push_rules", "{}", 405, "M_BAD_JSON"},
		{"PUT", room + "/account_data/m.fully_read", "{}", 405, "M_BAD_JSON"},
		{"PUT", user + "/account_data/x", "[]", 400, "M_BAD_JSON"},
		{"PUT", user + "/account_data/x", "{", 400, "M_NOT_JSON"},
		{"PUT", user + "/account_data/" + strings.Repeat("x", 256), "{}", 400, "M_INVALID_PARAM"},
		{"PUT", v3 + "/user/@bob:hs.example/account_data/x", "{}", 403, "M_FORBIDDEN"},
		{"GET", v3 + "/user/@bob:hs.example/account_data/x", "", 403, "M_FORBIDDEN"},
		{"PUT", v3 + "/user/@bob:hs.example/rooms/!r:hs.example/account_data/x", "{}", 403, "M_FORBIDDEN"},
		{"GET", v3 + "/user/@bob:hs.example/rooms/!r:hs.example/account_data/x", "", 403, "M_FORBIDDEN"},
		{"PUT", user + "/rooms/@notaroom:hs.example/account_data/x", "{}", 400, "M_INVALID_PARAM"},
		{"GET", user + "/rooms/notaroom/account_data/x", "", 400, "M_INVALID_PARAM"},
		{"GET", v3 + "/user/nobody/account_data/x", "", 400, "M_INVALID_PARAM"},
		{"PUT", room + "/tags/" + strings.Repeat("x", 256), "{}", 400, "M_INVALID_PARAM"},
		{"PUT", room + "/tags/x", `{"order":"first"}`, 400, "M_BAD_JSON"},
		{"PUT", room + "/tags/x", `{"order":1.5}`, 400, "M_INVALID_PARAM"},
		{"PUT", room + "/tags/x", `[]`, 400, "M_BAD_JSON"},
		{"PUT", v3 + "/user/@bob:hs.example/rooms/!r:hs.example/tags/x", "{}", 403, "M_FORBIDDEN"},
		{"DELETE", v3 + "/user/@bob:hs.example/rooms/!r:hs.example/tags/x", "", 403, "M_FORBIDDEN"},
		{"GET", v3 + "/user/@bob:hs.example/rooms/!r:hs.example/tags", "", 403, "M_FORBIDDEN"},
		{"POST", v3 + "/user/@bob:hs.example/filter", "{}", 403, "M_FORBIDDEN"},
		{"GET", v3 + "/user/@bob:hs.example/filter/1", "", 403, "M_FORBIDDEN"},
		{"POST", user + "/filter", `{"room":{"timeline":{"rooms":["x"]}}}`, 400, "M_INVALID_PARAM"},
		{"POST", user + "/filter", `{"presence":7}`, 400, "M_BAD_JSON"},
		{"POST", user + "/filter", ``, 400, "M_NOT_JSON"},
		{"POST", user + "/filter", `{"event_fields":["` + strings.Repeat("x", 64<<10) + `"]}`, 413, "M_TOO_LARGE"},
		{"GET", user + "/filter/99", "", 404, "M_NOT_FOUND"},
		{"GET", user + "/filter/x", "", 404, "M_NOT_FOUND"},
	} {
		s.refused(tt.method, tt.target, token, tt.body, tt.status, tt.code)
	}
}

func TestTags(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		token := s.register("alice")
		const room = v3 + "/user/" + aliceID + "/rooms/!r:hs.example"
		if r := s.must("GET", room+"/tags", token, ""); r.body != `{"tags":{}}` {
			t.Errorf("none: %s", r.body)
		}
		s.must("PUT", room+"/tags/m.favourite", token, `{"order":0.25,"org.example":true}`)
		s.must("PUT", room+"/tags/u.Work%2FPlay", token, `{}`)
		const both = `{"tags":{"m.favourite":{"order":0.25,"org.example":true},"u.Work/Play":{}}}`
		if r := s.must("GET", room+"/tags", token, ""); r.body != both {
			t.Errorf("two: %s", r.body)
		}
		if r := s.must("GET", room+"/account_data/m.tag", token, ""); r.body != both {
			t.Errorf("as account data: %s", r.body)
		}
		s.must("DELETE", room+"/tags/m.favourite", token, "")
		before := s.changes.positions[aliceID]
		s.must("DELETE", room+"/tags/m.favourite", token, "")
		if s.changes.positions[aliceID] != before {
			t.Error("deleting a tag that is not there wakes clients")
		}
		if r := s.must("GET", room+"/tags", token, ""); r.body != `{"tags":{"u.Work/Play":{}}}` {
			t.Errorf("one: %s", r.body)
		}
		s.must("PUT", room+"/account_data/m.tag", token, `{"tags":"nonsense"}`)
		s.must("PUT", room+"/tags/m.lowpriority", token, `{"order":1}`)
		if r := s.must("GET", room+"/tags", token, ""); r.body != `{"tags":{"m.lowpriority":{"order":1}}}` {
			t.Errorf("after nonsense: %s", r.body)
		}
	})
}

func TestFilters(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		token := s.register("alice")
		const path = v3 + "/user/" + aliceID + "/filter"
		const filter = `{"room":{"timeline":{"limit":10,"types":["m.room.*"]}},"event_format":"client"}`
		id := s.must("POST", path, token, filter).field("filter_id")
		if r := s.must("GET", path+"/"+id, token, ""); r.body != filter {
			t.Errorf("filter %s: %s", id, r.body)
		}
		if again := s.must("POST", path, token, strings.Replace(filter, ":", " : ", 1)).field("filter_id"); again != id {
			t.Errorf("the same filter has the IDs %s and %s", id, again)
		}
		if other := s.must("POST", path, token, `{}`).field("filter_id"); other == id {
			t.Error("two filters have one ID")
		}
		parsed, err := accounts.ParseFilter([]byte(filter))
		if err != nil || *parsed.Room.Timeline.Limit != 10 {
			t.Errorf("%+v, %v", parsed, err)
		}
	})
}
