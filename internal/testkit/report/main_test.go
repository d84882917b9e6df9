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
	cases := []struct {
		name, in string
		tests    bool
		ok       bool
		want     []string
		not      string
	}{
		{"passing", passing, false, true, []string{"ok  \tp\t0.01s\n", "1 tests passed, 0 failed, 0 skipped"}, "noise"},
		{"with tests", passing, true, true, []string{"--- PASS: TestA (0.00s)\n"}, "noise"},
		{"failing", passing + `{"Action":"output","Package":"p","Test":"TestB","Output":"the reason\n"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
`, false, false, []string{"p TestB:\nthe reason", "failed: p", "1 tests passed, 1 failed"}, "noise"},
		{"skipping", passing + `{"Action":"skip","Package":"p","Test":"TestB"}`, false, true, []string{"skipped: p TestB", "1 skipped"}, "noise"},
		{"panicking", `{"Action":"output","Package":"p","Test":"TestB","Output":"panic: oh\n"}
{"Action":"fail","Package":"p"}
`, false, false, []string{"p TestB did not end:\npanic: oh", "0 tests passed, 1 failed"}, "noise"},
		{"not building", `{"Action":"build-output","ImportPath":"p","Output":"x.go:1: wrong\n"}
{"Action":"fail","Package":"p"}
`, false, false, []string{"x.go:1: wrong", "failed: p"}, "noise"},
		{"nothing", "no Go files\n", false, false, []string{"no Go files", "0 tests passed"}, "noise"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			ok, err := report(strings.NewReader(c.in), &out, c.tests)
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
