package testkit

import (
	"errors"
	"os"
	"sync"
	"testing"
)

// A specJudge tells a test what breaks the specification, and keeps which
// operations it was the first to see succeed.
type specJudge struct {
	spec *specification

	mu    sync.Mutex
	t     testing.TB // nil once the test is over
	told  map[string]bool
	first []*operation
}

// newSpecJudge is nil without the specification's files, except where CI is
// "true": there they have to be.
func newSpecJudge(t testing.TB) *specJudge {
	t.Helper()
	spec, err := loadSpecification()
	switch {
	case err == nil:
	case errors.Is(err, errNoSpecification) && os.Getenv("CI") != "true" && os.Getenv("TRESTLE_SPEC") == "":
		t.Logf("exchanges are not validated: %v", err)
		return nil
	default:
		t.Fatalf("read the specification: %v", err)
	}
	judge := &specJudge{spec: spec, t: t, told: map[string]bool{}}
	t.Cleanup(judge.close)
	return judge
}

// succeeded is for an operation that did, as the specification has it.
func (j *specJudge) succeeded(op *operation) {
	if !coverage.first(op) {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.first = append(j.first, op)
}

// report fails the test, once for each problem: a client that polls would say
// the same thing again and again. A test that is over cannot fail any more.
func (j *specJudge) report(x Exchange, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	key := x.Method + err.Error()
	if j.t == nil || j.told[key] {
		return
	}
	j.told[key] = true
	j.t.Errorf("%s %s → %d breaks the specification: %v\nsent %s\ngot  %s",
		x.Method, x.URL.EscapedPath(), x.Status, err, clip(x.Request), clip(x.Response))
}

func (j *specJudge) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if line := seenLine(j.first); line != "" && j.t != nil {
		j.t.Log(line)
	}
	j.t = nil
}

func clip(body []byte) string {
	const most = 2000
	if len(body) == 0 {
		return "nothing"
	}
	if len(body) > most {
		return string(body[:most]) + "…"
	}
	return string(body)
}
