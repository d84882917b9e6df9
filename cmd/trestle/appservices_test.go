package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"trestle/internal/config"
)

// A script is an operator's API that answers as it is written down.
type script struct {
	recorder
	answers map[string]string // by method and path
	asked   []string
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
	if into == nil {
		return nil
	}
	return json.Unmarshal([]byte(answer), into)
}

func (s *script) Alone() bool { return false }
func (s *script) Close()      {}

const busy = `{"id": "tea/pot", "url": "http://x", "sender": "@tea_bot:hs", "backlog": 7, "oldest_ts": 86400000, "attempts": 2, "transaction_id": "txn",
	"next_attempt_ts": 172800000, "last_error": "no \u001b[31mway", "last_error_ts": 86400000, "dead_letters": 1, "last_success_ts": null, "paused_reason": null}`

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
		{"show tea/pot", "GET /appservices/tea%2Fpot", busy, "last error    1970-01-02 00:00 no [31mway"},
		{"pause tea --reason late", `POST /appservices/tea/pause {"reason":"late"}`, "", "tea is paused"},
		{"resume tea", "POST /appservices/tea/resume {}", "", "delivered to again"},
		{"retry tea", "POST /appservices/tea/retry {}", "", "tried at once"},
		{"ping tea", "POST /appservices/tea/ping {}", `{"duration_ms": 12}`, "within 12 ms"},
		{"skip tea", "GET /appservices/tea/transaction\n" + `POST /appservices/tea/skip {"reason":"","transaction_id":"t1"}`, `{"transaction_id": "t1", "events": 3}`, "t1 is a dead letter"},
		{"skip tea t0 --reason no", "GET /appservices/tea/transaction\n" + `POST /appservices/tea/skip {"reason":"no","transaction_id":"t0"}`, `{"transaction_id": "t1"}`, "t0 is a dead letter"},
		{"letters tea", "GET /appservices/tea/dead_letters?from=0&limit=500", `{"dead_letters": [{"number": 4, "transaction_id": "t1", "events": 1, "skipped_by": "@root:hs", "skipped_ts": 86400000, "reason": null}]}`,
			"4  t1  1 event  1970-01-02 00:00  @root:hs"},
		{"replay 4", "POST /dead_letters/4/replay {}", "", "has taken it"},
		{"discard 4", "DELETE /dead_letters/4", "", "deleted"},
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
