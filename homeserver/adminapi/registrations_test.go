package adminapi_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"trestle/internal/config"
	"trestle/internal/testkit"
	"trestle/registration"
)

const services = "/_trestle/admin/v1/appservices"

// teaBot is a registration of @tea_…:hs.example, with a comment.
const teaBot = `# by hand
id: tea
url: null
as_token: "0123456789012345678901234567890123456789"
hs_token: "9876543210987654321098765432109876543210"
sender_localpart: tea_bot
namespaces:
  users: [{regex: '@tea_.*', exclusive: true}]
  aliases: [{regex: '#tea_.*', exclusive: true}]
  rooms: []
`

// findings is the texts of a report, a line each.
func findings(r reply) string {
	list, _ := r.at("findings").([]any)
	var text strings.Builder
	for _, f := range list {
		finding, _ := f.(map[string]any)
		level, _ := finding["level"].(string)
		words, _ := finding["text"].(string)
		text.WriteString(level + ": " + words + "\n")
	}
	return text.String()
}

func TestARegistrationComesChangesAndGoes(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root, alice := s.admin(), s.person("alice")
		for _, r := range []string{"POST " + services, "POST " + services + "/check", "POST " + services + "/reload", "POST " + services + "/tea/rotate_token", "DELETE " + services + "/tea"} {
			method, path, _ := strings.Cut(r, " ")
			alice.refused(method, path, map[string]any{}, 403, "M_FORBIDDEN")
		}
		added := root.must("POST", services, map[string]any{"registration": teaBot})
		file := added.text("file")
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || filepath.Base(file) != "tea.yaml" {
			t.Errorf("%s: %v, %v", file, info, err)
		}
		bot := &person{server: s, token: "0123456789012345678901234567890123456789"}
		if who := bot.must("GET", v3+"/account/whoami", nil).text("user_id"); who != "@tea_bot:hs.example" {
			t.Errorf("the service is %s", who)
		}
		root.refused("POST", services, map[string]any{"registration": teaBot}, 400, "M_INVALID_PARAM")
		root.refused("POST", services, map[string]any{"registration": "id: x"}, 400, "M_INVALID_PARAM")
		root.must("POST", services, map[string]any{"registration": strings.Replace(teaBot, "tea_.*'", "tea_[a-z]*:.*'", 1), "replace": true})
		alice.refused("POST", v3+"/register", map[string]any{"username": "tea_x", "password": password, "auth": map[string]string{"type": "m.login.dummy"}}, 400, "M_EXCLUSIVE")

		// A file that is wrong leaves everything as it was.
		bad := filepath.Join(filepath.Dir(file), "bad.yaml")
		if err := os.WriteFile(bad, []byte("id: bad\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		root.refused("POST", services+"/reload", map[string]any{}, 400, "M_INVALID_PARAM")
		root.refused("DELETE", services+"/tea?reason=moved", nil, 400, "M_INVALID_PARAM")
		bot.must("GET", v3+"/account/whoami", nil)
		if err := os.Remove(bad); err != nil {
			t.Fatal(err)
		}
		if r := root.must("POST", services+"/reload", map[string]any{}); r.body != `{"changes":[]}` {
			t.Error(r.body)
		}
		if err := os.WriteFile(file, []byte(strings.Replace(teaBot, "rooms: []", "rooms: []\nrate_limited: false", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := root.must("POST", services+"/reload", map[string]any{}); !strings.Contains(r.body, `"changed"`) || !strings.Contains(r.body, `"rate_limited"`) {
			t.Error(r.body)
		}
		kept := root.must("DELETE", services+"/tea?reason=moved", nil).text("kept")
		if _, err := os.Stat(kept); err != nil || !strings.HasPrefix(kept, file+".removed-") {
			t.Errorf("%s: %v", kept, err)
		}
		bot.refused("GET", v3+"/account/whoami", nil, 401, "M_UNKNOWN_TOKEN")
		root.refused("DELETE", services+"/tea?reason=moved", nil, 404, "M_NOT_FOUND")
	})
}

func TestRotatedTokens(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url)
		root := s.admin()
		file := root.must("POST", services, map[string]any{"registration": teaBot}).text("file")
		whoami := v3 + "/account/whoami"
		old := &person{server: s, token: "0123456789012345678901234567890123456789"}
		old.must("GET", whoami, nil)
		rotated := root.must("POST", services+"/tea/rotate_token", map[string]any{"grace_ms": 3_600_000})
		until, _ := rotated.at("previous_until_ts").(float64)
		if left := time.Until(time.UnixMilli(int64(until))); left < 50*time.Minute || left > time.Hour {
			t.Errorf("good for %v", left)
		}
		renewed := &person{server: s, token: rotated.text("as_token")}
		old.must("GET", whoami, nil)
		renewed.must("GET", whoami, nil)
		if rotated.text("hs_token") != "9876543210987654321098765432109876543210" {
			t.Errorf("the hs_token has changed: %s", rotated.body)
		}

		// The hour is over.
		reg, err := registration.LoadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		reg.Previous.Until = time.Now().Add(-time.Second)
		if err := reg.Write(file); err != nil {
			t.Fatal(err)
		}
		root.must("POST", services+"/reload", map[string]any{})
		old.refused("GET", whoami, nil, 401, "M_UNKNOWN_TOKEN")
		renewed.must("GET", whoami, nil)

		at := root.must("POST", services+"/tea/rotate_token", map[string]any{"grace_ms": 0, "hs_token": true})
		renewed.refused("GET", whoami, nil, 401, "M_UNKNOWN_TOKEN")
		if at.text("hs_token") == rotated.text("hs_token") || at.at("previous_until_ts") != nil {
			t.Error(at.body)
		}
		(&person{server: s, token: at.text("as_token")}).must("GET", whoami, nil)
		for _, grace := range []int64{-1, 1 << 50, 1 << 35} {
			root.refused("POST", services+"/tea/rotate_token", map[string]any{"grace_ms": grace}, 400, "M_INVALID_PARAM")
		}
		root.refused("POST", services+"/coffee/rotate_token", map[string]any{}, 404, "M_NOT_FOUND")

		// It is on record, without any of the tokens.
		record := root.must("GET", services+"/tea/log", nil).body
		for _, part := range []string{`"action":"add"`, `"the service's token; old ones are good for 1 h"`, `"both tokens; old ones are refused at once"`} {
			if !strings.Contains(record, part) {
				t.Errorf("%s is not on record: %s", part, record)
			}
		}
		for _, secret := range []string{old.token, rotated.text("hs_token"), renewed.token, at.text("as_token"), at.text("hs_token")} {
			if strings.Contains(record, secret) {
				t.Errorf("%s is on record: %s", secret, record)
			}
		}
	})
}

func TestARegistrationIsExplained(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newServer(t, url, func(c *config.Config) { c.ServerName = "hs.example" })
		root, alice := s.admin(), s.person("alice")
		s.person("tea_lover")
		room := alice.must("POST", v3+"/createRoom", map[string]string{"room_alias_name": "tea_time"}).text("room_id")
		check := func(change ...string) reply {
			t.Helper()
			text := strings.NewReplacer(change...).Replace(teaBot)
			return root.must("POST", services+"/check", map[string]any{"registration": text, "file": "tea.yaml"})
		}
		r := check()
		if r.at("usable") != true || r.at("replaces") != false || !strings.Contains(findings(r), "1 of the users that \"@tea_.*\" matches were not made by this service") {
			t.Error(r.body)
		}
		for _, want := range []string{`"examples":["@tea_lover:hs.example"]`, `"examples":["#tea_time:hs.example"]`} {
			if !strings.Contains(r.body, want) {
				t.Errorf("no %s in %s", want, r.body)
			}
		}
		root.must("POST", services, map[string]any{"registration": teaBot})
		if r := check(); r.at("replaces") != true || r.at("usable") != true {
			t.Error(r.body)
		}
		other := []string{"id: tea", "id: other", "tea_bot", "other_bot", "0123456789012345678901234567890123456789", "short", "987654321098765432109876543210", "short9876543210"}
		for _, c := range []struct {
			change []string
			want   string
			usable bool
		}{
			{nil, `Both this service and "tea" claim users such as @tea_:hs.example`, true},
			{nil, "The as_token has 5 characters", true},
			{[]string{"'@tea_.*'", "'@.*'"}, "matches every user of this server, and is exclusive", true},
			{[]string{"'#tea_.*'", "'#tea_.*:elsewhere'"}, "matches no alias of this server", true},
			{[]string{"'@tea_.*'", "'.*tea_.*'"}, "is not anchored", true},
			{[]string{"'@tea_.*'", "'^@tea_.*:hs.example$'"}, "needs neither ^ nor $", true},
			{[]string{"'@tea_.*'", "'@tea_.*:hs.example'"}, `write hs\.example`, true},
			{[]string{"rooms: []", "rooms: [{regex: '" + room + "', exclusive: false}]"}, "Both", true},
			{[]string{"url: null", "url: http://far.example:80"}, "travel to far.example:80 in the clear", true},
			{[]string{"'@tea_.*'", "'@tea_(.*'"}, "does not compile", false},
			{[]string{"url: null\n", ""}, `needs the key "url"`, false},
			{[]string{"sender_localpart: tea_bot", "sender_localpart: tea_lover"}, "is somebody's account already", true},
		} {
			r := check(append(c.change, other...)...)
			if r.at("usable") != c.usable || !strings.Contains(findings(r), c.want) {
				t.Errorf("%v: %v, %s\nwant %s", c.change, r.at("usable"), findings(r), c.want)
			}
		}
		if r := check("id: tea", "id: other"); r.at("usable") != false || !strings.Contains(findings(r), "it tells services apart") {
			t.Error(findings(r))
		}
		if r := check("rooms: []", "rooms: [{regex: '"+room+"', exclusive: false}]"); !strings.Contains(r.body, `"examples":["`+room+`"]`) {
			t.Error(r.body)
		}
	})
}
