package testkit

import "testing"

func TestSpecCoverage(t *testing.T) {
	spec := testSpecification(t)
	sync, versions := spec.match("GET", "/_matrix/client/r0/sync"), spec.match("GET", "/_matrix/client/versions")
	if len(sync) != 1 || len(versions) != 1 {
		t.Fatalf("matched %v and %v", sync, versions)
	}
	var c specCoverage
	var first []*operation
	for _, op := range []*operation{versions[0], sync[0], versions[0]} {
		if c.first(op) {
			first = append(first, op)
		}
	}
	if got := seenLine(first); got != "operations seen: GET /_matrix/client/v3/sync, GET /_matrix/client/versions" {
		t.Error(got)
	}
	if got := seenLine(nil); got != "" {
		t.Errorf("nothing was seen: %q", got)
	}
}
