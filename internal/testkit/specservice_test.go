package testkit

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestAsked(t *testing.T) {
	spec := testSpecification(t)
	const message = `{"event_id":"$1","room_id":"!r","sender":"@a:hs","type":"x","content":{},"origin_server_ts":1`
	const transaction, ping = "PUT /_matrix/app/v1/transactions/1", "POST /_matrix/app/v1/ping"
	for _, tt := range []struct{ request, body, wrong string }{
		{transaction, `{"events":[` + message + `}]}`, ""},
		{transaction, `{"events":[],"ephemeral":[{"type":"m.typing","room_id":"!r:hs","content":{"user_ids":[]}}],"de.sorunome.msc2409.to_device":[]}`, ""},
		{transaction, `{"events":[` + message + `,"auth_events":[]}]}`, "members that it does not know: auth_events"},
		{transaction, `{"events":[{"event_id":"$1"}]}`, "missing properties"},
		{transaction, `{"events":[],"to_device":[]}`, "members that it does not know: to_device"},
		{transaction, `{"events":[],"ephemeral":[{"type":"m.typing","content":{"user_ids":[]}}]}`, "has no room"},
		{transaction, `{"events":[],"ephemeral":[{"type":"m.fully_read","room_id":"!r:hs","content":{}}]}`, "no kind of ephemeral data"},
		{transaction, `{"events":[],"ephemeral":[{"type":"m.presence","sender":"@a:hs","content":{"presence":"asleep"}}]}`, "m.presence"},
		{transaction, `{}`, "events"},
		{transaction, `[`, "not JSON"},
		{transaction, ``, "content type"},
		{ping, `{"transaction_id":"x"}`, ""},
		{ping, `{}`, ""},
		{ping, `{"transaction_id":1}`, "transaction_id"},
		{"GET /_matrix/app/v1/users/@a:hs", ``, ""},
		{"GET /_matrix/app/v1/users/@a:hs", `{}`, "has a body"},
		{"GET /_matrix/app/v1/people/@a:hs", ``, "no such operation"},
		{"GET /_matrix/app/v1/user", ``, ""},    // of the first drafts
		{"GET /_matrix/app/unstable/x", ``, ""}, // of a proposal
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		x := Exchange{Method: method, URL: &url.URL{Path: path}, RequestHeader: http.Header{"Authorization": {"Bearer x"}}, Request: []byte(tt.body)}
		if tt.body != "" {
			x.RequestHeader.Set("Content-Type", "application/json")
		}
		_, err := spec.validateAsked(x)
		if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
			t.Errorf("%s %s: %v, want %q", tt.request, tt.body, err, tt.wrong)
		}
		x.RequestHeader.Del("Authorization")
		if op, err := spec.validateAsked(x); op != nil && err == nil {
			t.Errorf("%s passes without a token", tt.request)
		}
	}
}
