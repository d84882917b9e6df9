package adminapi_test

import (
	"fmt"
	"strings"
	"testing"

	"trestle/internal/testkit"
)

func TestReports(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice, bob := s.admin(), s.person("alice"), s.person("bob")
		room := alice.room("public_chat", "Hall")
		event := alice.say(room, "rude words")
		bob.must("POST", v3+"/rooms/"+room+"/join", map[string]any{})
		bob.must("POST", v3+"/rooms/"+room+"/report/"+event, map[string]any{"reason": "rude", "score": -50})
		bob.must("POST", v3+"/rooms/"+room+"/report", map[string]string{"reason": "the room"})
		bob.must("POST", v3+"/users/"+alice.user+"/report", map[string]string{"reason": "the person"})
		alice.must("POST", v3+"/rooms/"+room+"/report/"+event, map[string]any{"reason": "sorry"})
		bob.must("POST", v3+"/rooms/"+room+"/report/"+event, map[string]any{"reason": "rude indeed"})

		bob.refused("GET", v1+"/event_reports", nil, 403, "M_FORBIDDEN")
		list := func(query string) (found []map[string]any, r reply) {
			t.Helper()
			r = root.must("GET", v1+"/"+query, nil)
			kind, _, _ := strings.Cut(query, "?")
			entries, _ := r.at(kind).([]any)
			for _, e := range entries {
				found = append(found, e.(map[string]any))
			}
			return found, r
		}
		all, r := list("event_reports")
		if len(all) != 2 || r.at("total") != 2.0 || all[0]["user_id"] != alice.user || all[1]["reason"] != "rude indeed" || all[1]["name"] != "Hall" {
			t.Fatal(r.body)
		}
		for query, want := range map[string]int{
			"event_reports?user_id=bob": 1, "event_reports?user_id=nobody": 0, "event_reports?room_id=" + room: 2,
			"event_reports?event_sender_user_id=alice": 2, "event_reports?event_sender_user_id=bob": 0, "event_reports?user_id=_ob": 0,
			"room_reports": 1, "user_reports": 1, "user_reports?target_user_id=alice": 1, "user_reports?target_user_id=bob": 0,
		} {
			if found, r := list(query); len(found) != want {
				t.Errorf("%s: %s", query, r.body)
			}
		}
		page, r := list("event_reports?limit=1&dir=f")
		if len(page) != 1 || page[0]["user_id"] != bob.user || r.at("next_token") != 1.0 {
			t.Error(r.body)
		}
		if page, r = list("event_reports?limit=1&dir=f&from=1"); len(page) != 1 || page[0]["user_id"] != alice.user || r.at("next_token") != nil {
			t.Error(r.body)
		}
		root.refused("GET", v1+"/event_reports?dir=x", nil, 400, "M_INVALID_PARAM")

		one := v1 + "/event_reports/" + fmt.Sprint(all[1]["id"])
		if r := root.must("GET", one, nil); r.at("event_json", "content", "body") != "rude words" || r.text("sender") != alice.user || r.text("event_id") != event {
			t.Error(r.body)
		}
		of, _ := list("user_reports")
		if r := root.must("GET", v1+"/user_reports/"+fmt.Sprint(of[0]["id"]), nil); r.text("target_user_id") != alice.user || r.text("reason") != "the person" {
			t.Error(r.body)
		}
		root.refused("GET", v1+"/room_reports/"+fmt.Sprint(of[0]["id"]), nil, 404, "M_NOT_FOUND")
		root.must("DELETE", one, nil)
		root.refused("DELETE", one, nil, 404, "M_NOT_FOUND")
		root.refused("GET", one, nil, 404, "M_NOT_FOUND")

		// A report outlives what it is about.
		root.must("DELETE", v1+"/rooms/"+room, map[string]any{})
		all, r = list("event_reports")
		if len(all) != 1 || all[0]["name"] != nil {
			t.Error(r.body)
		}
		if r := root.must("GET", v1+"/event_reports/"+fmt.Sprint(all[0]["id"]), nil); r.at("event_json") != nil {
			t.Error(r.body)
		}
	})
}
