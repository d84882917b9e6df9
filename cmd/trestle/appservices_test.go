package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"trestle/internal/config"
	"trestle/registration"
)

// A script is an operator's API that answers as it is written down.
type script struct {
	recorder
	answers map[string]string // by method and path
	asked   []string
	alone   bool
}

func (s *script) Operator(context.Context, *config.Config, *slog.Logger) (Operator, error) {
	return s, nil
}

func (s *script) Do(_ context.Context, method, path string, body, into any) error {
	line := method + " " + strings.TrimPrefix(path, adminOwn)
	answer := s.answers[line]
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		line += " " + string(raw)
	}
	s.asked = append(s.asked, line)
	if into == nil || answer == "" {
		return nil
	}
	return json.Unmarshal([]byte(answer), into)
}

func (s *script) Alone() bool { return s.alone }
func (s *script) Close()      {}

const busy = `{"id": "tea/pot", "url": "http://x", "sender": "@tea_bot:hs", "backlog": 7, "oldest_ts": 86400000, "attempts": 2, "transaction_id": "txn",
	"next_attempt_ts": 172800000, "last_error": "no \u001b[31mway", "last_error_ts": 86400000, "dead_letters": 1, "last_success_ts": null, "paused_reason": null}`

const pasts = `{"number": 2, "ts": 86400000, "by": "@root:hs", "appservice": "tea", "action": "replay", "transaction_id": "t1", "dead_letter": 4,
	"reason": "it chokes", "outcome": "failed", "error": "no \u001b[31mway"},
	{"number": 1, "ts": 86400000, "by": "@root:hs", "appservice": null, "action": "reload", "outcome": "done", "result": "all of it"}`

func TestDeliveryCommands(t *testing.T) {
	data, _ := prepare(t)
	for _, c := range []struct {
		command string
		asked   string // one a line
		answer  string // of the first request
		want    string
	}{
		{"list", "GET /appservices", `{"appservices": [` + busy + `, {"id": "mute", "url": null}, {"id": "p", "url": "x", "paused": true}, {"id": "b", "url": "x", "behind": 3}, {"id": "f", "url": "x"}]}`,
			"tea/pot  failing, 2 attempts  7        1970-01-02 00:00  1             http://x\nmute     silent "},
		{"show tea/pot", "GET /appservices/tea%2Fpot\nGET /appservices/tea%2Fpot/log?from=0&limit=5", busy, "last error    1970-01-02 00:00 no [31mway"},
		{"pause tea --reason late", `POST /appservices/tea/pause {"reason":"late"}`, "", "tea is paused"},
		{"resume tea", "POST /appservices/tea/resume {}", "", "delivered to again"},
		{"retry tea", "POST /appservices/tea/retry {}", "", "tried at once"},
		{"ping tea", "POST /appservices/tea/ping {}", `{"duration_ms": 12}`, "within 12 ms"},
		{"skip tea --reason no", "GET /appservices/tea/transaction\n" + `POST /appservices/tea/skip {"reason":"no","transaction_id":"t1"}`, `{"transaction_id": "t1", "events": 3}`, "t1 is a dead letter"},
		{"skip tea t0 --reason no", `POST /appservices/tea/skip {"reason":"no","transaction_id":"t0"}`, "", "t0 is a dead letter"},
		{"skip tea --all --reason flood", `POST /appservices/tea/skip_all {"reason":"flood"}`, `{"dead_letters": 1, "dead_letter_events": 2, "passed_events": 30, "passed_at_most": true}`,
			"1 transaction of 2 events: dead letters now, which trestle appservice letters tea lists. At most 30 events more: not sent any more."},
		{"forget tea --reason old", `POST /appservices/tea/forget {"reason":"old"}`, `{"frozen_transactions": 1, "frozen_events": 2, "dead_letters": 1}`, "with 1 transaction of 2 events and 1 dead letter."},
		{"list", "GET /appservices", `{"appservices": [], "gone": [{"id": "pot", "frozen_events": 2, "oldest_ts": 86400000, "dead_letters": 1}]}`, "pot  gone   at least 2  1970-01-02 00:00  1"},
		{"letters tea", "GET /appservices/tea/dead_letters?from=0&limit=500", `{"dead_letters": [{"number": 4, "transaction_id": "t1", "events": 1, "skipped_by": "@root:hs", "skipped_ts": 86400000, "reason": null}]}`,
			"4  t1  1 event  1970-01-02 00:00  @root:hs"},
		{"letter 4", "GET /dead_letters/4", `{"body": "{\"events\":[\u001b]}"}`, `{"events":[]}`},
		{"show tea --transaction", "GET /appservices/tea/transaction", `{"body": "{}"}`, "{}"},
		{"replay 4", "POST /dead_letters/4/replay {}", "", "has taken it"},
		{"discard 4 --reason old+age", "DELETE /dead_letters/4?reason=old%2Bage", "", "deleted"},
		{"log tea --limit 3", "GET /appservices/tea/log?from=0&limit=3", `{"log": [` + pasts + `]}`,
			"1970-01-02 00:00  @root:hs  tea      replay  t1, dead letter 4, it chokes  failed: no [31mway\n1970-01-02 00:00  @root:hs  all      reload                                done: all of it\n"},
		{"log", "GET /log?from=0&limit=50", `{"log": []}`, "No operator has done anything"},
		{"reload", "POST /appservices/reload {}", `{"changes": [{"id": "tea", "change": "changed", "keys": ["url", "hs_token"]}]}`, "tea changed (url, hs_token)"},
	} {
		first, _, _ := strings.Cut(c.asked, " {")
		first, _, _ = strings.Cut(first, "\n")
		s := &script{answers: map[string]string{first: c.answer}}
		r := trestle(t, s, "", append(strings.Fields("appservice "+c.command), "--data", data)...)
		if got := strings.Join(s.asked, "\n"); r.code != 0 || got != c.asked || !strings.Contains(r.out, c.want) {
			t.Errorf("trestle appservice %s asks\n%s\nand says %+v; want\n%s\n%s", c.command, got, r, c.asked, c.want)
		}
	}
}

// What only a running server does is refused where none runs.
func TestDeliveryCommandsWithoutTheServer(t *testing.T) {
	data, _ := prepare(t)
	for _, command := range []string{"show tea", "pause tea", "resume tea", "retry tea", "ping tea", "skip tea --reason no", "skip tea --all --reason no", "forget tea --reason no", "replay 1", "reload", "dev --id x"} {
		s := &script{alone: true}
		r := trestle(t, s, "", append(strings.Fields("appservice "+command), "--data", data)...)
		if r.code != 1 || !strings.Contains(r.err, "the server does not run") || len(s.asked) > 0 {
			t.Errorf("trestle appservice %s: %+v, %q", command, r, s.asked)
		}
	}
}

// A service that refuses a transaction stands still; the operator helps.
func TestSteeringTheDelivery(t *testing.T) {
	data, socket := prepare(t)
	serving(t, data)
	room := people(t, socket)
	var healthy atomic.Bool
	bridge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && !healthy.Load() {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(bridge.Close)
	reg := registration.Generate("tea", bridge.URL, "tea_bot")
	users, err := registration.NewNamespace("@tea_.*", true)
	if err != nil {
		t.Fatal(err)
	}
	reg.Namespaces.Users = []registration.Namespace{users}
	text, err := reg.Annotated()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tea.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// until repeats a command until it says what is wanted.
	until := func(line, want string) string {
		t.Helper()
		var r result
		for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
			r = trestle(t, server{}, "", append(strings.Fields("appservice "+line), "--data", data)...)
			if strings.Contains(r.out+r.err, want) {
				return r.out
			}
		}
		t.Fatalf("trestle appservice %s: %+v, want %q", line, r, want)
		return ""
	}
	until("add "+file, "in force")
	asAlice(t, socket)("POST", "/rooms/"+room+"/invite", `{"user_id": "@tea_pot:hs.example"}`, "")
	until("show tea", "failing, ")
	until("list", "tea  failing, ")
	until("show tea --transaction", `"state_key":"@tea_pot:hs.example"`)
	until("pause tea --reason repairs", "is paused")
	until("show tea", "repairs")
	until("retry tea", "is paused")
	until("resume tea", "delivered to again")
	until("skip tea nothing --reason none", "first")
	until("skip tea", `"reason" not set`)
	until("skip tea --reason poison", "is a dead letter now")
	number, _, _ := strings.Cut(until("letters tea", "poison"), " ")
	until("letter "+number, `"state_key":"@tea_pot:hs.example"`)
	until("replay "+number, "500")
	healthy.Store(true)
	until("ping tea", "has answered within")
	until("replay "+number, "has taken it")
	until("discard "+number+" --reason old", "o dead letter")
	until("show tea", "fine")
	past := until("log tea", "add ")
	for _, line := range []string{"pause ", "repairs ", "resume ", "skip ", "poison ", "replay ", "ping ", "failed: "} {
		if !strings.Contains(past, line) {
			t.Errorf("the log has no %q: %s", line, past)
		}
	}
	until("show tea", "@_server:hs.example")
	until("skip tea x --all --reason flood", "either")
	until("skip tea --all --reason flood", "0 transactions of 0 events")
	until("forget tea --reason over", "is registered")
	until("remove tea --reason over", "no service of this server")
	until("list", "tea  gone ")
	until("forget tea --reason over", "is forgotten, with 0 transactions")
	until("forget tea --reason over", "Nothing is kept")
	until("show coffee", "no application service")
}
