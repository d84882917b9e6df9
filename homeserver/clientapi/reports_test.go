package clientapi_test

import (
	"strings"
	"testing"

	"trestle/internal/config"
	"trestle/internal/testkit"
)

func TestReports(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database)
		alice, bob := s.person("alice"), s.person("bob")
		room := alice.must("POST", v3+"/createRoom", object{"preset": "public_chat"}).field("room_id")
		event := alice.say(room, "rude")
		report := v3 + "/rooms/" + room + "/report"
		bob.refused("POST", report+"/"+event, object{"reason": "I only heard of it"}, 404, "M_NOT_FOUND")
		bob.must("POST", report, object{"reason": "I saw it in the directory"})
		bob.must("POST", v3+"/users/"+alice.user+"/report", object{"reason": ""})
		bob.join(room)
		bob.must("POST", report+"/"+event, object{"reason": "rude", "score": -100})
		bob.must("POST", report+"/"+event, object{})
		bob.refused("POST", report+"/$unknown", object{}, 404, "M_NOT_FOUND")
		bob.refused("POST", v3+"/rooms/!unknown:hs.example/report", object{"reason": ""}, 404, "M_NOT_FOUND")
		bob.refused("POST", v3+"/rooms/!unknown:hs.example/report/"+event, object{}, 404, "M_NOT_FOUND")
		bob.refused("POST", v3+"/users/@nobody:hs.example/report", object{"reason": ""}, 404, "M_NOT_FOUND")
		bob.refused("POST", v3+"/users/@nobody:elsewhere/report", object{"reason": ""}, 404, "M_NOT_FOUND")
		bob.refused("POST", report, object{"reason": strings.Repeat("x", 5000)}, 413, "M_TOO_LARGE")
		nonsense := &device{wholeServer: s.plain(), token: bob.token}
		nonsense.refused("POST", report, object{}, 400, "M_MISSING_PARAM")
		nonsense.refused("POST", report+"/"+event, object{"score": "bad"}, 400, "M_BAD_JSON")
		bob.must("POST", v3+"/rooms/"+room+"/leave", object{})
		bob.refused("POST", report+"/"+event, object{"reason": "too late"}, 404, "M_NOT_FOUND")
	})
}

// Searching and reporting have buckets of their own.
func TestSearchAndReportsAreLimited(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, database string) {
		s := newWholeServer(t, database, func(cfg *config.Config) {
			cfg.NoRateLimits = false
			cfg.RateLimits["search"] = config.RateLimit{PerSecond: 0.001, Burst: 2}
			cfg.RateLimits["report"] = config.RateLimit{PerSecond: 0.001, Burst: 1}
		})
		alice := s.person("alice")
		room := alice.room()
		body := object{"search_categories": object{"room_events": object{"search_term": "x"}}}
		alice.must("POST", v3+"/search", body)
		alice.must("POST", v3+"/search", body)
		alice.refused("POST", v3+"/search", body, 429, "M_LIMIT_EXCEEDED")
		alice.must("POST", v3+"/rooms/"+room+"/report", object{"reason": ""})
		alice.refused("POST", v3+"/rooms/"+room+"/report", object{"reason": ""}, 429, "M_LIMIT_EXCEEDED")
		alice.must("GET", v3+"/account/whoami", nil)
	})
}
