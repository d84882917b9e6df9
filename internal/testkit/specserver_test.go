package testkit

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// reporting is a test whose failures are counted, not shown.
type reporting struct {
	testing.TB
	failures int
}

func (r *reporting) Errorf(string, ...any) { r.failures++ }
func (r *reporting) Logf(string, ...any)   {}
func (r *reporting) Log(...any)            {}
func (r *reporting) Helper()               {}

func TestSpecServer(t *testing.T) {
	testSpecification(t)
	const profile, keys = "/_matrix/federation/v1/query/profile?user_id=@a:b", "/_matrix/key/v2/query"
	for what, c := range map[string]struct {
		method, path, sent, header, answer string
		good                               bool
	}{
		"signed":                  {"GET", profile, "", `X-Matrix origin="a"`, `{"displayname":"A"}`, true},
		"not signed":              {"GET", profile, "", "", `{"displayname":"A"}`, false},
		"a wrong answer":          {"GET", profile, "", `X-Matrix origin="a"`, `{"displayname":1}`, false},
		"signed without need":     {"GET", "/_matrix/federation/v1/version", "", `X-Matrix origin="a"`, `{"server":{"name":"x"}}`, false},
		"a good question":         {"POST", keys, `{"server_keys":{}}`, "", `{"server_keys":[]}`, true},
		"a question with more":    {"POST", keys, `{"server_keys":{},"x":1}`, "", `{"server_keys":[]}`, false},
		"not in the files at all": {"GET", "/_matrix/federation/v1/nothing", "", "", `{}`, false},
	} {
		r := &reporting{TB: t}
		server := httptest.NewServer(SpecServer(r, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, c.answer)
		})))
		request, err := http.NewRequest(c.method, server.URL+c.path, strings.NewReader(c.sent))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/json")
		if c.header != "" {
			request.Header.Set("Authorization", c.header)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		server.Close()
		if (r.failures == 0) != c.good {
			t.Errorf("%s: %d failures", what, r.failures)
		}
	}
}
