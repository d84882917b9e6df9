package testkit

import (
	"strings"
	"testing"
)

func TestSpecCoverageSummary(t *testing.T) {
	spec := testSpecification(t)
	counts := &specCounts{seen: map[*operation]map[int]int{}}
	if got := counts.summary(spec, true); got != "" {
		t.Errorf("nothing was seen, but: %s", got)
	}
	sync, versions := spec.match("GET", "/_matrix/client/r0/sync"), spec.match("GET", "/_matrix/client/versions")
	if len(sync) != 1 || len(versions) != 1 {
		t.Fatalf("matched %v and %v", sync, versions)
	}
	counts.count(sync[0], 200)
	counts.count(sync[0], 200)
	counts.count(versions[0], 404)
	got := counts.summary(spec, true)
	for text, want := range map[string]bool{
		"specification: 1 of 16":                 true,
		"of client-server seen to succeed":       true,
		"not seen: GET /_matrix/client/versions": true,
		"not seen: GET /_matrix/client/v3/sync":  false,
		"server-server":                          false,
	} {
		if strings.Contains(got, text) != want {
			t.Errorf("%q: %v, not %v, in\n%s", text, !want, want, got)
		}
	}
}
