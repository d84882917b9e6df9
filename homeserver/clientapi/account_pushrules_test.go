package clientapi_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"trestle/homeserver/accounts"
	"trestle/internal/database"
	"trestle/internal/matrix"
	"trestle/internal/testkit"
)

const rules = v3 + "/pushrules/global"

// ruleIDs are the IDs of a kind's rules, in order.
func (s *accountServer) ruleIDs(token, kind string) []string {
	s.t.Helper()
	var all map[string][]struct {
		ID string `json:"rule_id"`
	}
	if err := json.Unmarshal([]byte(s.must("GET", rules+"/", token, "").body), &all); err != nil {
		s.t.Fatal(err)
	}
	ids := []string{}
	for _, rule := range all[kind] {
		ids = append(ids, rule.ID)
	}
	return ids
}

// The predefined rules are those of the specification's page, in its order,
// and then those for polls (MSC3930).
func TestPredefinedPushRules(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	token := s.register("alice")
	got := s.must("GET", v3+"/pushrules/", token, "").body
	var indented strings.Builder
	encoder := json.NewEncoder(&indented)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(json.RawMessage(got))
	golden := filepath.Join("testdata", "pushrules.json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(golden, []byte(indented.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || string(want) != indented.String() {
		t.Errorf("%v; got %s", err, indented.String())
	}
	if r := s.must("GET", v3+"/user/"+aliceID+"/account_data/m.push_rules", token, ""); r.body != got {
		t.Errorf("as account data: %s", r.body)
	}
}

func TestPushRules(t *testing.T) {
	testkit.Databases(t, func(t *testing.T, url string) {
		s := newAccountServer(t, url)
		token := s.register("alice")
		put := func(path, body string) { t.Helper(); s.must("PUT", rules+path, token, body) }
		put("/content/cake", `{"pattern":"cake*lie","actions":["notify",{"set_tweak":"sound","value":"cake.wav"}],"conditions":[{"kind":"x"}]}`)
		if r := s.must("GET", rules+"/content/cake", token, ""); r.body != `{"rule_id":"cake","default":false,"enabled":true,"pattern":"cake*lie","actions":["notify",{"set_tweak":"sound","value":"cake.wav"}]}` {
			t.Errorf("content rule: %s", r.body)
		}
		put("/room/!r:hs.example", `{"actions":["dont_notify"],"pattern":"x"}`)
		if r := s.must("GET", rules+"/room/%21r%3Ahs.example/actions", token, ""); r.body != `{"actions":["dont_notify"]}` {
			t.Errorf("room rule: %s", r.body)
		}
		put("/override/one", `{"actions":[]}`)
		put("/override/two", `{"actions":[],"conditions":[{"kind":"event_match","key":"content.body","pattern":"beer"},{"kind":"org.example","more":1.5}]}`)
		put("/override/three?after=two", `{"actions":[]}`)
		put("/override/four?before=two&after=one", `{"actions":[]}`)
		order := func(want ...string) {
			t.Helper()
			ids := s.ruleIDs(token, "override")
			if ids[0] != ".m.rule.master" || !slices.Equal(ids[1:1+len(want)], want) || ids[1+len(want)] != ".m.rule.suppress_notices" {
				t.Errorf("order %q, want %q", ids, want)
			}
		}
		order("four", "two", "three", "one")
		put("/override/one?before=three", `{"actions":["notify"]}`)
		order("four", "two", "one", "three")
		put("/override/two/enabled", `{"enabled":false}`)
		put("/override/two", `{"actions":["notify"]}`)
		order("four", "two", "one", "three")
		if r := s.must("GET", rules+"/override/two", token, ""); r.body != `{"rule_id":"two","default":false,"enabled":false,"conditions":[],"actions":["notify"]}` {
			t.Errorf("changed rule: %s", r.body)
		}
		s.must("DELETE", rules+"/override/four", token, "")
		order("two", "one", "three")

		before := s.changes.positions[aliceID]
		put("/override/.m.rule.master/enabled", `{"enabled":true}`)
		put("/underride/.m.rule.message/actions", `{"actions":["notify",{"set_tweak":"highlight"}]}`)
		if r := s.must("GET", rules+"/override/.m.rule.master/enabled", token, ""); r.body != `{"enabled":true}` {
			t.Errorf("master rule: %s", r.body)
		}
		if r := s.must("GET", rules+"/underride/.m.rule.message", token, ""); r.field("actions") != `["notify",{"set_tweak":"highlight"}]` || r.field("default") != "true" {
			t.Errorf("server's rule with other actions: %s", r.body)
		}
		after := s.changes.positions[aliceID]
		events, err := s.accounts.AccountDataSince(t.Context(), aliceID, before, after)
		if err != nil || len(events) != 1 || !strings.Contains(string(events[0]), `"type":"m.push_rules"`) || after != before+2 {
			t.Errorf("/sync would have %s, %v", events, err)
		}
		if want := s.must("GET", v3+"/pushrules/", token, "").body; string(events[0]) != `{"content":`+want+`,"type":"m.push_rules"}` {
			t.Errorf("/sync would have %s, but the rules are %s", events, want)
		}
		bob := s.register("bob")
		if r := s.must("GET", rules+"/override/.m.rule.master/enabled", bob, ""); r.body != `{"enabled":false}` {
			t.Errorf("bob's master rule: %s", r.body)
		}
	})
}

func TestPushRulesRefuse(t *testing.T) {
	s := newAccountServer(t, t.TempDir()+"/test.db")
	token := s.register("alice")
	s.must("PUT", rules+"/override/own", token, `{"actions":[]}`)
	for _, tt := range []struct {
		method, path, body string
		status             int
		code               string
	}{
		{"GET", "/override/none", "", 404, "M_NOT_FOUND"},
		{"GET", "/override/none/enabled", "", 404, "M_NOT_FOUND"},
		{"GET", "/override/none/actions", "", 404, "M_NOT_FOUND"},
		{"GET", "/underride/own", "", 404, "M_NOT_FOUND"},
		{"GET", "/sideride/own", "", 400, "M_INVALID_PARAM"},
		{"PUT", "/sideride/own", `{"actions":[]}`, 400, "M_INVALID_PARAM"},
		{"DELETE", "/override/none", "", 404, "M_NOT_FOUND"},
		{"DELETE", "/override/.m.rule.master", "", 400, "M_INVALID_PARAM"},
		{"PUT", "/override/none/enabled", `{"enabled":true}`, 404, "M_NOT_FOUND"},
		{"PUT", "/override/none/actions", `{"actions":[]}`, 404, "M_NOT_FOUND"},
		{"PUT", "/override/own/enabled", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", "/override/own/enabled", `{"enabled":"yes"}`, 400, "M_BAD_JSON"},
		{"PUT", "/override/own/actions", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", "/override/own/actions", `{"actions":"notify"}`, 400, "M_BAD_JSON"},
		{"PUT", "/override/own/actions", `{"actions":["shout"]}`, 400, "M_BAD_JSON"},
		{"PUT", "/override/.own", `{"actions":[]}`, 400, "M_INVALID_PARAM"},
		{"PUT", "/override/a%2Fb", `{"actions":[]}`, 400, "M_INVALID_PARAM"},
		{"PUT", "/override/a%5Cb", `{"actions":[]}`, 400, "M_INVALID_PARAM"},
		{"PUT", "/override/" + strings.Repeat("x", 256), `{"actions":[]}`, 400, "M_INVALID_PARAM"},
		{"PUT", "/override/new", `{}`, 400, "M_MISSING_PARAM"},
		{"PUT", "/override/new", `{"actions":{}}`, 400, "M_BAD_JSON"},
		{"PUT", "/override/new", `{"actions":[7]}`, 400, "M_BAD_JSON"},
		{"PUT", "/override/new", `{"actions":[{"value":1}]}`, 400, "M_BAD_JSON"},
		{"PUT", "/override/new", `{"actions":[],"conditions":{}}`, 400, "M_BAD_JSON"},
		{"PUT", "/override/new", `{"actions":[],"conditions":[{}]}`, 400, "M_BAD_JSON"},
		{"PUT", "/override/new", `{"actions":[],"conditions":["x"]}`, 400, "M_BAD_JSON"},
		{"PUT", "/content/new", `{"actions":[]}`, 400, "M_MISSING_PARAM"},
		{"PUT", "/content/new", `{"actions":[],"pattern":7}`, 400, "M_BAD_JSON"},
		{"PUT", "/override/new?before=none", `{"actions":[]}`, 400, "M_UNKNOWN"},
		{"PUT", "/override/new?after=none", `{"actions":[]}`, 400, "M_UNKNOWN"},
		{"PUT", "/override/new?before=.m.rule.master", `{"actions":[]}`, 400, "M_INVALID_PARAM"},
		{"PUT", "/override/own?after=own", `{"actions":[]}`, 400, "M_UNKNOWN"},
	} {
		s.refused(tt.method, rules+tt.path, token, tt.body, tt.status, tt.code)
	}
	if got := s.ruleIDs(token, "override")[1:3]; !slices.Equal(got, []string{"own", ".m.rule.suppress_notices"}) {
		t.Errorf("what was refused left %q", got)
	}
	s.must("PUT", rules+"/room/0", token, `{"actions":[]}`)
	s.multiplyRule("@alice:hs.example", "room", 999)
	s.refused("PUT", rules+"/room/more", token, `{"actions":[]}`, 400, "M_TOO_LARGE")
	s.must("PUT", rules+"/room/7", token, `{"actions":["notify"]}`)
}

// multiplyRule gives a user as many rules of a kind as if each had been sent: the
// first is there.
func (s *accountServer) multiplyRule(user matrix.UserID, kind string, n int) {
	s.t.Helper()
	err := s.db.Update(s.t.Context(), func(tx *database.Tx) error {
		stored, position, err := s.store.Rules.Find(s.t.Context(), tx, user)
		if err != nil {
			return err
		}
		var own struct {
			Rules map[string][]accounts.PushRule `json:"rules"`
		}
		if err := json.Unmarshal(stored, &own); err != nil {
			return err
		}
		for i := 1; i < n; i++ {
			rule := own.Rules[kind][0]
			rule.ID = strconv.Itoa(i)
			own.Rules[kind] = append(own.Rules[kind], rule)
		}
		if stored, err = json.Marshal(own); err != nil {
			return err
		}
		return s.store.Rules.Set(s.t.Context(), tx, user, stored, position)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}
