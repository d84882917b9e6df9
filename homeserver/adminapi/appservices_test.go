package adminapi_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/registration"
)

const own = "/_trestle/admin/v1"

// withService runs a homeserver that has the service irc, for @irc_…, and one
// without a URL.
func withService(t *testing.T, url string) (*server, *testkit.FakeAS) {
	t.Helper()
	as := testkit.NewJudgedAS(t, "")
	reg := registration.Generate("irc", as.URL, "ircbot")
	as.HSToken = reg.HSToken
	users, err := registration.NewNamespace("@irc_.*:hs.example", true)
	if err != nil {
		t.Fatal(err)
	}
	reg.Namespaces.Users = []registration.Namespace{users}
	silent := registration.Generate("silent", "", "silent")
	return newServer(t, url, func(cfg *config.Config) {
		cfg.AppServices = []string{t.TempDir()}
		for _, r := range []*registration.Registration{reg, silent} {
			if err := r.Write(filepath.Join(cfg.AppServices[0], r.ID+".yaml")); err != nil {
				t.Fatal(err)
			}
		}
	}), as
}

// invites makes events that concern the service.
func (p *person) invites(n int) {
	p.t.Helper()
	room := p.room("private_chat", "x")
	for i := range n {
		p.must("POST", v3+"/rooms/"+room+"/invite", map[string]string{"user_id": fmt.Sprintf("@irc_%d:hs.example", i)})
	}
}

func TestAppServices(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s, as := withService(t, url)
		var status atomic.Int64
		status.Store(http.StatusTeapot)
		as.Answer = func(testkit.Attempt) int { return int(status.Load()) }
		as.Query = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "{}") }
		root, alice := s.admin(), s.person("alice")
		const irc = own + "/appservices/irc"
		list, _ := root.must("GET", own+"/appservices", nil).at("appservices").([]any)
		if len(list) != 2 {
			t.Errorf("the services are %v", list)
		}
		root.refused("GET", irc+"/transaction", nil, 404, "M_NOT_FOUND")
		alice.invites(1)
		shown := root.until(irc, func(r reply) bool { return r.at("attempts") != 0.0 })
		if shown.text("sender") != "@ircbot:hs.example" || shown.at("backlog") != 1.0 || !strings.Contains(shown.text("last_error"), "418") ||
			shown.at("next_attempt_ts") == nil || shown.at("oldest_ts") == nil || shown.at("paused_ts") != nil {
			t.Error(shown.body)
		}
		head := root.must("GET", irc+"/transaction", nil)
		id := head.text("transaction_id")
		if id == "" || id != shown.text("transaction_id") || !strings.Contains(head.text("body"), `"state_key":"@irc_0:hs.example"`) {
			t.Error(head.body)
		}
		root.must("POST", irc+"/pause", map[string]string{"reason": "a stone"})
		if r := root.must("GET", irc, nil); r.at("paused") != true || r.text("paused_reason") != "a stone" || r.at("paused_ts") == nil {
			t.Error(r.body)
		}
		root.refused("POST", irc+"/retry", nil, 409, "M_UNKNOWN")
		root.must("POST", irc+"/ping", nil)
		root.refused("POST", irc+"/skip", map[string]string{}, 400, "M_MISSING_PARAM")
		root.refused("POST", irc+"/skip", map[string]string{"transaction_id": "x", "reason": "it chokes"}, 409, "M_UNKNOWN")
		root.refused("POST", irc+"/skip", map[string]string{"transaction_id": id}, 400, "M_MISSING_PARAM")
		root.refused("DELETE", irc, nil, 400, "M_MISSING_PARAM")
		root.must("POST", irc+"/skip", map[string]string{"transaction_id": id, "reason": "it chokes"})
		root.must("POST", irc+"/resume", nil)
		letters := root.must("GET", irc+"/dead_letters?limit=1", nil)
		number := letterOf(t, letters)
		at := fmt.Sprintf("%s/dead_letters/%.0f", own, number)
		if r := root.must("GET", irc+"/dead_letters?from="+fmt.Sprint(letters.at("next_token")), nil); !strings.Contains(r.body, `"dead_letters":[]`) {
			t.Error(r.body)
		}
		if all := root.must("GET", own+"/dead_letters", nil); letterOf(t, all) != number {
			t.Error(all.body)
		}
		l := root.must("GET", at, nil)
		if l.text("body") != head.text("body") || l.text("reason") != "it chokes" || l.text("skipped_by") != root.user || l.text("appservice") != "irc" {
			t.Error(l.body)
		}
		root.refused("POST", at+"/replay", nil, 502, "M_BAD_STATUS")
		status.Store(http.StatusOK)
		root.must("POST", irc+"/retry", nil)
		root.must("POST", at+"/replay", nil)
		root.refused("GET", at, nil, 404, "M_NOT_FOUND")
		root.refused("DELETE", at+"?reason=old", nil, 404, "M_NOT_FOUND")
		if r := root.must("GET", irc, nil); r.at("dead_letters") != 0.0 || r.at("delivered_events") != 1.0 || r.at("backlog") != 0.0 {
			t.Error(r.body)
		}
		as.Until(t, 1) // and each repeat had the same bytes
		onRecord(t, root, id)
	})
}

// What waits can be given up at once, and so can what is left of a service that is gone.
func TestSkipAllAndForget(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s, as := withService(t, url)
		as.Answer = func(testkit.Attempt) int { return http.StatusTeapot }
		root, alice := s.admin(), s.person("alice")
		const irc, silent = own + "/appservices/irc", own + "/appservices/silent"
		alice.invites(3)
		root.until(irc, func(r reply) bool { return r.at("backlog") == 3.0 && r.at("attempts") != 0.0 })
		frozen := root.must("GET", irc, nil).at("frozen_transactions").(float64)
		why := map[string]string{"reason": "a flood"}
		alice.refused("POST", irc+"/skip_all", why, 403, "M_FORBIDDEN")
		root.refused("POST", irc+"/skip_all", map[string]string{}, 400, "M_MISSING_PARAM")
		root.refused("POST", silent+"/skip_all", why, 400, "M_URL_NOT_SET")
		root.refused("POST", own+"/appservices/nobody/skip_all", why, 404, "M_NOT_FOUND")
		r := root.must("POST", irc+"/skip_all", why)
		sum, _ := r.at("dead_letter_events").(float64)
		passed, _ := r.at("passed_events").(float64)
		if letters := r.at("dead_letters").(float64); sum+passed != 3 || letters < frozen || r.at("passed_at_most") != false {
			t.Error(r.body)
		}
		root.until(irc, func(now reply) bool {
			return now.at("backlog") == 0.0 && now.at("dead_letters") == r.at("dead_letters")
		})
		if r := root.must("GET", irc+"/log?limit=1", nil); !strings.Contains(r.body, `"action":"skip_all"`) || !strings.Contains(r.body, "now dead letters") || !strings.Contains(r.body, "a flood") {
			t.Error(r.body)
		}

		why["reason"] = "it moved"
		root.refused("POST", irc+"/forget", why, 409, "M_UNKNOWN")
		root.refused("POST", silent+"/forget", why, 409, "M_UNKNOWN")
		if r := root.must("GET", own+"/appservices", nil); !strings.Contains(r.body, `"gone":[]`) {
			t.Error(r.body)
		}
		root.must("DELETE", irc+"?reason=moved", nil)
		list, _ := root.must("GET", own+"/appservices", nil).at("gone").([]any)
		if len(list) != 1 || list[0].(map[string]any)["id"] != "irc" || list[0].(map[string]any)["dead_letters"] != r.at("dead_letters") {
			t.Errorf("gone are %v", list)
		}
		root.refused("POST", irc+"/forget", map[string]string{}, 400, "M_MISSING_PARAM")
		alice.refused("POST", irc+"/forget", why, 403, "M_FORBIDDEN")
		if kept := root.must("POST", irc+"/forget", why); kept.text("id") != "irc" || kept.at("dead_letters") != r.at("dead_letters") {
			t.Error(kept.body)
		}
		root.refused("POST", irc+"/forget", why, 404, "M_NOT_FOUND")
		for _, path := range []string{own + "/appservices", own + "/dead_letters"} {
			if r := root.must("GET", path, nil); strings.Contains(r.body, `"irc"`) {
				t.Error(r.body)
			}
		}
		if r := root.must("GET", own+"/log?limit=1", nil); !strings.Contains(r.body, `"action":"forget"`) || !strings.Contains(r.body, "it moved") {
			t.Error(r.body)
		}
	})
}

// onRecord looks at what the administrator has done to the service irc.
func onRecord(t *testing.T, root *person, transaction string) {
	t.Helper()
	var got []string
	for next := any(0.0); next != nil; {
		r := root.must("GET", fmt.Sprintf("%s/appservices/irc/log?limit=3&from=%v", own, next), nil)
		list, _ := r.at("log").([]any)
		for _, one := range list {
			d, _ := one.(map[string]any)
			got = append(got, fmt.Sprint(d["action"], " ", d["outcome"]))
			if d["by"] != root.user || d["appservice"] != "irc" || d["ts"].(float64) < 1e12 ||
				(d["action"] == "skip" || d["action"] == "replay") != (d["transaction_id"] != nil) || (d["outcome"] == "failed") != (d["error"] != nil) {
				t.Errorf("on record is %v", d)
			}
			if d["action"] == "skip" && d["outcome"] == "done" && (d["transaction_id"] != transaction || d["reason"] != "it chokes") {
				t.Errorf("on record is %v", d)
			}
		}
		next = r.at("next_token")
	}
	want := []string{"replay done", "retry done", "replay failed", "resume done", "skip done", "skip failed", "ping done", "pause done"}
	if !slices.Equal(got, want) {
		t.Errorf("on record is\n%q, want\n%q", got, want)
	}
	if r := root.must("GET", own+"/log?limit=1", nil); !strings.Contains(r.body, `"action":"replay"`) || r.at("next_token") == nil {
		t.Error(r.body)
	}
	root.refused("GET", own+"/log?limit=0", nil, 400, "M_INVALID_PARAM")
	if r := root.must("GET", own+"/appservices/coffee/log", nil); r.body != `{"log":[]}` {
		t.Error(r.body)
	}
}

// letterOf is the number of the one letter in a list.
func letterOf(t *testing.T, r reply) float64 {
	t.Helper()
	list, _ := r.at("dead_letters").([]any)
	if len(list) != 1 {
		t.Fatalf("the letters are %s", r.body)
	}
	l, _ := list[0].(map[string]any)
	number, _ := l["number"].(float64)
	return number
}

func TestAppServicesAreForAdministrators(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s, _ := withService(t, url)
		root, alice, nobody := s.admin(), s.person("alice"), &person{server: s}
		for operation, code := range map[string]string{
			"GET /appservices": "", "GET /appservices/%s": "M_NOT_FOUND", "GET /appservices/%s/transaction": "M_NOT_FOUND", "POST /appservices/%s/pause": "M_NOT_FOUND",
			"POST /appservices/%s/resume": "M_NOT_FOUND", "POST /appservices/%s/retry": "M_NOT_FOUND", "POST /appservices/%s/ping": "M_NOT_FOUND",
			"POST /appservices/%s/skip": "M_NOT_FOUND", "GET /appservices/%s/dead_letters": "", "GET /dead_letters": "", "GET /dead_letters/1": "M_NOT_FOUND",
			"POST /dead_letters/1/replay": "M_NOT_FOUND", "DELETE /dead_letters/1?reason=old": "M_NOT_FOUND", "DELETE /dead_letters/1": "M_MISSING_PARAM", "GET /dead_letters/x": "M_INVALID_PARAM",
			"GET /log": "", "GET /appservices/%s/log": "", "POST /appservices/%s/skip_all": "M_NOT_FOUND", "POST /appservices/%s/forget": "M_NOT_FOUND",
		} {
			method, path, _ := strings.Cut(operation, " ")
			path = own + strings.ReplaceAll(path, "%s", "none")
			var body any
			if method == "POST" {
				body = map[string]string{"transaction_id": "x", "reason": "it chokes"}
			}
			alice.refused(method, path, body, 403, "M_FORBIDDEN")
			nobody.refused(method, path, body, 401, "M_MISSING_TOKEN")
			if r := root.do(method, path, body); r.text("errcode") != code {
				t.Errorf("%s: %d %s", operation, r.status, r.body)
			}
		}
		root.refused("POST", own+"/appservices/silent/pause", nil, 400, "M_URL_NOT_SET")
		root.refused("POST", own+"/appservices/irc/pause", map[string]string{"reason": strings.Repeat("x", 1001)}, 400, "M_INVALID_PARAM")
	})
}
