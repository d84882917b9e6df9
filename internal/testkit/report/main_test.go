package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	const passing = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.01s\n"}
{"Action":"pass","Package":"p"}
`
	const seeing = `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: operations seen: GET /a, POST /ping, PUT /b/{c}\n"}
{"Action":"pass","Package":"p","Test":"TestB"}
`
	cases := []struct {
		name, in   string
		tests      bool
		ok         bool
		want       []string
		not        string
		operations []operation
	}{
		{"passing", passing, false, true, []string{"ok  \tp\t0.01s\n", "1 tests passed, 0 failed, 0 skipped"}, "noise", nil},
		{"with tests", passing, true, true, []string{"--- PASS: TestA (0.00s)\n"}, "noise", nil},
		{"failing", passing + `{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: the reason\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.01s\n"}
{"Action":"fail","Package":"p"}
`, false, false, []string{"p TestB:\n    b_test.go:7: the reason\n\nFAIL\nFAIL\tp\t0.01s\nfailed: p TestB\n    b_test.go:7: the reason\n", "failed: p\n", "1 tests passed, 1 failed"}, "noise", nil},
		{"skipping", passing + `{"Action":"skip","Package":"p","Test":"TestB"}`, false, true, []string{"skipped: p TestB", "1 skipped"}, "noise", nil},
		{"panicking", `{"Action":"output","Package":"p","Test":"TestB","Output":"panic: oh\n"}
{"Action":"fail","Package":"p"}
`, false, false, []string{"p TestB did not end:\npanic: oh", "0 tests passed, 1 failed"}, "noise", nil},
		{"not building", `{"Action":"build-output","ImportPath":"p","Output":"x.go:1: wrong\n"}
{"Action":"fail","Package":"p"}
`, false, false, []string{"x.go:1: wrong", "failed: p"}, "noise", nil},
		{"all operations", seeing, false, true, []string{"2 of 3 operations of client-server seen to succeed, 1 refused", "1 of 1 operations of application-service"}, "no test has",
			[]operation{{"client-server", "GET /a"}, {"client-server", "PUT /b/{c}"}, {"client-server", neverSucceed[0]}, {"application-service", "POST /ping"}}},
		{"not all operations", seeing, false, false, []string{"1 of 2 operations of client-server", "succeed: GET /d"}, "succeed: GET /a",
			[]operation{{"client-server", "GET /a"}, {"client-server", "GET /d"}}},
		{"not all of a service's", seeing, false, false, []string{"0 of 1 operations of application-service", "succeed: GET /users"}, "succeed: GET /a",
			[]operation{{"client-server", "GET /a"}, {"application-service", "GET /users"}}},
		{"nothing", "no Go files\n", false, false, []string{"no Go files", "0 tests passed"}, "noise", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			s := &summary{output: map[string]*strings.Builder{}, seen: map[string]bool{}, shown: map[string]bool{}, operations: c.operations}
			ok, err := s.report(strings.NewReader(c.in), &out, c.tests)
			if err != nil || ok != c.ok {
				t.Errorf("ok is %v, %v", ok, err)
			}
			for _, want := range c.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("there is no %q in\n%s", want, &out)
				}
			}
			if strings.Contains(out.String(), c.not) {
				t.Errorf("%q is in\n%s", c.not, &out)
			}
		})
	}
}
