// Command report reads what go test -json writes: it shows each package's
// line and, beside it, all that its failed tests have printed, and counts at the
// end, where failed tests say again what they complained of. With the
// list of the specification's operations it counts those that tests have seen
// succeed, and is not content before that is all of the Client-Server API's and
// the Application Service API's.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	tests := flag.Bool("tests", false, "show the line of each test too")
	operations := flag.String("operations", "", "endpoints.tsv of the specification")
	flag.Parse()
	ok, err := run(*operations, *tests)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if !ok || err != nil {
		os.Exit(1)
	}
}

func run(operations string, tests bool) (ok bool, err error) {
	s := &summary{output: map[string]*strings.Builder{}, seen: map[string]bool{}, shown: map[string]bool{}}
	if operations != "" {
		if s.operations, err = readOperations(operations); err != nil {
			return false, err
		}
	}
	return s.report(os.Stdin, os.Stdout, tests)
}

// An event is a line of go test -json (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build-output
	Test       string
	Output     string
}

// A summary counts tests and subtests.
type summary struct {
	passed, failed, skipped int
	brokenPackages          []string
	skips                   []string
	failures                []failure
	output                  map[string]*strings.Builder // of tests under way
	operations              []operation
	seen                    map[string]bool
	shown                   map[string]bool // of packages whose failures were shown
}

// A failure is a test that failed, and what it printed.
type failure struct{ pkg, test, text string }

// report copies what people want to see, and says whether all went well.
func (s *summary) report(in io.Reader, out io.Writer, tests bool) (ok bool, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			// go itself complains in plain text.
			fmt.Fprintln(out, lines.Text())
			continue
		}
		s.take(e, out, tests)
	}
	if err := lines.Err(); err != nil {
		return false, fmt.Errorf("read go test's output: %w", err)
	}
	for _, name := range s.skips {
		fmt.Fprintf(out, "skipped: %s\n", name)
	}
	for _, f := range s.failures {
		fmt.Fprintf(out, "failed: %s %s\n%s", f.pkg, f.test, f.complaints())
	}
	for _, name := range s.brokenPackages {
		fmt.Fprintf(out, "failed: %s\n", name)
	}
	all := s.count(out)
	fmt.Fprintf(out, "%d tests passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return all && s.failed == 0 && len(s.brokenPackages) == 0 && s.passed > 0, nil
}

func (s *summary) take(e event, out io.Writer, tests bool) {
	if e.Test == "" {
		s.takePackage(e, out)
		return
	}
	name := e.Package + " " + e.Test
	if s.output[name] == nil {
		s.output[name] = &strings.Builder{}
	}
	switch e.Action {
	case "output":
		s.output[name].WriteString(e.Output)
		s.see(e.Output)
		if tests && strings.HasPrefix(strings.TrimLeft(e.Output, " "), "--- ") {
			fmt.Fprint(out, e.Output)
		}
		return
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		s.skips = append(s.skips, name)
	case "fail":
		s.fail(e.Package, e.Test, s.output[name].String())
	default:
		return
	}
	delete(s.output, name)
}

func (s *summary) takePackage(e event, out io.Writer) {
	switch e.Action {
	case "output", "build-output":
		if e.Output == "FAIL\n" {
			s.showFailures(e.Package, out)
		}
		if e.Output != "PASS\n" && !strings.Contains(e.Output, "[no test files]") {
			fmt.Fprint(out, e.Output)
		}
	case "fail":
		s.brokenPackages = append(s.brokenPackages, e.Package)
		// Tests that never ended have said why the package did: a panic, or
		// the time limit.
		for name, text := range s.output {
			if strings.HasPrefix(name, e.Package+" ") {
				s.fail(e.Package, strings.TrimPrefix(name, e.Package+" ")+" did not end", text.String())
				delete(s.output, name)
			}
		}
		s.showFailures(e.Package, out)
	}
}

func (s *summary) fail(pkg, test, text string) {
	s.failed++
	s.failures = append(s.failures, failure{pkg, test, text})
}

// showFailures shows what a package's failed tests have printed, once.
func (s *summary) showFailures(pkg string, out io.Writer) {
	if s.shown[pkg] {
		return
	}
	for _, f := range s.failures {
		if f.pkg == pkg {
			s.shown[pkg] = true
			fmt.Fprintf(out, "\n%s %s:\n%s\n", f.pkg, f.test, f.text)
		}
	}
}

// mostComplaints is how many lines of a failed test are repeated at the end.
const mostComplaints = 20

// complaints are the last lines that a test itself has printed, or of a panic.
func (f failure) complaints() string {
	var kept []string
	for line := range strings.Lines(f.text) {
		if strings.Contains(line, "_test.go:") || strings.HasPrefix(line, "panic:") || strings.Contains(line, "DATA RACE") {
			kept = append(kept, strings.TrimRight(line, "\n")+"\n")
		}
	}
	return strings.Join(kept[max(0, len(kept)-mostComplaints):], "")
}
